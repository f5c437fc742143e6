/*
 * delivery: from a durable message to the device that is owed it, over the hot node (rules R1 to R11; ADR 0005 to 0008).
 *
 * One conversation, one gateway that writes MSGS messages, one device at another gateway, its sessions one after the other, the
 * sweep. One epoch more, two nodes at a failover. Each step below is a step in the code, of delivery/ and whatsapp/infra/:
 *   Store     an append that was sent and commits, maybe when its gateway is dead
 *   Fanout    fanout.Fanout._run: the epoch (R3) and the marks; then the look-up, the publish and outbox.Progress.done
 *   Progress  outbox.Progress._catch_up, replay (fanout.Fanout.replay), _save, which writes behind
 *   Sweeper   sweep.Sweep._replay: rows, epoch and marks; look-up, publish, outbox_done
 *   Opener    sessions.Sessions._open_all, _open_under (inbox _REGISTER), _rebuild (inbox _COMPLETE), _follow_marks, _new_term;
 *             session_check.SessionCheck._compare where it opens again
 *   Pager     sync.Sync._prepare, _page_all, _complete; live.Live.offer, catch_up, _catch; receipts.Receipts.acked, flush and
 *             inbox _CLEAN; session_check where it reads on
 *   Poll      hot.Hot._poll and _read_epoch (R1); at a failover each process changes to the new node when it does
 *   Fault     one of each kind that a switch allows, at any moment
 *   Judge     when nothing is left that anybody would do, all that was stored is at the device and acknowledged
 *
 * The writer is killed at any moment (-DKILL), or was before all this, its statement on the way (-DDEAD).
 * A publish is at its session at once, or later and in any order (-DLATE), or lost (-DLOST). A session whose socket dies
 * (-DSOCKET) has not got what was written last. The 60 s check comes at any time, or is far away (-DQUIET). Rows grow older than
 * the ten minutes of a replay before the fault (-DWINDOW): within ten minutes each process sees a new epoch.
 *
 * Left out, and why that is safe: more conversations and devices (a key each, nothing decides over two), lanes (lanes.pml), claims
 * (claims.pml), batches of several rows and nodes of a cluster (each is marked by itself, and a row is done when all answered),
 * rename (sending.pml), drained backlogs (they are the page of another process, acknowledged one by one), what is not owed
 * (members.pml). Commands of a script are one step, those of a pipeline are not.
 *
 *   sound  kill          -DKILL -DLATE -DLOST -DSOCKET    a gateway that is killed, publishes that come late or never
 *   sound  quiet         -DKILL -DLATE -DQUIET            without the 60 s check, and nothing lost
 *   sound  flush         -DFLUSH                          FLUSHALL: connections stay
 *   sound  flush_old     -DFLUSH -DMSGS=1 -DSOCKET -DWINDOW -DQUIET
 *   sound  flush_dead    -DFLUSH -DMSGS=1 -DDEAD -DSOCKET
 *   sound  restart       -DRESTART -DMSGS=1 -DLOST        from a copy of any moment before
 *   sound  restart_old   -DRESTART -DMSGS=1 -DSOCKET -DWINDOW
 *   sound  restart_dead  -DRESTART -DMSGS=1 -DDEAD
 *   sound  failover      -DFAILOVER -DMSGS=1 -DLOST       the old primary still answers
 *   sound  failover_old  -DFAILOVER -DMSGS=1 -DSOCKET -DWINDOW
 *   sound  failover_dead -DFAILOVER -DMSGS=1 -DDEAD -DLOST
 *   broken NO_FLUSHES    -DFLUSH  R1, V1: the epoch does not count flushes
 *   broken NO_BY_EPOCH   -DFAILOVER -DMSGS=1 -DLOST  R2, V4: a watermark counts under any epoch
 *   broken NO_KNOWN      -DFAILOVER -DMSGS=1 -DDEAD -DLOST  R3: progress under the epoch known behind the marks
 *   broken NO_SWEEP      -DKILL -DLATE -DQUIET  R4: nobody marks the rows of a dead writer
 *   broken NO_AGAIN      -DKILL -DLATE -DQUIET  R4, V2: the sweep is finished with a writer
 *   broken NO_REPLAY     -DFAILOVER -DMSGS=1 -DLOST  R4: a living writer does not mark again under a new epoch
 *   broken NO_MARKER     -DFLUSH -DMSGS=1 -DSOCKET -DWINDOW -DQUIET  R5, V5: the set is taken for complete
 *   broken NO_REGISTER   -DKILL -DLATE -DQUIET  R6: registered behind the read of the marks
 *   broken NO_REOPEN     -DFLUSH -DMSGS=1 -DSOCKET -DWINDOW -DQUIET  R7, V8: a new epoch opens no session again
 *   broken NO_CHECK      -DKILL -DLATE -DLOST -DSOCKET  R8: a publish that was lost is never missed
 *   broken NO_NEXT       -DKILL -DLATE -DQUIET  R9, V7: a live event goes out whatever was sent before
 *   broken NO_CLIP       -DKILL -DLATE -DQUIET  R10: an ack counts further than was sent
 *   broken NO_COMPARE    -DKILL -DLATE -DLOST -DSOCKET  R11: a mark is compared in one step and removed in another
 */
#ifndef MSGS
#define MSGS 2
#endif
#ifdef NO_CHECK
#define QUIET
#endif
#ifdef DEAD
#define KILL
#endif

#define MAX(a, b) ((a) > (b) -> (a) : (b))
#define BIT(n) (1 << ((n) - 1))
#define HAS(n) ((got & ((1 << (n)) - 1)) == ((1 << (n)) - 1))

/* processes that are connected to the hot node: the writer, the gateway of the device, the sweep */
#define W 0
#define G 1
#define S 2

/* the store */
byte head, pos;           /* the log; the acknowledged position of the device */
byte mark_of[3];          /* watermark of the writer by epoch, 0: no row */
bool aged;                /* all rows are older than the window of a replay */
/* hot nodes: the mark in the dirty set, its marker, the session record, the epoch */
byte mark[2], marker[2], record[2], epoch[2];
byte primary;
byte at[3], known[3];     /* where each is connected; the epoch it knows, 0: it is away */
/* the writer: delivery.outbox.Progress */
#ifdef DEAD
bool alive = 0, inflight = 1;
#else
bool alive = 1, inflight;
#endif
byte stored, fanned;      /* appends that it has heard of; batches that were fanned out */
bool failed, failed_again;
byte row, under = 1;      /* done up to here, earned under this epoch */
bool finished;            /* the sweep, with the writer */
/* the session: delivery.session.Session */
#define CLOSED 0
#define OPENING 1
#define SYNCING 2
#define LIVE 3
#define NONE 3            /* of sent: the conversation is not known to the session */
byte gen, phase, sent = NONE, acked, term, heard;
bool complete, paging;
byte live, poke;          /* publishes on their way to it */
byte got;                 /* by the device */
bool flush, covered;
bool faulted, copied;
#ifdef SOCKET
byte deaths = 1;
#else
byte deaths = 0;
#endif

#ifdef NO_BY_EPOCH
#define MARK_OF(e) mark_of[1]
#else
#define MARK_OF(e) mark_of[e]
#endif
/* Store.outbox: rows above this are open under an epoch (R2) */
#define ABOVE(e) (MARK_OF(e) -> MARK_OF(e) : (aged -> MAX(mark_of[1], mark_of[2]) : 0))
#define HERE at[G]
#define REACHED(p) (phase != CLOSED && record[at[p]] == gen && known[p] && known[G] && at[p] == at[G])

#ifdef LOST
#define MAYBE_LOST skip
#else
#define MAYBE_LOST false
#endif

inline die() {
    phase = CLOSED; deaths--;
    live = 0; poke = 0; sent = NONE; acked = 0; term = 0; complete = 0; heard = 0; paging = 0;
    if
    :: known[G] && record[HERE] == gen -> record[HERE] = 0
    :: skip
    fi
}

inline hear(n) {
    if
    :: phase == LIVE && sent == n - 1 && !paging ->
        if
        :: got = got | BIT(n); sent = n
        :: deaths -> die()
        fi
    :: phase == LIVE && sent != NONE && sent >= n && !paging
#ifdef NO_NEXT
    :: phase == LIVE && (sent == NONE || sent < n - 1) && !paging -> got = got | BIT(n); sent = n
    :: phase && !(phase == LIVE && !paging) -> heard = MAX(heard, n)
#else
    :: phase && !(phase == LIVE && (sent == n - 1 || (sent != NONE && sent >= n)) && !paging) -> heard = MAX(heard, n)
#endif
    fi
}

inline publish_event(p, n) {
    if
    :: REACHED(p) ->
#ifdef LATE
        live = live | BIT(n)
#else
        hear(n)
#endif
    :: !REACHED(p)
    :: MAYBE_LOST
    fi
}

inline publish_poke(p, n) {
    if
    :: REACHED(p) ->
#ifdef LATE
        poke = MAX(poke, n)
#else
        heard = MAX(heard, n)
#endif
    :: !REACHED(p)
    :: MAYBE_LOST
    fi
}

inline clean() {
    if
    :: known[G] && mark[HERE] <= pos -> mark[HERE] = 0
    :: else
    fi
}

inline fail() {
    failed = 1; failed_again = 1
}

#ifdef KILL
active proctype Store() {
end:
    do
    :: atomic {
        inflight -> head++; inflight = 0;
        if
        :: alive -> stored++
        :: else
        fi
       }
    :: atomic { inflight && !alive -> inflight = 0 }
    od
}
#endif

#ifndef DEAD
active proctype Fanout() {
    byte e, n;
end:
    do
#ifdef KILL
    :: atomic { alive && !inflight && stored < MSGS -> inflight = 1 }
#else
    :: atomic { stored < MSGS -> head++; stored++ }
#endif
    :: atomic {
        alive && fanned < stored -> n = fanned + 1; e = known[W];
        if
        :: e == 0 -> fail(); fanned = n; n = 0
        :: else -> mark[at[W]] = MAX(mark[at[W]], n)
        fi
       }
end_marked:
       if
       :: n == 0
       :: atomic {
            n && alive && known[W] -> publish_event(W, n); fanned = n;
#ifdef NO_KNOWN
            e = under;
#endif
            if
            :: e == under && !failed -> row = n
            :: e == under && failed
            :: else -> fail()
            fi;
            n = 0; e = 0
          }
       :: atomic { n && alive && !known[W] -> fail(); fanned = n; n = 0; e = 0 }
       fi
    od
}

active proctype Progress() {
    byte top, e;
end:
    do
#ifdef NO_REPLAY
    :: atomic { alive && known[W] && under != known[W] -> under = known[W] }
    :: atomic { alive && known[W] && failed ->
#else
    :: atomic {
        alive && known[W] && (failed || under != known[W]) ->
#endif
        failed_again = 0; e = known[W];
        if
        :: under != e -> under = e; row = 0; failed = 1
        :: else
        fi
       }
end_rows:
       do
       :: atomic { alive && ABOVE(e) < head -> top = head }
end_replay:
          if
          :: atomic { alive && known[W] -> mark[at[W]] = MAX(mark[at[W]], top) }
end_replayed:
             if
             :: atomic {
                 alive && known[W] -> publish_poke(W, top); row = top;
#ifdef NO_KNOWN
                 e = known[W];
#endif
                 MARK_OF(e) = MAX(MARK_OF(e), top); top = 0
                }
             :: atomic { alive && !known[W] -> top = 0; break }
             fi
          :: atomic { alive && !known[W] -> top = 0; break }
          fi
       :: atomic {
            alive && ABOVE(e) >= head ->
            if
            :: !failed_again && known[W] == e -> failed = 0
            :: else
            fi;
            break
          }
       od;
       e = 0
    :: atomic { alive && row > MARK_OF(under) -> MARK_OF(under) = row }
    od
}
#endif

#if defined(KILL) && !defined(NO_SWEEP)
active proctype Sweeper() {
    byte e, top;
end:
    do
    :: atomic {
        !alive && known[S] && ABOVE(known[S]) < head && !finished -> e = known[S]; top = head
       }
       if
       :: atomic { known[S] -> mark[at[S]] = MAX(mark[at[S]], top) }
          if
          :: atomic {
              known[S] -> publish_poke(S, top);
#ifdef NO_KNOWN
              e = known[S];
#endif
#ifdef NO_AGAIN
              finished = 1;
#endif
              MARK_OF(e) = MAX(MARK_OF(e), top); top = 0; e = 0
             }
          :: atomic { !known[S] -> top = 0; e = 0 }
          fi
       :: atomic { !known[S] -> top = 0; e = 0 }
       fi
    od
}
#endif

active proctype Opener() {
    byte e, found, behind, g;
    bool done;
end:
    do
    :: atomic { phase == CLOSED -> gen++; phase = OPENING; g = gen; goto open }
#ifndef NO_REOPEN
    :: atomic { phase >= SYNCING && known[G] && term != known[G] -> g = gen; goto open }
#endif
#ifndef QUIET
    :: atomic {
        phase == LIVE && known[G] && (record[HERE] != gen || marker[HERE] != known[G]) -> g = gen; goto open
       }
#endif
    od;
open:
    if
    :: atomic { gen != g || phase == CLOSED -> goto over }
    :: atomic { gen == g && phase && known[G] == 0 -> complete = 0; term = 0; e = 0; goto opened }
    :: atomic {
        gen == g && phase && known[G] -> e = known[G]; found = marker[HERE];
#ifndef NO_REGISTER
        record[HERE] = gen
#endif
       }
    fi;
#ifdef NO_MARKER
    found = e;
#endif
    if
    :: atomic { gen != g || phase == CLOSED -> goto over }
    :: atomic { gen == g && phase && found == e -> done = 1 }
    :: atomic { gen == g && phase && found != e -> behind = (head > pos -> head : 0); done = 0 }
    fi;
    if
    :: done
    :: atomic { !done && known[G] -> mark[HERE] = MAX(mark[HERE], behind); marker[HERE] = e; done = 1 }
    :: atomic { !done && !known[G] -> found = 0; behind = 0; goto open }
    fi;
    atomic {
        if
        :: gen != g || phase == CLOSED -> goto over
        :: gen == g && phase && known[G] != e -> found = 0; behind = 0; done = 0; goto open   /* the term has ended */
        :: gen == g && phase && known[G] == e -> term = e; complete = 1
        fi
    }
opened:
    atomic {
        if
        :: gen == g && phase == OPENING -> phase = SYNCING
        :: gen == g && phase > OPENING && known[G] && mark[HERE] && (sent == NONE || mark[HERE] > sent) ->
            heard = MAX(heard, mark[HERE])
        :: else
        fi
    }
over:
    atomic { e = 0; found = 0; behind = 0; g = 0; done = 0 }
    goto end
}

#ifdef NO_REGISTER
#define GO_LIVE phase = LIVE; record[HERE] = gen
#else
#define GO_LIVE phase = LIVE
#endif

active proctype Pager() {
    byte dirty, through;
end:
    do
    :: atomic { /* prepare */
        phase == SYNCING && sent == NONE && !paging -> paging = 1;
        if
        :: complete && known[G] -> dirty = mark[HERE]
        :: else -> dirty = (head > pos -> head : 0)
        fi
       }
       atomic {
        if
        :: !paging
        :: paging && dirty && head <= pos ->
            sent = pos; acked = pos;
            if
            :: known[G] && mark[HERE] <= dirty -> mark[HERE] = 0
            :: else
            fi
        :: paging && dirty && head > pos -> sent = pos; acked = pos; heard = MAX(heard, head)
        :: paging && !dirty && heard -> sent = pos; acked = pos
        :: paging && !dirty && !heard -> GO_LIVE
        fi;
        dirty = 0; paging = 0
       }
    :: atomic { /* page */
        phase >= SYNCING && !paging && heard && (sent == NONE || heard > sent) && (phase == LIVE || sent != NONE) ->
        if
        :: sent == NONE -> sent = pos; acked = pos
        :: else
        fi;
        paging = 1; through = head
       }
       atomic {
        if
        :: !paging
        :: paging -> got = got | (((1 << through) - 1) & ~((1 << sent) - 1)); sent = MAX(sent, through); paging = 0
        :: paging && deaths -> die()
        fi;
        through = 0
       }
    :: atomic { phase == SYNCING && sent != NONE && !paging && heard <= sent -> GO_LIVE }
#ifdef LATE
    :: atomic { live & 1 && phase -> live = live & ~1; hear(1) }
    :: atomic { live & 2 && phase -> live = live & ~2; hear(2) }
    :: atomic { poke && phase -> heard = MAX(heard, poke); poke = 0 }
#endif
    :: atomic { /* ack, and the write behind */
        phase >= SYNCING && sent != NONE && acked < sent ->
#ifdef NO_CLIP
        acked = MSGS;
#else
        acked = sent;
#endif
        assert(HAS(acked));              /* C5: nothing is acknowledged that is not there */
        pos = MAX(pos, acked);
#ifdef LATE
        flush = 1
#else
        clean()
#endif
       }
#ifdef LATE
#ifdef NO_COMPARE
    :: atomic { flush -> flush = 0; covered = (known[G] && mark[HERE] <= pos) }
    :: atomic { covered -> covered = 0; mark[HERE] = 0 }
#else
    :: atomic { flush -> flush = 0; clean() }
#endif
#endif
#ifndef QUIET
    :: atomic { /* the check */
        phase == LIVE && !paging && known[G] && record[HERE] == gen && marker[HERE] == known[G] && mark[HERE] &&
        (mark[HERE] <= acked || ((sent == NONE || mark[HERE] > sent) && heard < mark[HERE])) ->
        if
        :: mark[HERE] <= acked -> mark[HERE] = 0
        :: else -> heard = MAX(heard, mark[HERE])
        fi
       }
#endif
    od
}

active proctype Poll() {
end:
    do
#ifndef DEAD
    :: atomic { known[W] != epoch[at[W]] -> known[W] = epoch[at[W]] }
#endif
    :: atomic { known[G] != epoch[at[G]] -> known[G] = epoch[at[G]] }
#ifdef KILL
    :: atomic { known[S] != epoch[at[S]] -> known[S] = epoch[at[S]] }
#endif
#ifdef FAILOVER
#ifndef DEAD
    :: atomic { primary && !at[W] -> at[W] = 1; known[W] = 0 }
#endif
    :: atomic { primary && !at[G] -> at[G] = 1; known[G] = 0; live = 0; poke = 0 }
#ifdef KILL
    :: atomic { primary && !at[S] -> at[S] = 1; known[S] = 0 }
#endif
#endif
    od
}

inline copy() {
    mark[1] = mark[0]; marker[1] = marker[0]; record[1] = record[0]
}

active proctype Fault() {
    epoch[0] = 1;
end:
    do
    :: false
#ifdef KILL
    :: atomic { alive -> alive = 0 }
#endif
#ifdef FLUSH
    :: atomic {
        !faulted -> faulted = 1; mark[0] = 0; marker[0] = 0; record[0] = 0;
#ifndef NO_FLUSHES
        epoch[0] = 2
#endif
       }
#endif
#ifdef RESTART
    :: atomic { !copied && !faulted -> copied = 1; copy() }
    :: atomic {
        !faulted -> faulted = 1; copied = 1; primary = 1; epoch[1] = 2;
        at[W] = 1; at[G] = 1; at[S] = 1; known[W] = 0; known[G] = 0; known[S] = 0; live = 0; poke = 0
       }
#endif
#ifdef FAILOVER
    :: atomic {
        !faulted -> faulted = 1; primary = 1; epoch[1] = 2;
        if
        :: copy()
        :: skip     /* the replica has nothing yet */
        fi
       }
#endif
#ifdef WINDOW
    :: atomic { !aged && !faulted && head == MSGS -> aged = 1 }
#endif
    od
}

active proctype Judge() {
end:
    atomic {
        timeout ->
        assert(phase == LIVE);
        assert(alive -> head == MSGS : 1);
        assert(HAS(head));               /* C4 */
        assert(pos == head)
    }
}
