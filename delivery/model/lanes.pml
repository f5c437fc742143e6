/*
 * lanes: what groups are owed, on its way through a lane to the marks (rules R13 to R15; ADR 0043, 0055).
 *
 * One lane, one gateway that stores two or three rows for it, each of another group, two tasks at once. Each step below is a
 * step in the code, of delivery/:
 *   Writer    the append, then fanout.Fanout._run with lanes.ADD: entry, lease and length in one script; _queued, Progress.opened;
 *             Progress.lane_done and _move; _look_for_lost, _catch_up; the writer may be killed between any two
 *   Sweeper   sweep.Sweep._replay for a dead writer
 *   Worker    lane_worker.LaneWorker.run (TAKE), _work (HOLD and XRANGE), _pass (marks; TRIM; report), END; look_for_orphans (ORPHAN).
 *             -DDIES: a task may die between any two of these
 *   Expiry    a lease that runs out under its holder (-DDIES)
 *   Fault     the stream is lost with its node, or a report on its way (-DLOSES)
 *   Judge     when nothing is left that anybody would do, every row is marked
 *
 * A report may come before the writer knows of its entry; then it is not counted.
 * A row that is done for its writer must be marked: `assert` in `settled`. Without a switch nothing slow happens: no lease runs out,
 * nobody looks for lanes without a holder, or for rows that wait too long; the scripts alone must do.
 *
 * Left out, and why that is safe: publishes (a mark is found by the check: delivery.pml), order at the devices (`sent`, there too),
 * flush and failover (a new epoch opens all rows again, there too), _BREAK and wakes (they make a new token as ORPHAN does, only
 * sooner), one group in several rows (its marks only cover more), members of a node that is away (their rows are reported as not done),
 * entries set aside (their rows stay open, and are marked by the writer), full lanes (likewise), GIVE_BACK of a worker that leaves
 * (as a lease that runs out). A trim without one's token is harmless here: who trims has marked what he trims (the rule stays).
 *
 *   sound  scripts      -DMSGS=3
 *   sound  dies         -DMSGS=3 -DDIES              tasks die anywhere, leases run out, messages of the broker are lost
 *   sound  kills        -DDIES -DKILL -DLOSES    the writer too, and what is lost
 *   sound  loses        -DLOSES             streams and reports are lost
 *   broken NO_END       -DMSGS=3  R15, V9: "empty" and "given back" are two steps
 *   broken NO_ADD       -DMSGS=3  R15: an entry and the question who holds the lane are two steps
 *   broken NO_ORPHANS   -DMSGS=3 -DDIES  R15: nobody looks for lanes without a holder
 *   broken NO_TRIM_LAST -DMSGS=3 -DDIES  R14: trimmed before the marks
 *   broken NO_HEAD      -DMSGS=3 -DDIES  R14: a task begins behind what the last one has taken
 *   broken NO_REPORT    -DLOSES   R13, V10: a row is done when its entry is in the lane
 *   broken NO_ROW       -DLOSES   R13, V10: a report is of all rows up to the highest
 *   broken NO_LOST      -DLOSES   R13: nobody looks for rows that wait too long
 */
#ifndef MSGS
#define MSGS 2
#endif
#define BIT(n) (1 << (n))
#define UP_TO(n) ((1 << ((n) + 1)) - 2)
#define TOP(m) ((m) & 8 -> 3 : ((m) & 4 -> 2 : ((m) & 2 -> 1 : 0)))
#ifdef NO_HEAD
#define WAITS (queue & ~behind)
#else
#define WAITS queue
#endif
#define MAX(a, b) ((a) > (b) -> (a) : (b))

/* the holder of a lease: nobody, a task that is on its way, or one of the tasks */
#define NOBODY 9
#define SENT 8

byte head, done;          /* the log and its rows; the durable watermark */
byte queue, lease = NOBODY;
byte mark;                /* rows of which all members have their marks */
byte fresh, stale;        /* messages of the broker: the one whose token is the lease; others */
byte opened, added, reported;
byte behind;              /* NO_HEAD: entries that a task has taken */
bool alive = 1, failed, lost_stream, lost_report;

inline settled(n) {
    done = MAX(done, n);
    assert(!(UP_TO(done) & ~mark))      /* R13 */
}

inline move() {
    if
    :: opened & 2
    :: !(opened & 2) && (opened & 4) && added >= 1 -> settled(1)
    :: !(opened & 6) && (opened & 8) && added >= 2 -> settled(2)
    :: !(opened & 14) -> settled(added)
    fi
}

inline new_lease() {
    lease = SENT; stale = (fresh -> 1 : stale); fresh = 1
}

inline trim() {
    if
    :: lease == _pid -> queue = queue & ~UP_TO(TOP(found))
    :: else
    fi
}

active proctype Writer() {
    byte top;
    bool free;
end:
    do
    :: atomic { alive && head < MSGS -> head++ }
    :: atomic {
        alive && added < head ->
#ifdef NO_ADD
        free = (lease == NOBODY)
       }
       atomic {
#else
        free = (lease == NOBODY);
#endif
        queue = queue | BIT(added + 1);
        if
        :: free -> new_lease()
        :: else
        fi;
        free = 0
       }
end_added:
       if
       :: atomic {
        alive -> added++;
#ifndef NO_REPORT
        opened = opened | BIT(added);
#endif
        if
        :: !failed -> move()
        :: else
        fi
       }
       :: !alive
       fi
    :: atomic {
        alive && reported ->
#ifdef NO_ROW
        opened = opened & ~UP_TO(TOP(reported));
#else
        opened = opened & ~reported;
#endif
        reported = 0;
        if
        :: !failed -> move()
        :: else
        fi
       }
#if defined(LOSES) && !defined(NO_LOST)
    :: atomic { alive && !failed && !reported && (opened & ~queue) -> failed = 1 }
#endif
    :: atomic { alive && failed && head > done -> top = head }
       if
       :: atomic { alive -> mark = mark | (UP_TO(top) & ~UP_TO(done)) }
end_saved:
          if
          :: atomic { alive -> opened = opened & ~UP_TO(top); settled(top); top = 0 }
          :: atomic { !alive -> top = 0 }
          fi
       :: atomic { !alive -> top = 0 }
       fi
    :: atomic { alive && failed && head == done -> failed = 0; opened = 0 }
#ifdef KILL
    :: atomic { alive -> alive = 0; reported = 0 }
#endif
    od
}

#ifdef KILL
active proctype Sweeper() {
    byte top;
end:
    do
    :: atomic { !alive && done < head -> top = head }
       mark = mark | (UP_TO(top) & ~UP_TO(done));
       atomic { settled(top); top = 0 }
    od
}
#endif

active [2] proctype Worker() {
    byte found;
end:
    do
    :: atomic { fresh && lease == SENT -> fresh = 0; lease = _pid; goto work }
    :: atomic { stale -> stale = 0;
        if
        :: lease == NOBODY -> lease = _pid; goto work
        :: else
        fi }
    :: atomic { fresh && lease != SENT -> fresh = 0;
        if
        :: lease == NOBODY -> lease = _pid; goto work
        :: else
        fi }
#if defined(DIES) && !defined(NO_ORPHANS)
    :: atomic { WAITS && lease == NOBODY -> lease = _pid; goto work }
#endif
    od;
work:
    atomic {
        if
        :: lease != _pid -> goto end
        :: lease == _pid -> found = WAITS;
#ifdef NO_HEAD
            behind = behind | found
#endif
        fi
    }
    if
    :: atomic { found == 0 ->
#ifdef NO_END
        skip }
       atomic {
        if
        :: lease == _pid -> lease = NOBODY
        :: else
        fi; goto end }
#else
        if
        :: lease != _pid -> goto end
        :: lease == _pid && !WAITS -> lease = NOBODY; goto end
        :: lease == _pid && WAITS -> goto work
        fi }
#endif
    :: atomic { found ->
#ifdef NO_TRIM_LAST
        trim();
        if
        :: skip
#ifdef DIES
        :: found = 0; goto end
#endif
        fi }
       atomic {
#endif
        mark = mark | found }
#ifdef DIES
    :: atomic { found -> found = 0; goto end }
#endif
    fi;
    atomic {
#ifndef NO_TRIM_LAST
        trim();
#endif
        if
        :: skip
#ifdef DIES
        :: found = 0; goto end
#endif
        fi
    }
    atomic {
        if
        :: alive -> reported = reported | found
        :: !alive
        fi;
        found = 0;
        if
        :: goto work
#ifdef DIES
        :: goto end
#endif
        fi
    }
}

active proctype Fault() {
end:
    do
    :: false
#ifdef DIES
    :: atomic { lease != NOBODY -> lease = NOBODY }
    :: atomic { fresh -> fresh = 0 }
    :: atomic { stale -> stale = 0 }
#endif
#ifdef LOSES
    :: atomic { !lost_stream -> lost_stream = 1; queue = 0; lease = NOBODY }
    :: atomic { reported && !lost_report -> lost_report = 1; reported = 0 }
#endif
    od
}

active proctype Judge() {
end:
    atomic { timeout -> assert(mark == UP_TO(head));       /* C4 */
        assert(alive -> head == MSGS : 1) }
}
