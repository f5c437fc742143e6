/*
 * sessions: two sockets of one device are one too many (rule R20: 4409 only if a newer session of this device exists; ADR 0131).
 *
 * A device opens up to three sessions one after the other, each at one of two gateways, and leaves each or not, with the gateway
 * told so at any time later, or never. Each step below is a step in the code, of delivery/:
 *   Device    sessions.Sessions.open: Hub.add, which ends the session of this device that its own gateway had; closed
 *   Gateway   "registers": _open_all, _open_under, _registration; of a session that has its record the same by _reopen_all (a new
 *             term) and session_check._compare (R8: the record is not ours). One batch is in flight, _opens. "answered": the rest
 *             of _open_under, _is_later. "removes": _unregister_all; what is left over waits for the next term. "hears":
 *             on_replaced; a notice comes late, out of order or never
 *   Node      inbox._REGISTER: what was asked is carried out, or what a connection that was given up had written, late or never
 *   Faults    a gateway gives up its connection, as it does if the node hangs or is away; what was on its way nobody hears of any
 *             more. The node is restored from a copy of any moment; without one before it, flushed
 *   Judge     whoever is told 4409, a later session was opened (tell). When nothing is left that anybody would do, at most one
 *             session lives, its record is there, and who has gone has none
 *
 * Time is the order of the openings. Taken for granted, and what is left (docs/model.md): clocks differ by less than what lies
 * between two openings, but for "clocks" (each is opened when the one before has its record) and "race" (two are opened in one
 * millisecond); a gateway's removal of a record is carried out behind what that gateway wrote before. A copy may bring one back.
 *
 * Left out, and why that is safe: marks, markers and epochs (delivery.pml: a new term is what they are here), `announce` (a
 * registration like the check's, of which nobody hears), killed gateways (a record of nobody, like one that is carried out late),
 * other devices of the user (the record of each is its own).
 *
 *   sound  hang         -DMOST=3 -DHANGS=1 -DCOPIES=0
 *   sound  lost         -DMOST=3 -DHANGS=0 -DCOPIES=1
 *   sound  both         -DMOST=2 -DHANGS=1 -DCOPIES=1
 *   sound  again        -DMOST=3 -DHANGS=2 -DCOPIES=0  twice
 *   sound  clocks       -DMOST=3 -DHANGS=0 -DCOPIES=0 -DSTAYS -DSKEW  none leaves, a clock is behind, one by one
 *   sound  race         -DMOST=2 -DHANGS=0 -DCOPIES=1 -DSTAYS -DRACE  neither leaves, opened at once: one of them stays
 *   broken NO_ORDER     -DMOST=3 -DHANGS=1 -DCOPIES=0  who is being opened is the newest: by arrival, not by opening
 *   broken NO_LATE      -DMOST=3 -DHANGS=1 -DCOPIES=0  who registers late is the newest: by arrival, not by opening
 *   broken NO_OWN       -DMOST=3 -DHANGS=2 -DCOPIES=0  a session does not know a record of its own gateway
 *   broken NO_REMOVE    -DMOST=3 -DHANGS=1 -DCOPIES=0  who ends without an answer leaves its registration to itself
 *   broken NO_TAKEN     -DMOST=3 -DHANGS=1 -DCOPIES=0  who ends removes its own record alone, not of whose place it took
 *   broken NO_COMPARE   -DMOST=3 -DHANGS=0 -DCOPIES=1  a notice is for whoever is there
 *   broken NO_ANSWER    -DMOST=3 -DHANGS=0 -DCOPIES=0 -DSTAYS -DSKEW  a session that waits for its number is told at once
 *   broken NO_CHECK     -DMOST=3 -DHANGS=0 -DCOPIES=1  R8: nobody looks whether the record is still ours
 *   broken NO_NEXT      -DMOST=3 -DHANGS=0 -DCOPIES=0 -DSTAYS -DSKEW  a higher number is a later session's
 */
#define N 3
#define OPENING 1
#define SERVED 2
#define CLOSED 3
#define BIT(s) (1 << (s))
#define MAX(a, b) ((a) > (b) -> (a) : (b))

/* when a session is opened, and what time it is, by the clock of a gateway */
#ifdef SKEW
#define TIME(s) NOW(at[s])
#define NOW(g) ((g) -> opened : opened + N)
#else
#ifdef RACE
#define TIME(s) 1
#define NOW(g) 1
#else
#define TIME(s) opened
#define NOW(g) opened
#endif
#endif

/* the device; its sessions are 1 to 3, in the order of their openings */
byte wanted, opened;
byte state[N + 1], at[N + 1], number[N + 1], newer[N + 1];
bool leaves[N + 1], known[N + 1], term[N + 1];   /* will leave; has a record; under the term of its gateway */
/* gateways: the session that each has, whether it has a term, whose record it removes, notices by their number */
byte here[2], gone;
bool up[2] = 1;
short notices[2];
/* the registration on its way: of whom, its number; then the number it got, 0: refused, in whose place, that one's number */
byte asked[2], own[2], answer[2], place[2], other[2];
bool answered[2];
/* what a connection that was given up has written */
byte left[2], left_own[2];
/* the node: whose record, its number; a copy of it */
byte record, has, copy, copy_has;
byte hangs = HANGS;
bool copies = COPIES, losses = COPIES;

inline ends(s) {
    state[s] = CLOSED; term[s] = 0; newer[s] = 0; leaves[s] = 0;
    if
    :: here[at[s]] == s -> here[at[s]] = 0; gone = gone | BIT(s)
    :: else                                   /* its place was taken */
    fi
}
inline tell(s) {
    if
    :: state[s] != CLOSED ->
#ifdef RACE
        assert(opened > 1);
#else
        assert(s < opened);                    /* R20 */
#endif
        ends(s)
    :: else
    fi
}

#ifdef NO_OWN
#define REFUSED(s, n) (record && has >= n)
#define OWN_PLACE 0
#else
#define REFUSED(s, n) (record && (has > n || (has == n && at[record] != at[s])))
#define OWN_PLACE (place[G] - 1 == G)
#endif
inline carry_out(s, by, result, whose, whose_number) {
    n = (by -> by : MAX(number[s], (record -> has + 1 : 0)));      /* by arrival */
    whose = (record -> at[record] + 1 : 0); whose_number = has;
    if
    :: REFUSED(s, n) -> result = 0
    :: else -> record = s; has = n; result = n
    fi;
    n = 0
}

inline nothing_asked(g) {
    asked[g] = 0; own[g] = 0; answered[g] = 0; answer[g] = 0; place[g] = 0; other[g] = 0
}
inline nothing_left(g) {
    left[g] = 0; left_own[g] = 0
}

/* Arrival decides where clocks do not, so the one before has its record. */
#ifdef SKEW
#define BEHIND (opened == 0 || known[opened] || state[opened] == CLOSED)
#else
#define BEHIND 1
#endif

active proctype Device() {
    byte s, g, o;
    atomic {
        if
        :: wanted = 1
        :: wanted = 2
        :: wanted = MOST
        fi
    }
end:
    do
    :: atomic {
        opened < wanted && BEHIND -> opened++; s = opened;
        if
        :: g = 0
        :: g = 1
        fi;
        at[s] = g; state[s] = OPENING; number[s] = TIME(s);
        if
        :: here[g] -> o = here[g]; here[g] = s; number[s] = MAX(number[s], number[o] + 1); ends(o); o = 0
        :: else -> here[g] = s
        fi;
#ifndef STAYS
        if
        :: leaves[s] = 1
        :: skip
        fi;
#endif
        s = 0; g = 0
       }
    :: atomic { leaves[1] -> ends(1) }
    :: atomic { leaves[2] -> ends(2) }
    :: atomic { leaves[3] -> ends(3) }
    od
}

#define G (_pid - 1)
#define S here[G]
#ifdef NO_CHECK
#define IS_OURS 1
#else
#define IS_OURS (record == S && has == number[S])
#endif
#ifdef NO_NEXT
#define SINCE(s) 1
#else
#define SINCE(s) (number[s] < other[G] && other[G] <= NOW(G))
#endif
#define IS_LATER(s) (state[s] != CLOSED && (OWN_PLACE || (state[s] == OPENING && !known[s] && !SINCE(s))))
#ifdef NO_TAKEN
#define REMOVED(s) (has == number[s])
#else
#ifdef NO_REMOVE
#define REMOVED(s) (known[s] && has <= number[s])
#else
#define REMOVED(s) (has <= number[s])
#endif
#endif
#define REMOVES(s) ((gone & BIT(s)) && at[s] == G)

active [2] proctype Gateway() {
    byte s, o;
end:
    do
    :: atomic { /* registers */
        S && up[G] && !asked[G] && (state[S] == OPENING || !term[S] || !IS_OURS) ->
        asked[G] = S; own[G] = number[S];
#ifdef NO_ORDER
        own[G] = (!known[S] && state[S] == OPENING -> 0 : own[G])
#endif
#ifdef NO_LATE
        own[G] = (!known[S] && state[S] != OPENING -> 0 : own[G])
#endif
       }
    :: atomic { S && !up[G] && state[S] == OPENING -> state[S] = SERVED }      /* from the store */
    :: atomic { /* answered */
        asked[G] && answered[G] -> s = asked[G];
        if
        :: answer[G] == 0 && IS_LATER(s) -> number[s] = other[G] + 1; known[s] = 0; term[s] = 0   /* asks again */
        :: answer[G] == 0 && !IS_LATER(s) -> tell(s)
        :: answer[G] ->
            number[s] = answer[G]; known[s] = 1;
            if
            :: state[s] == CLOSED -> gone = gone | BIT(s)
            :: state[s] != CLOSED && newer[s] > number[s] -> tell(s)
            :: else -> term[s] = 1; state[s] = SERVED; newer[s] = 0
            fi;
            if
            :: place[G] && place[G] - 1 != G -> notices[1 - G] = notices[1 - G] | BIT(number[s])
            :: else
            fi
        fi;
        nothing_asked(G); s = 0
       }
    :: atomic { /* removes, behind what it has written before */
        !(asked[G] && !answered[G]) && !left[G] && up[G] && (REMOVES(1) || REMOVES(2) || REMOVES(3)) ->
        s = 1;
        do
        :: REMOVES(s) -> break
        :: else -> s++
        od;
        gone = gone & ~BIT(s);
        if
        :: !S && record && at[record] == G && REMOVED(s) -> record = 0; has = 0
        :: else                                   /* the device is here again, or it is another's */
        fi;
        s = 0
       }
    :: atomic { /* hears of a newer one, of any notice, or that is lost */
        notices[G] -> s = 1;
        do
        :: notices[G] & BIT(s) -> break
        :: notices[G] >> (s + 1) -> s++
        od;
        notices[G] = notices[G] & ~BIT(s);
        if
        :: skip
#ifdef NO_COMPARE
        :: S -> o = S; tell(o)
#else
#ifdef NO_ANSWER
        :: S && number[S] < s -> o = S; tell(o)
#else
        :: S && !known[S] -> newer[S] = MAX(newer[S], s)
        :: S && known[S] && number[S] < s -> o = S; tell(o)
#endif
#endif
        fi;
        s = 0; o = 0
       }
    :: atomic { !up[G] -> up[G] = 1 }
    od
}

#define ASKS(g) (asked[g] && !answered[g])
inline node_of(g) {
    if
    :: ASKS(g) -> carry_out(asked[g], own[g], answer[g], place[g], other[g]); answered[g] = 1
    :: left[g] -> carry_out(left[g], left_own[g], r, p, o); nothing_left(g); r = 0; p = 0; o = 0
    :: left[g] -> nothing_left(g)
    fi
}
active proctype Node() {
    byte n, r, p, o;
end:
    do
    :: atomic { ASKS(0) || left[0] -> node_of(0) }
    :: atomic { ASKS(1) || left[1] -> node_of(1) }
    od
}

inline gives_up(g) {
    up[g] = 0;
    s = 1;
    do
    :: s > N -> break
    :: else -> term[s] = term[s] && at[s] != g; s++
    od;
    s = 0;
    if
    :: asked[g] && !answered[g] -> left[g] = asked[g]; left_own[g] = own[g]
    :: else
    fi;
    nothing_asked(g)
}

active proctype Faults() {
    byte s;
end:
    do
    :: atomic { hangs && up[0] -> hangs--; gives_up(0) }
    :: atomic { hangs && up[1] -> hangs--; gives_up(1) }
    :: atomic { hangs -> hangs = 0 }
    :: atomic { copies -> copies = 0; copy = record; copy_has = has }
    :: atomic { losses -> losses = 0; record = copy; has = copy_has }
    :: atomic { losses -> losses = 0 }
    od
}

active proctype Judge() {
    byte s, lives;
end:
    atomic {
        timeout ->
        s = 1;
        do
        :: s > opened -> break
        :: else ->
            if
            :: state[s] != CLOSED -> assert(record == s && has == number[s]); lives++
            :: else
            fi;
            s++
        od;
        assert(lives <= 1);
#ifdef STAYS
        assert(lives == 1);
#endif
        assert(lives || record == 0 || COPIES)
    }
}
