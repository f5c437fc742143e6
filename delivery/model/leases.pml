/*
 * leases: numbers of a conversation from a copy of its document on the hot node (rules R23, R24; ADR 0094, 0103, 0107).
 *
 * One conversation that has a copy, two appenders, one reader; each append is a message of its own, or all of them are the same
 * (-DRETRY). Each step below is a step in
 * the code, of delivery/store/cassandra:
 *   Appender  hot.number: document, Leases.confirm, Copies.read, Copies.swap; append.store: rows, HotDocuments.over, the answer;
 *             or, the durable way, Documents.change: the copy is found and frozen, then the conditional write of the document, by
 *             which a new copy is made (HotDocuments.make)
 *             or, when it is lost: HotDocuments.without (Leases.close, gone), lost.without_copy, the conditional write,
 *             then settling.end_claims with lost.never
 *   Reader    Documents.read: document, HotDocuments.read (confirmed before and behind the copy); pages._read: the rows
 *   Clock     what was confirmed is so for CONFIRMED_S. Who goes on without a copy waits DEAD_S, which is longer: until nobody has
 *             it confirmed any more
 *   Network   rows that land late
 *   Fault     -DFLUSH: the copy is gone and the epoch another. -DRESTORE: the same, with the copy as it was at any moment before.
 *             -DDELETE: the copy is gone. -DPARTITION: one
 *             appender does not reach the node any more. Any step may be the last of its attempt.
 *
 * Left out, and why that is safe: seqNum, deadlines and void claims (claims.pml: judged by the same code on the document,
 * wherever it is; here a claim stays open), withheld and amended messages (they call the copy back), a lease that is opened again
 * (under a higher number, as that of another epoch), the unknown outcome of a conditional write (it is read back), more copies than
 * two one after the other, several nodes (each has a lease of its own).
 *
 *   sound  flush        -DFLUSH
 *   sound  restore      -DRESTORE
 *   sound  delete       -DDELETE
 *   sound  partition    -DPARTITION
 *   sound  retry        -DFLUSH -DRETRY -DAPPENDS=3    one message, sent again and again
 *   sound  recall       -DAPPENDS=2    nothing is lost: the copy is called back while others append
 *   broken NO_TOLD      -DFLUSH    R23, V13: an answer whose lease is not confirmed behind its rows
 *   broken NO_CLOSE     -DDELETE   R23: the lease of a lost copy is not closed
 *   broken NO_WAIT      -DFLUSH    R23: nobody waits until what was confirmed is over
 *   broken NO_FENCE     -DRESTORE  R23, ADR 0107: a command counts under the epoch that its sender knew
 *   broken NO_BASE      -DFLUSH    R24, V15: the numbers of the lost copy are given out again
 *   broken NO_NEVER     -DFLUSH    R24: what comes late of a lost copy is seen
 *   broken NO_FREEZE    -DAPPENDS=2    the copy is called back while it still changes
 *   broken NO_FOLD      -DFLUSH -DRETRY -DAPPENDS=3    a retry the durable way takes the number of a copy for durable
 */
#define SEQS 4
#define BLOCK 2
#define BIT(s) (1 << (s))
#define UP_TO(s) ((1 << ((s) + 1)) - 2)
#define MAX(a, b) ((a) > (b) -> (a) : (b))
#ifndef APPENDS
#define APPENDS 2
#endif

/* the durable document, and its mark: a copy (0: none), the epoch of its node and lease, the last number of its block */
byte head, base, claims, hot = 1, hot_epoch = 1, limit = BLOCK;
byte lost_low, lost_high, lost_there;
bool changed[3];
/* the hot node: its epoch, and copies by token */
byte epoch = 1;
byte copy_head[3], copy_claims[3];
bool gone[3], frozen[3];
bool saved, old_there;
byte old_head, old_claims;
byte in_copy[3];          /* the number of the message, in the document (0) and in its copies */
/* leases by epoch */
bool open[3] = 1;
byte confirmed[3];        /* of which epoch each process has confirmed it, 0: none, or too long ago */
/* rows */
byte row, deleted, pending;

byte left = APPENDS;
byte told, highest, passed, id;
bool faulted, away;

#ifdef RETRY
#define IN_COPY(t) in_copy[t]
#else
#define IN_COPY(t) 0
#endif
#define LOST(s) ((s) > lost_low && (s) <= lost_high && !(lost_there & BIT(s)))
#define GIVEN MAX(head, base)
#define VISIBLE (row & ~deleted)
#ifdef NO_FENCE
#define AT(e) 1
#else
#define AT(e) (epoch == (e))
#endif
#define REACHES(e) (AT(e) && !(_pid == 1 && away))
#define DEAD(e) (!open[e] && confirmed[0] != (e) && confirmed[1] != (e) && confirmed[2] != (e))

inline touch(me) {
    changed[0] = 1; changed[1] = 1; changed[2] = 1; changed[me] = 0
}

inline tell(s) {
#ifdef RETRY
    assert(id == 0 || id == s);                        /* C2: a message has one number */
    id = s;
#else
    assert(!(told & BIT(s)));                          /* C2: a number is one message's */
    assert(s > floor);                                 /* C3: behind all that was told before it was sent */
#endif
    assert(!(passed & BIT(s)) && !(deleted & BIT(s)));   /* C4 */
    told = told | BIT(s);
    highest = MAX(highest, s)
}

active [2] proctype Appender() {
    byte floor, token, at, seen, low, high, found, seq;
    bool cold;
end:
    atomic { left > 0 && lost_high == 0 -> left--; floor = highest; goto read }
read:
    atomic {
        changed[_pid] = 0; token = hot; at = hot_epoch; low = head; high = limit; seen = GIVEN;
        if
        :: lost_high -> goto finish
        :: lost_high == 0 && token == 0 -> goto known
        :: lost_high == 0 && token && confirmed[_pid] == at
        :: lost_high == 0 && token && confirmed[_pid] != at && open[at] -> confirmed[_pid] = at
        :: lost_high == 0 && token && confirmed[_pid] != at && !open[at] -> goto lost
        :: goto over
        fi
    }
    /* the copy, under the epoch of its mark */
    atomic {
        if
        :: !REACHES(at) -> goto lost
        :: REACHES(at) && gone[token] -> goto lost
        :: REACHES(at) && !gone[token] -> seen = copy_head[token]; found = copy_claims[token];
            if
            :: frozen[token] || seen >= high -> cold = 1
            :: !frozen[token] && seen < high
            :: cold = 1                       /* what is not plain, or a process that uses no copies */
            fi
        fi
    }
known:
    atomic {
#ifdef RETRY
        if
        :: id -> tell(id); goto over
        :: else
        fi;
#endif
        if
        :: token == 0 -> goto durable
        :: token && cold -> goto recall
        :: token && !cold
        fi
    }
    atomic { /* swap */
        if
        :: confirmed[_pid] == at && AT(at) && !gone[token] && !frozen[token] && copy_head[token] == seen ->
            if
            :: IN_COPY(token) -> seq = in_copy[token]
            :: !IN_COPY(token) ->
                seq = seen + 1; copy_head[token] = seq; copy_claims[token] = copy_claims[token] | BIT(seq);
                in_copy[token] = seq
            fi;
            found = 0
        :: else -> goto over
        fi
    }
    atomic { /* rows */
        if
        :: row = row | BIT(seq)
        :: pending = pending | BIT(seq); goto over
        :: goto over
        fi
    }
    atomic { /* told */
#ifdef NO_TOLD
        tell(seq); goto over
#else
        if
        :: confirmed[_pid] == at -> tell(seq)
        :: confirmed[_pid] != at && open[at] -> confirmed[_pid] = at; tell(seq)
        :: confirmed[_pid] != at && !open[at]
        fi;
        goto over
#endif
    }
recall:
#ifdef NO_FOLD
    atomic {
        if
        :: IN_COPY(token) -> seq = in_copy[token]; found = 0; goto stored
        :: else
        fi
    }
#endif
    atomic { /* freeze, confirmed before and behind */
        if
#ifdef NO_FREEZE
        :: skip
#else
        :: confirmed[_pid] == at && AT(at) && !gone[token] && copy_head[token] == seen -> frozen[token] = 1
        :: else -> goto over
#endif
        fi
    }
    atomic {
        if
        :: confirmed[_pid] == at
        :: else -> goto over
        fi
    }
durable:
    atomic { /* the conditional write; it may make another copy, which is at the node already */
        if
        :: changed[_pid] -> goto over
        :: !changed[_pid] && !IN_COPY(token) && seen == SEQS -> goto over
        :: !changed[_pid] && (IN_COPY(token) || seen < SEQS) ->
            claims = claims | found; found = 0;
            if
            :: IN_COPY(token) -> seq = in_copy[token]; head = MAX(head, (token -> seen : head))
            :: !IN_COPY(token) -> seq = seen + 1; head = seq; claims = claims | BIT(seq)
            fi;
            if
            :: token == 0 && IN_COPY(0) -> goto stored      /* it is there already: nothing is written */
            :: else
            fi;
            in_copy[0] = seq;
            if
            :: token -> gone[token] = 1
            :: else
            fi;
            hot = 0;
            if
            :: token != 2 && copy_head[2] == 0 && open[epoch] ->
                hot = 2; hot_epoch = epoch; limit = GIVEN + BLOCK;
                gone[2] = 0; copy_head[2] = GIVEN; copy_claims[2] = claims; in_copy[2] = in_copy[0]
            :: skip
            fi;
            touch(_pid)
        fi
    }
stored:
    atomic {
        if
        :: row = row | BIT(seq); tell(seq); goto over
        :: pending = pending | BIT(seq); goto over
        :: goto over
        fi
    }
lost:
    atomic {
#ifndef NO_CLOSE
        open[at] = 0;
#endif
        if
        :: confirmed[_pid] == at -> confirmed[_pid] = 0
        :: else
        fi
    }
    if
#if !defined(NO_WAIT) && !defined(NO_CLOSE)
    :: DEAD(at)
#else
    :: skip
#endif
    :: goto over
    fi;
    d_step { found = VISIBLE & UP_TO(high) & ~UP_TO(low) }
    atomic {
        if
        :: changed[_pid] -> goto over
        :: else ->
            hot = 0; base = MAX(base, high);
#ifdef NO_BASE
            base = 0;
#endif
            head = (found & 16 -> 4 : (found & 8 -> 3 : (found & 4 -> 2 : (found & 2 -> 1 : head))));
            head = MAX(head, low);
            lost_low = low; lost_high = high; lost_there = found; touch(_pid);
            if
            :: found && in_copy[0] == 0 -> in_copy[0] = (found & 2 -> 1 : (found & 4 -> 2 : (found & 8 -> 3 : 4)))
            :: else
            fi
        fi
    }
finish:
    atomic {
        if
        :: lost_high == 0 -> goto over
        :: lost_high -> low = lost_low; high = lost_high; found = lost_there
        :: goto over
        fi
    }
    atomic {
#ifndef NO_NEVER
        deleted = deleted | (UP_TO(high) & ~UP_TO(low) & ~found);
#endif
        if
        :: lost_high == high && lost_low == low -> lost_high = 0; lost_low = 0; lost_there = 0; touch(_pid)
        :: else
        fi;
        seen = 0; found = 0; cold = 0; goto read
    }
over:
    atomic { floor = 0; token = 0; at = 0; seen = 0; low = 0; high = 0; found = 0; seq = 0; cold = 0; goto end }
}

active proctype Network() {
end:
    do
    :: atomic { pending & BIT(1) -> row = row | BIT(1); pending = pending & ~BIT(1) }
    :: atomic { pending & BIT(2) -> row = row | BIT(2); pending = pending & ~BIT(2) }
    :: atomic { pending & BIT(3) -> row = row | BIT(3); pending = pending & ~BIT(3) }
    :: atomic { pending & BIT(4) -> row = row | BIT(4); pending = pending & ~BIT(4) }
    od
}

active proctype Clock() {
end:
    do
    :: atomic { confirmed[0] -> confirmed[0] = 0 }
    :: atomic { confirmed[1] -> confirmed[1] = 0 }
    :: atomic { confirmed[2] -> confirmed[2] = 0 }
    od
}

active proctype Reader() {
    byte token, at, to, waits, hides, s, r;
end:
    do
    :: atomic {
        token = hot; at = hot_epoch; to = head; waits = claims;
        hides = (lost_high -> (UP_TO(lost_high) & ~UP_TO(lost_low) & ~lost_there) : 0);
        if
        :: token && confirmed[2] != at && open[at] -> confirmed[2] = at
        :: token && confirmed[2] != at && !open[at] -> goto next
        :: else
        fi
       }
       atomic {
        if
        :: token && !(AT(at) && !gone[token]) -> goto next
        :: token && AT(at) && !gone[token] -> to = copy_head[token]; waits = copy_claims[token]
        :: token == 0
        fi
       }
       atomic {
        if
        :: token && confirmed[2] != at -> goto next
        :: else
        fi;
        token = 0; at = 0
       }
       atomic {
        r = VISIBLE & ~hides; s = 1;
        do
        :: s > to -> break
        :: else ->
            if
            :: r & BIT(s) -> assert(!(passed & BIT(s)) || LOST(s))         /* C3: all read the same */
            :: !(r & BIT(s)) && (waits & BIT(s)) -> break
            :: else -> assert(!(told & BIT(s))); passed = passed | BIT(s)
            fi;
            s++
        od
       }
next:  atomic { token = 0; at = 0; to = 0; waits = 0; hides = 0; s = 0; r = 0 }
    od
}

active proctype Fault() {
end:
    do
    :: false
#ifdef FLUSH
    :: atomic { !faulted -> faulted = 1; gone[1] = 1; gone[2] = 1; epoch = 2 }
#endif
#ifdef DELETE
    :: atomic { !faulted -> faulted = 1; gone[1] = 1; gone[2] = 1 }
#endif
#ifdef PARTITION
    :: atomic { !away -> away = 1 }
#endif
#ifdef RESTORE
    :: atomic { !saved && !faulted -> saved = 1; old_there = !gone[1] && !frozen[1]; old_head = copy_head[1]; old_claims = copy_claims[1] }
    :: atomic {
        saved && !faulted -> faulted = 1; epoch = 2; gone[2] = 1;
        gone[1] = !old_there; frozen[1] = 0; copy_head[1] = old_head; copy_claims[1] = old_claims
       }
#endif
    od
}
