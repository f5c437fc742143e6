/*
 * claims: numbers of a conversation on Cassandra, from a conditional write of its document (rules R18, R21 to R25; ADR 0080).
 *
 * One conversation, one device that sends messages 1 and 2 under seqNum 1 and 2, one or two gateways, somebody who settles,
 * readers. Each step below is a step in the code, of delivery/store/cassandra:
 *   Gateway  read     Documents.change, settling.change_settled (waits while something is overdue or half ended)
 *            known    messages.known, behind the document (append._allocate: look)
 *            judge    claims.drop_ended and judge.judge, with the conditional write on the version that was read
 *            late     append.append_messages: over, _still_open, _not_ahead
 *            rows     append._rows: durable, or nobody knows and they come late, in part or not at all
 *            told     append.store: the deadline, rows by message id, the answer (which may be lost)
 *   Settler           claims.settle (document, rows, conditional write), then claims.finish, then the next change drops the claim
 *   Reader            pages._read: document, then rows, from the beginning each time
 *   Network           a write of which nobody heard lands at any time later
 *   Clock             allocated_at against FOLLOWED_MS, CLAIM_MS, SETTLE_MS, by clocks that differ by less than 5 s (clocks.py)
 *
 * Its sender sends in order, and all again when it does not hear. The second alone comes too: it was on its way when the
 * first was refused. Any step may be the last of its attempt: a gateway that dies, or says unavailable.
 *
 * Left out, and why that is safe: several conversations (nothing but a batch is shared, and a failed one is as an attempt that
 * dies), several devices (claims of others never decide about one's own), the outbox (delivery.pml), copies on the hot node
 * (leases.pml; they are judged by the same code), more than 64 devices (`seqnum`: a row ahead of the change that needs it),
 * replicas (quorum reads and writes meet), gateways that do not overlap (they keep nothing, so one stands for them).
 * A row that lands after its claim was found not to be there, and before it is deleted, may be shown by a reader who read the
 * document before that: `state[s] == VOID` in Reader. Nobody was told of it, its sender sends it again, clients drop the second.
 *
 *   sound  retries      -DGATEWAYS=1                 three attempts one after the other
 *   sound  overlapping  -DATTEMPTS=2                 two attempts at once
 *   broken NO_DEDUPE    -DGATEWAYS=1  R18: a retry is not looked up
 *   broken NO_WAITS     -DGATEWAYS=1  R21: a new message is numbered behind a claim that is open
 *   broken NO_FOLLOWED  -DGATEWAYS=1  R21: behind one that may be void before its rows are there
 *   broken NO_BEHIND    -DGATEWAYS=1  R21: a row is written again without the one before it
 *   broken NO_TOGETHER  -DGATEWAYS=1  R21: claims of one device are decided one by one
 *   broken NO_ROLLBACK  -DGATEWAYS=1  R21, V19: the seqNum of a void message is not the next again
 *   broken NO_DEADLINE  -DGATEWAYS=1  R23: rows count whenever they land
 *   broken NO_SLACK     -DGATEWAYS=1  R23, R25: who settles may be ahead of who tells
 *   broken NO_ID_LAST   -DGATEWAYS=1  R23, V18: the row by message id is written with the event
 *   broken NO_STOP      -DGATEWAYS=1  R25: a reader passes a number whose claim is open
 *   broken NO_DOC_FIRST -DGATEWAYS=1  R25: a reader reads the rows before the document
 *   broken NO_TOMB      -DGATEWAYS=1  R25: what is void is not deleted
 */
#ifndef GATEWAYS
#define GATEWAYS 2
#endif
#ifndef ATTEMPTS
#define ATTEMPTS 3
#endif

#define SEQS 3
#define BIT(s) (1 << (s))

/* states of a claim, in the order of its life */
#define NONE 0
#define OPEN 1
#define THERE 2
#define VOID 3

#define OPEN1(s) (state[s] == OPEN)
#ifdef NO_SLACK
#define IS_OLD(s) (age[s] >= 1)
#else
#define IS_OLD(s) (age[s] == 2)
#endif
#define OLD(s) (OPEN1(s) && IS_OLD(s))
#define YOUNG(s) (OPEN1(s) && !IS_OLD(s))
#ifdef NO_TOGETHER
#define TOGETHER 0
#define LATE(s) OLD(s)
#else
#define TOGETHER 1
#define LATE(s) (OLD(s) && !(YOUNG(1) || YOUNG(2) || YOUNG(3)))
#endif
#define OVERDUE (LATE(1) || LATE(2) || LATE(3))
#define DECIDED (state[1] >= THERE || state[2] >= THERE || state[3] >= THERE)
#define VISIBLE (row & ~deleted)

#ifdef NO_DEDUPE
#define KNOWN(m) 0
#else
#define KNOWN(m) known[m]
#endif
#ifdef NO_WAITS
#define WAITS 0
#else
#define WAITS 1
#endif
#ifdef NO_BEHIND
#define BEHIND 0
#else
#define BEHIND 1
#endif
#ifdef NO_FOLLOWED
#define FOLLOWED 0
#else
#define FOLLOWED 1
#endif
#ifdef NO_DEADLINE
#define DEADLINE 0
#else
#define DEADLINE 1
#endif
#ifdef NO_STOP
#define STOP 0
#else
#define STOP 1
#endif

/* the document */
byte head, last;
byte state[SEQS + 1], msg[SEQS + 1];
byte age[SEQS + 1];       /* 0: below 4 s by every clock; 1: below 10 s by some; 2: 15 s by some */
bool joined[SEQS + 1];    /* given out by the same change as the one before */
bool changed[3];          /* by somebody else, since this one has read it */

byte row, deleted;        /* rows of events, and what is deleted for good, by seq */
byte pending;             /* rows that may land */
byte id[3];               /* rows by message id: the seq */

/* what was seen of it */
byte acked[3];            /* the seq of a tick */
byte told;                /* messages of which the sender has heard it */
byte shown, shown_msg, passed;
byte left = ATTEMPTS;
bool begun, busy;

inline touch(me) {
    changed[0] = 1; changed[1] = 1; changed[2] = 1; changed[me] = 0
}

inline ack(m, s) {
    assert(acked[m] == 0 || acked[m] == s);                     /* C2: one message, one number */
    assert(!(passed & BIT(s)) && !(deleted & BIT(s)));          /* C4: nobody has read on without it */
    acked[m] = s;
    assert(!(acked[1] && acked[2]) || acked[1] < acked[2]);     /* C3: as it was sent */
    if
    :: told = told | m
    :: skip
    fi
}

inline judge(m) {
    claim = 0; wait = 0; behind = 0; i = 1;
    do
    :: i > head -> break
    :: else ->
        if
        :: OPEN1(i) && msg[i] == m -> claim = i
        :: OPEN1(i) && msg[i] != m ->
            if
            :: !(ours & BIT(i)) -> wait = 1
            :: else
            fi;
            if
            :: !claim && !(take & BIT(i)) -> behind = 1
            :: else
            fi
        :: else
        fi;
        i++
    od;
    if
    :: KNOWN(m) -> dups = dups | m
    :: !KNOWN(m) && claim && behind && BEHIND
    :: !KNOWN(m) && claim && !(behind && BEHIND) ->
        take = take | BIT(claim); again = again | BIT(claim);
        if
        :: age[claim] == 0 || !FOLLOWED -> ours = ours | BIT(claim)
        :: else
        fi
    :: !KNOWN(m) && !claim && wait && WAITS
    :: !KNOWN(m) && !claim && !(wait && WAITS) && last + 1 != m ->
        assert(m == 2 && !acked[1])        /* V19: the first that has no tick is never out_of_order */
    :: !KNOWN(m) && !claim && !(wait && WAITS) && last + 1 == m && head == SEQS
    :: !KNOWN(m) && !claim && !(wait && WAITS) && last + 1 == m && head < SEQS ->
        head++; last = m; wrote = 1;
        state[head] = OPEN; msg[head] = m; age[head] = 0;
        joined[head] = (fresh != 0);
        take = take | BIT(head); ours = ours | BIT(head); fresh = fresh | BIT(head)
    fi
}

active [GATEWAYS] proctype Gateway() {
    byte mask, take, again, ours, fresh, dups, over, claim, i, first;
    byte known[3];
    bool wait, behind, wrote;
end_idle:
    atomic {
        if
        :: _pid == 0 -> busy = 0
        :: else
        fi
    }
end_asked:
    atomic {
        left > 0 && told != 3 && (_pid == 0 || busy) -> left--;
        if
        :: _pid == 0 -> busy = 1
        :: else
        fi;
        if
        :: !(told & 1) -> mask = 1; begun = 1
        :: !(told & 1) -> mask = 3; begun = 1
        :: begun -> mask = 2
        fi
    }
read:
    atomic { !DECIDED && !OVERDUE -> changed[_pid] = 0 }
    d_step { known[1] = id[1]; known[2] = id[2] }
    atomic {
        if
        :: changed[_pid] -> goto read
        :: else
        fi;
        i = 1;
        do
        :: i > head -> break
        :: else ->
            if
            :: OPEN1(i) && known[msg[i]] == i -> state[i] = NONE; wrote = 1
            :: else
            fi;
            i++
        od;
        if
        :: mask & 1 -> judge(1)
        :: else
        fi;
        if
        :: mask & 2 -> judge(2)
        :: else
        fi;
        if
        :: wrote -> touch(_pid)
        :: else
        fi;
        if
        :: dups & 1 -> ack(1, known[1])
        :: else
        fi;
        if
        :: dups & 2 -> ack(2, known[2])
        :: else
        fi;
        mask = 0; ours = 0; fresh = 0; dups = 0; known[1] = 0; known[2] = 0;
        claim = 0; i = 0; wait = 0; behind = 0; wrote = 0;
        if
        :: take == 0 -> again = 0; goto end_idle
        :: take
        :: take = 0; again = 0; goto end_idle
        fi
    }
    atomic { /* late */
        i = 1; first = 0;
        do
        :: i > SEQS -> break
        :: else ->
            if
            :: (take & BIT(i)) && age[i] == 2 && DEADLINE -> over = over | BIT(i); take = take & ~BIT(i)
            :: (again & BIT(i)) && !(age[i] == 2 && DEADLINE) && id[msg[i]] == i ->
                take = take & ~BIT(i); again = again & ~BIT(i)      /* somebody else has told it */
            :: else
            fi;
            if
            :: first == 0 && ((over | again) & BIT(i)) && age[i] >= 1 && FOLLOWED -> first = i
            :: else
            fi;
            if
            :: first && i > first && (take & BIT(i)) && !joined[i] -> take = take & ~BIT(i)
            :: else
            fi;
            i++
        od;
        again = 0; over = 0; first = 0; i = 0;
        if
        :: take == 0 -> goto end_idle
        :: take
        fi
    }
    atomic { /* rows */
        if
        :: row = row | take
        :: pending == 0 -> pending = take;
#ifdef NO_ID_LAST
            i = 1;
            do
            :: i > SEQS -> break
            :: else ->
                if
                :: take & BIT(i) -> id[msg[i]] = i
                :: else
                fi;
                i++
            od;
            i = 0;
#endif
            take = 0; goto end_idle
        :: take = 0; goto end_idle
        fi
    }
    atomic { /* told */
        i = 1;
        do
        :: i > SEQS -> break
        :: else ->
            if
            :: (take & BIT(i)) && age[i] == 2 && DEADLINE -> take = take & ~BIT(i)
            :: else
            fi;
            i++
        od;
        i = 0;
        if
        :: take == 0 -> goto end_idle
        :: take
        fi
    }
    do
    :: atomic {
        take -> i = 1;
        do
        :: take & BIT(i) -> break
        :: else -> i++
        od;
        id[msg[i]] = i; ack(msg[i], i); take = take & ~BIT(i); i = 0;
        if
        :: take == 0 -> goto end_idle
        :: take
        :: take = 0; goto end_idle
        fi
       }
    od
}

active proctype Network() {
end:
    do
    :: pending & BIT(1) -> atomic { row = row | BIT(1); pending = pending & ~BIT(1) }
    :: pending & BIT(2) -> atomic { row = row | BIT(2); pending = pending & ~BIT(2) }
    :: pending & BIT(3) -> atomic { row = row | BIT(3); pending = pending & ~BIT(3) }
    od
}

/* Nobody is younger than who came later, and who came together ages together. */
active proctype Clock() {
    byte s, t;
    bool due;
end:
    do
    :: atomic {
        if
        :: s = 1
        :: s = 2
        :: s = 3
        fi;
        due = OPEN1(s) && age[s] < 2 && !joined[s]; t = 1;
        do
        :: t == s -> break
        :: else ->
            if
            :: OPEN1(t) && age[t] == age[s] -> due = 0
            :: else
            fi;
            t++
        od;
        if
        :: due ->
            age[s]++; t = s + 1;
            do
            :: t <= head && joined[t] -> age[t] = age[s]; t++
            :: else -> break
            od
        :: else
        fi;
        s = 0; t = 0; due = 0
       }
    od
}

active proctype Settler() {
    byte late, there, s;
    bool lost;
end:
    do
    :: atomic {
        OVERDUE -> changed[2] = 0; late = 0; s = 1;
        do
        :: s > SEQS -> break
        :: else ->
            if
            :: LATE(s) -> late = late | BIT(s)
            :: else
            fi;
            s++
        od;
        s = 0
       }
       d_step { there = VISIBLE & late }
       atomic {
        if
        :: changed[2]
        :: else ->
            s = 1;
            do
            :: s > SEQS -> break
            :: else ->
                if
                :: (late & there & BIT(s)) && !(lost && TOGETHER) -> state[s] = THERE
                :: (late & BIT(s)) && !((there & BIT(s)) && !(lost && TOGETHER)) ->
                    state[s] = VOID; lost = 1;
                    if
                    :: shown & BIT(s) -> shown = shown & ~BIT(s); shown_msg = shown_msg & ~msg[s]
                    :: else
                    fi;
#ifndef NO_ROLLBACK
                    if
                    :: TOGETHER && last >= msg[s] -> last = msg[s] - 1
                    :: !TOGETHER && last == msg[s] -> last = msg[s] - 1
                    :: else
                    fi
#endif
                :: else
                fi;
                s++
            od;
            touch(2)
        fi;
        late = 0; there = 0; s = 0; lost = 0
       }
    :: atomic {
        DECIDED -> s = 1;
        do
        :: state[s] >= THERE -> break
        :: else -> s++
        od;
        if
        :: state[s] == THERE -> id[msg[s]] = s
        :: state[s] == VOID ->
#ifndef NO_TOMB
            deleted = deleted | BIT(s)
#else
            skip
#endif
        fi
       }
       atomic { state[s] = NONE; touch(2); s = 0 }
    od
}

inline read_document() {
    rhead = head; open = 0; voids = 0; s = 1;
    do
    :: s > SEQS -> break
    :: else ->
        if
        :: OPEN1(s) || state[s] == THERE -> open = open | BIT(s)
        :: state[s] == VOID -> voids = voids | BIT(s)
        :: else
        fi;
        s++
    od;
    s = 0
}

active proctype Reader() {
    byte rhead, open, voids, there, s;
end:
    do
    ::
#ifdef NO_DOC_FIRST
       there = VISIBLE;
       atomic {
        read_document();
#else
       atomic { read_document() }
       atomic {
        there = VISIBLE;
#endif
        s = 1;
        do
        :: s > rhead -> break
        :: else ->
            if
            :: there & ~voids & BIT(s) ->
                if
                :: state[s] != VOID && !(shown & BIT(s)) ->
                    assert(!(passed & BIT(s)));                         /* C3: all read the same */
                    assert(!(shown_msg & msg[s]));                      /* C2 */
                    assert(!(msg[s] == 1 && (shown_msg & 2)));          /* C3: as it was sent */
                    shown = shown | BIT(s); shown_msg = shown_msg | msg[s]
                :: else
                fi
            :: !(there & ~voids & BIT(s)) && (open & BIT(s)) && STOP -> break
            :: else ->
                assert(acked[1] != s && acked[2] != s && !(shown & BIT(s)));   /* C4 */
                passed = passed | BIT(s)
            fi;
            s++
        od;
        s = 0; rhead = 0; open = 0; voids = 0; there = 0
       }
    od
}
