/*
 * sending: what a device sends again, and what a gateway does not know the outcome of, on PostgreSQL (rules R18, R19; ADR 0002, 0005).
 *
 * One device sends messages 1 and 2 of one conversation, under seqNum 1 and 2, over two gateways; somebody else sends message 3 of
 * another over the first of these. Each step below is a step in the code:
 *   Gateway   delivery/log.py Log._run: a statement is sent, with the writer's name (store.append, the function delivery_append, which
 *             takes its row of the outbox first and holds the head of the conversation until it commits); it commits and is answered
 *             (_answer, or the answer is lost with the socket); or nobody knows (Progress.rename, _fail); or the gateway is killed.
 *             Fan-out and watermark of a row that was answered: Progress.done
 *   Orphan    a statement of which nobody hears any more commits, or not
 *   Sweeper   delivery/sweep.py Sweep._replay, for names without a heartbeat
 *   Judge     when nothing is left that anybody would do, both have their tick, and every row was marked
 *
 * The device sends in order, and what has no tick again (clients/python/whatsapp_client/outbox.py); its second message alone comes
 * too: it was on its way when the first was refused. It changes gateways at any time.
 *
 * Left out, and why that is safe: batches of several conversations (one commit, as here), conflicts of bodies (an answer, nothing
 * more), several epochs and what the marks do (delivery.pml), Cassandra (claims.pml), sockets that take each other's place (R20:
 * they change nothing of this; sessions.pml).
 *
 *   sound  unknown      -DUNKNOWN=1
 *   sound  kill         -DUNKNOWN=1 -DKILL
 *   broken NO_DEDUPE    -DUNKNOWN=1  R18: a message that is there is stored again
 *   broken NO_FIRST     -DUNKNOWN=1  R18: seqNum is judged before the duplicate
 *   broken NO_SEQNUM    -DUNKNOWN=1  R19: seqNum is not judged
 *   broken NO_DURABLE   -DUNKNOWN=1  R19, V19: the last seqNum is moved before the commit
 *   broken NO_RENAME    -DUNKNOWN=1  ADR 0005: who does not know an outcome keeps its name
 *   broken NO_SWEEP     -DUNKNOWN=1  R4: nobody looks after names that are gone
 */
#define MAX(a, b) ((a) > (b) -> (a) : (b))
#define ROWS 6
#define NAMES 5
#define FREE 9

#ifdef NO_DEDUPE
#define NEW(m) 1
#else
#ifdef NO_FIRST
#define NEW(m) !(at[m] && last + 1 == m)
#else
#define NEW(m) (at[m] == 0)
#endif
#endif

/* the store: the log of the conversation, the last seqNum, who has locked its head; rows of the outbox by number: their writer */
byte head, last, at[4], lock = FREE;
byte numbers, writer[ROWS + 1];
bool marked[ROWS + 1];
byte watermark[NAMES];
/* gateways and their names; names in use are alive */
byte name[2], names = 2;
bool dead;
/* statements nobody hears of any more */
byte orphan, orphan_row, orphan_name;
/* the device */
byte ticks, seq_of[4], begun;
bool other;               /* message 3 has its tick */
byte unknown = UNKNOWN;
#ifdef KILL
bool kills = 1;
#else
bool kills;
#endif

#define NAME(g) (name[g] -> name[g] : (g))
#define LIVES(n) ((n) == NAME(1) || ((n) == NAME(0) && !dead))

inline judge(m) {
    refused = 0;
    if
#ifndef NO_DEDUPE
#ifdef NO_FIRST
    :: at[m] && last + 1 == m
#else
    :: at[m]
#endif
#endif
#ifndef NO_SEQNUM
    :: NEW(m) && last + 1 != m -> refused = 1
    :: NEW(m) && last + 1 == m ->
#else
    :: NEW(m) ->
#endif
        assert(at[m] == 0);                    /* C2 */
        assert(m == 1 || at[1]);               /* C3 */
        head++; at[m] = head; stored = 1;
        last = MAX(last, m)
    fi;
    if
    :: refused -> out = out | m; assert(m == 2 && !(ticks & 1))   /* V19 */
    :: else
    fi
}
/* One statement commits. */
inline commit(mask, number, by) {
    stored = 0;
    if
    :: mask & 1 -> judge(1)
    :: else
    fi;
    if
    :: mask & 2 -> judge(2)
    :: else
    fi;
    if
    :: mask & 4 -> stored = 1; at[3] = 1
    :: else
    fi;
    if
    :: stored -> writer[number] = by + 1
    :: else
    fi
}

inline tick(m) {
    assert(seq_of[m] == 0 || seq_of[m] == at[m]);
    seq_of[m] = at[m];
    if
    :: ticks = ticks | m
    :: skip                                    /* its socket is gone */
    fi
}

active [2] proctype Gateway() {
    byte mask, number, by, out;
    bool stored, refused;
end:
    atomic {
        !(_pid == 0 && dead) && numbers < ROWS - 1 && (ticks != 3 || (_pid == 0 && !other)) ->
        if
        :: !(ticks & 1) -> mask = 1; begun = 1
        :: !(ticks & 1) -> mask = 3; begun = 1
        :: begun && !(ticks & 2) -> mask = 2
        :: _pid == 0 && !other -> mask = 4
        fi;
        by = NAME(_pid)
    }
end_begins:
    atomic { /* the statement begins: its number, then the lock of the head */
        (mask == 4 || lock == FREE) -> numbers++; number = numbers;
        if
        :: mask != 4 -> lock = _pid
        :: else
        fi
    }
    atomic {
        if
        :: commit(mask, number, by);
            if
            :: mask != 4 -> lock = FREE
            :: else
            fi;
            if
            :: (mask & 1) && !(out & 1) -> tick(1)
            :: else
            fi;
            if
            :: (mask & 2) && !(out & 2) -> tick(2)
            :: else
            fi;
            if
            :: mask == 4 -> other = 1
            :: else
            fi
        :: unknown && orphan == 0 ->
            unknown--; orphan = mask; orphan_row = number; orphan_name = by;
            if
            :: mask != 4 -> lock = 2
            :: else
            fi;
#ifndef NO_RENAME
            name[_pid] = names; names++;
#endif
            stored = 0
        :: kills && _pid == 0 && orphan == 0 ->
            kills = 0; dead = 1; orphan = mask; orphan_row = number; orphan_name = by;
            if
            :: mask != 4 -> lock = 2
            :: else
            fi;
            stored = 0
        fi
    }
    atomic { /* marks, and the watermark of the name */
        if
        :: stored -> marked[number] = 1; watermark[by] = MAX(watermark[by], number)
        :: stored && kills && _pid == 0 -> kills = 0; dead = 1
        :: !stored
        fi;
        mask = 0; number = 0; by = 0; out = 0; stored = 0; refused = 0
    }
    goto end
}

active proctype Orphan() {
    byte out;
    bool stored, refused;
end:
    do
    :: atomic {
        orphan ->
        if
        :: commit(orphan, orphan_row, orphan_name)
        :: skip;
#ifdef NO_DURABLE
            last = MAX(last, (orphan & 2 -> 2 : (orphan & 1)))
#endif
        fi;
        if
        :: orphan != 4 -> lock = FREE
        :: else
        fi;
        orphan = 0; orphan_row = 0; orphan_name = 0; out = 0; stored = 0; refused = 0
       }
    od
}

#ifndef NO_SWEEP
#define OPEN(r) (writer[r] && !LIVES(writer[r] - 1) && watermark[writer[r] - 1] < r)
active proctype Sweeper() {
    byte r;
end:
    do
    :: atomic {
        OPEN(1) || OPEN(2) || OPEN(3) || OPEN(4) || OPEN(5) || OPEN(6) -> r = 1;
        do
        :: OPEN(r) -> break
        :: else -> r++
        od;
        marked[r] = 1; watermark[writer[r] - 1] = r; r = 0
       }
    od
}
#endif

active proctype Judge() {
    byte r;
end:
    atomic {
        timeout ->
        assert(numbers >= ROWS - 1 || (ticks == 3 && (other || dead)));
        r = 1;
        do
        :: r > ROWS -> break
        :: else -> assert(!writer[r] || marked[r]); r++
        od
    }
}
