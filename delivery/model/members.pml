/*
 * members: who is told what of a group whose members change (rules R12, R16, R17; ADR 0044).
 *
 * A group with one user who is removed at event 2, asked back at event 4, in a log of five events; the user's device is offline,
 * or its marks are read at any time. Each step below is a step in the code, of delivery/:
 *   Log       an event of the group, and its rows of the roster in the same step (store append; a change of members is an event)
 *   Worker    lane_worker.LaneWorker._fan_out: what has gathered in the lane; RosterHead.changed, read then; roster.Roster.lists,
 *             which takes a list that it knows if that is not older; roster.owed for each event, the marks
 *   Device    sync.Sync._page_all: events that are owed (store pages), and what `through` passes; the position follows; a mark that
 *             it covers goes
 *   Judge     when nothing is left that anybody would do, the device has what it is owed, nothing else, and no mark
 *
 * Left out, and why that is safe: more users (each is looked up by itself), lanes and their faults (lanes.pml: a pass that comes
 * again marks the same), positions of another kind of hole (claims.pml).
 *
 *   sound  changes                  an older list may be known from any moment before
 *   broken NO_INTERVALS   R16, V11: a user has one interval, the last one
 *   broken NO_PAST        R16: an event goes to who is a member now
 *   broken NO_FRESH       R17, V12: a list serves an event that is younger than it
 *   broken NO_THROUGH     R12: the position stays behind what is not owed
 */
#define EVENTS 5
#define LEFT 2
#define BACK 4
#define BIT(s) (1 << (s))

byte head, fanned;        /* the log; what the lane has handed to a pass */
byte mark;                /* of the device, 0: none */
byte pos, got;

#define MAX(a, b) ((a) > (b) -> (a) : (b))
/* what somebody who has read the roster at some head knows of it: the last event that has changed it */
#define CHANGED(h) ((h) >= BACK -> BACK : ((h) >= LEFT -> LEFT : 1))
#define FIRST(s) ((s) <= LEFT)
#define SECOND(s) ((s) >= BACK)

/* Who was a member at s, by the intervals of a list that was read at head h. */
#ifdef NO_INTERVALS
#define IS_OWED(s, h) ((h) >= BACK -> SECOND(s) : ((h) >= LEFT -> FIRST(s) : 1))
#else
#ifdef NO_PAST
#define IS_OWED(s, h) ((h) >= BACK || (h) < LEFT)
#else
#define IS_OWED(s, h) ((h) >= BACK -> (FIRST(s) || SECOND(s)) : ((h) >= LEFT -> FIRST(s) : 1))
#endif
#endif
#define TRULY(s) (FIRST(s) || SECOND(s))

active proctype Log() {
end:
    do
    :: atomic { head < EVENTS -> head++ }
    od
}

active proctype Worker() {
    byte list = 1, changed, from, to, s, top;
end:
    do
    :: atomic { fanned < head -> from = fanned + 1; to = head }
       changed = CHANGED(head);
       atomic {
        if
#ifdef NO_FRESH
        :: true
#else
        :: CHANGED(list) >= changed
#endif
        :: CHANGED(list) < changed -> list = head
        fi
       }
       atomic {
        s = from; top = 0;
        do
        :: s > to -> break
        :: else ->
            if
            :: IS_OWED(s, list) -> assert(TRULY(s)); top = s      /* nothing else reaches a device */
            :: else -> assert(!TRULY(s))                         /* C4 */
            fi;
            s++
        od;
        mark = MAX(mark, top); fanned = to;
        changed = 0; from = 0; to = 0; s = 0; top = 0
       }
    od
}

active proctype Device() {
    byte through, s;
end:
    do
    :: atomic { mark > pos -> through = (head >= BACK -> head : (head >= LEFT -> LEFT : head)) }
       atomic {
        s = pos + 1;
        do
        :: s > through -> break
        :: else ->
            if
            :: TRULY(s) -> got = got | BIT(s); pos = s
            :: !TRULY(s) ->
#ifndef NO_THROUGH
                pos = s
#else
                break
#endif
            fi;
            s++
        od;
        assert(pos >= through);          /* R12: it is not read again for ever */
        s = 0; through = 0
       }
    :: atomic { mark && mark <= pos -> mark = 0 }
    od
}

active proctype Judge() {
    byte s;
end:
    atomic {
        timeout ->
        assert(mark == 0);
        s = 1;
        do
        :: s > EVENTS -> break
        :: else -> assert(!TRULY(s) == !(got & BIT(s))); s++
        od
    }
}
