/*
 * sessions: two sockets of one device are one too many (rule R20: 4409 only if a newer session of this device exists; ADR 0112).
 *
 * A device opens up to three sessions one after the other, each at one of two gateways, and leaves each or not, with the gateway
 * told so at any time later, or never. Each step below is a step in the code, of delivery/:
 *   Device    sessions.Sessions.open: Hub.add, which ends the session of this device that its own gateway had; closed
 *   Gateway   "registers": _open_all, _open_under, _registration; of a session that has its record the same by _reopen_all (a new
 *             term) and session_check._compare (R8: the record is not ours). One batch is in flight, _opens. "answered": the rest
 *             of _open_under. "removes": _unregister_all, of one without a number by its opening; what is left over waits for the
 *             next term. "hears": on_replaced; a notice comes late, out of order or never
 *   Node      inbox._REGISTER: what was asked is carried out, or what a connection that was given up had written, late or never
 *   Faults    a gateway gives up its connection, as it does if the node hangs or is away; what was on its way nobody hears of any
 *             more. The node is restored from a copy of any moment; without one before it, flushed
 *   Judge     whoever is told 4409, a later session was opened (tell). When nothing is left that anybody would do, at most one
 *             session lives, its record is there, and who has gone has none
 *
 * Time is the order of the openings. Taken for granted, and what is left of R20 (docs/model.md): first registrations are carried
 * out in that order (IN_TURN); of one session no two are given up (NO_ONCE; with one hang it may ask again); clocks differ by
 * less than what lies between two openings, but for "clocks". A session whose place was taken at its own gateway, by one that goes
 * before it has a record, may leave its own behind (STALE); a copy may bring one back.
 *
 * Left out, and why that is safe: marks, markers and epochs (delivery.pml: a new term is what they are here), `announce` (a
 * registration like the check's, of which nobody hears), killed gateways (a record of nobody, like one that is carried out late),
 * other devices of the user (the record of each is its own).
 *
 *   sound  hang         -DMOST=3 -DHANGS=1 -DCOPIES=0
 *   sound  lost         -DMOST=3 -DHANGS=0 -DCOPIES=1
 *   sound  both         -DMOST=2 -DHANGS=1 -DCOPIES=1
 *   sound  again        -DMOST=2 -DHANGS=2 -DCOPIES=0  twice
 *   sound  clocks       -DMOST=2 -DHANGS=0 -DCOPIES=0 -DSTAYS -DSKEW  neither leaves, one gateway's clock is behind
 *   sound  race         -DMOST=2 -DHANGS=0 -DCOPIES=1 -DSTAYS -DRACE  neither leaves, opened at once: one of them stays
 *   broken NO_OPENED    -DMOST=3 -DHANGS=1 -DCOPIES=0  a session's number is the node's time at its registration
 *   broken NO_LATE      -DMOST=3 -DHANGS=1 -DCOPIES=0  who registers late is the newest: by arrival, not by opening
 *   broken NO_OWN       -DMOST=3 -DHANGS=1 -DCOPIES=0  a session does not know its own record
 *   broken NO_REMOVE    -DMOST=3 -DHANGS=1 -DCOPIES=0  who ends without an answer leaves its registration to itself
 *   broken NO_COMPARE   -DMOST=3 -DHANGS=0 -DCOPIES=1  a notice is for whoever is there
 *   broken NO_ANSWER    -DMOST=3 -DHANGS=0 -DCOPIES=1  a session that waits for its number is told at once
 *   broken NO_CHECK     -DMOST=3 -DHANGS=0 -DCOPIES=1  R8: nobody looks whether the record is still ours
 *   broken NO_NEXT      -DMOST=2 -DHANGS=0 -DCOPIES=0 -DSTAYS -DSKEW  the number is not above that of the record it displaces
 *   broken NO_ORDER     -DMOST=3 -DHANGS=1 -DCOPIES=0  what is left: a first registration behind a later session's
 *   broken NO_ONCE      -DMOST=2 -DHANGS=2 -DCOPIES=0  what is left: two first registrations of one session are given up
 */
#define N 3
#define OPENING 1
#define SERVED 2
#define CLOSED 3
#define BIT(s) (1 << (s))
#define MAX(a, b) ((a) > (b) -> (a) : (b))

#ifdef SKEW
#define TIME(s) (at[s] -> (s) : (s) + N)
#else
#define TIME(s) (2 * (s))
#endif

/* the device; its sessions are 1 to 3, in the order of their openings */
byte wanted, opened;
byte state[N + 1], at[N + 1], number[N + 1], newer[N + 1];
bool leaves[N + 1], term[N + 1];   /* will leave; is registered under the term of its gateway */
/* gateways: the session that each has, whether it has a term, whose record it removes, notices by their number */
byte here[2], gone;
bool up[2] = 1;
short notices[2];
/* the registration on its way: of whom, its number, late, neither; then the number it got, 0: refused, and in whose place */
byte asked[2], own[2], answer[2], place[2];
bool late[2], first[2], answered[2];
/* what a connection that was given up has written */
byte left[2], left_own[2];
bool left_late[2], left_first[2];
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
#define REFUSED(s, n, is_late) (n && record && has >= n)
#else
#define REFUSED(s, n, is_late) (n && record && (has > n || (is_late && has == n && at[record] != at[s])))
#endif
#ifdef NO_OPENED
#define FIRST(s) MAX(2 * opened + 1, (record -> has + 1 : 0))
#else
#ifdef NO_NEXT
#define FIRST(s) TIME(s)
#else
#define FIRST(s) MAX(TIME(s), (record -> has + 1 : 0))
#endif
#endif
inline carry_out(s, by, is_late, result, whose) {
    n = (is_late && by == 0 -> TIME(s) : by);
    if
    :: REFUSED(s, n, is_late) -> result = 0; whose = 0
    :: else ->
        whose = (record -> at[record] + 1 : 0);
        result = (by == 0 && !is_late -> FIRST(s) : n);
        record = s; has = result
    fi;
    n = 0
}

/* No earlier session has its first registration on its way, or yet to be sent; nor has this one in what was given up. */
#if defined(RACE) || defined(NO_ORDER)
#define BEHIND_OTHERS(s) 1
#define IN_TURN(s) 1
#else
#define WAITS(g, s) ((asked[g] < (s) && first[g] && !answered[g]) || (left[g] < (s) && left_first[g]))
#define OPENS(e, s) ((e) < (s) && state[e] == OPENING)
#define BEHIND_OTHERS(s) !(WAITS(0, s) || WAITS(1, s) || OPENS(1, s) || OPENS(2, s))
#define IN_TURN(s) (BEHIND_OTHERS(s) && !(left[at[s]] == (s) && left_first[at[s]]))
#endif

inline nothing_asked(g) {
    asked[g] = 0; own[g] = 0; late[g] = 0; first[g] = 0; answered[g] = 0; answer[g] = 0; place[g] = 0
}
inline nothing_left(g) {
    left[g] = 0; left_own[g] = 0; left_late[g] = 0; left_first[g] = 0
}

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
        opened < wanted -> opened++; s = opened;
        if
        :: g = 0
        :: g = 1
        fi;
        at[s] = g; state[s] = OPENING;
        if
        :: here[g] -> o = here[g]; here[g] = s; ends(o); o = 0
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
#define REMOVES(s) ((gone & BIT(s)) && at[s] == G)

active [2] proctype Gateway() {
    byte s, o;
end:
    do
    :: atomic { /* registers */
        S && up[G] && !asked[G] && (state[S] == OPENING || !term[S] || !IS_OURS) ->
        asked[G] = S; own[G] = number[S];
#ifndef NO_LATE
        late[G] = (number[S] == 0 && state[S] != OPENING);
#endif
        first[G] = (own[G] == 0 && !late[G])
       }
    :: atomic { S && !up[G] && state[S] == OPENING -> state[S] = SERVED }      /* from the store */
    :: atomic { /* answered */
        asked[G] && answered[G] -> s = asked[G];
        if
        :: answer[G] == 0 -> tell(s)
        :: else ->
            number[s] = answer[G];
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
#ifdef NO_REMOVE
        :: record == s && number[s] == has -> record = 0; has = 0
#else
        :: record == s && (number[s] -> number[s] : TIME(s)) == has -> record = 0; has = 0
#endif
        :: else
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
        :: S && number[S] == 0 -> newer[S] = MAX(newer[S], s)
        :: S && number[S] && number[S] < s -> o = S; tell(o)
#endif
#endif
        fi;
        s = 0; o = 0
       }
    :: atomic { !up[G] -> up[G] = 1 }
    od
}

inline node_of(g) {
    if
    :: asked[g] && !answered[g] && IN_TURN(asked[g]) ->
        carry_out(asked[g], own[g], late[g], answer[g], place[g]); answered[g] = 1
    :: left[g] && BEHIND_OTHERS(left[g]) ->
        carry_out(left[g], left_own[g], left_late[g], r, p); nothing_left(g); r = 0; p = 0
    :: left[g] -> nothing_left(g)
    fi
}
#define ASKS(g) (asked[g] && !answered[g] && IN_TURN(asked[g]))

active proctype Node() {
    byte n, r, p;
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
    :: asked[g] && !answered[g] ->
        left[g] = asked[g]; left_own[g] = own[g]; left_late[g] = late[g]; left_first[g] = first[g]
    :: else
    fi;
#if HANGS > 1 && !defined(NO_ONCE)
    if
    :: first[g] && state[asked[g]] == OPENING -> state[asked[g]] = SERVED
    :: else
    fi;
#endif
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

#define TAKEN(s, e) (record == (s) && opened >= (e) && at[e] == at[s])
#define STALE (TAKEN(1, 2) || TAKEN(1, 3) || TAKEN(2, 3))

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
        assert(lives || record == 0 || STALE || COPIES)
    }
}
