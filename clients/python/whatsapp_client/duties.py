"""What a device owes the server besides messages: `sync`, `ack`, `read`, presence, typing.

Pure logic, like the outbox: :meth:`Duties.due` says which frames to send at ``now`` (monotonic seconds), in
an order that is always right: `sync` first, an `ack` before the `read` that needs it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from .codecs import Frame
from .history import History

HAVE_LIMIT = 500  # conversations in one `sync`, `ack` or `presence_subscribe`
SYNC_TIMEOUT = 30.0  # a sync in which nothing comes for so long is asked for again
HOLE_AGAIN = 5.0
MAX_OPEN = 10  # chats that a server lets one device have open
OPEN_PAUSE = 1.5  # between two words about open chats: a server counts them, together with `presence`
#: A `read` so shortly before the end of a connection is sent again: the server writes it behind.
UNSURE_READ = 10.0


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. ``ack_delay``: live messages within it share an `ack`. ``hole_grace``: how long a hole may
    close by itself. ``ping_every``, ``ping_timeout``: a connection on which nothing happens is tried so often, and is
    dead without an answer in so long."""

    ack_delay: float = 0.05
    hole_grace: float = 0.2
    presence_ttl: float = 300.0
    ping_every: float = 20.0
    ping_timeout: float = 20.0


class Duties:
    """Frames to send, other than messages. Nothing is due while no connection is ready.

    ``told`` is called with a conversation and the read position that the server is about to be told.
    """

    def __init__(
        self,
        history: History,
        timing: Timing | None = None,
        *,
        since: int = 0,
        told: Callable[[str, int], None] | None = None,
    ) -> None:
        self._history = history
        self.timing = timing or Timing()
        self._connected = False
        self._passing: deque[Frame] = deque(maxlen=64)  # typing and presence: worth nothing later
        self._sync_at: float | None = None
        self._acks: dict[str, float] = {}  # conversation -> due
        self._acked: dict[str, int] = {}
        self._read: dict[str, int] = {}
        self._read_sent: dict[str, tuple[int, float]] = {}
        self._holes: dict[str, float] = {}  # conversation -> when to ask
        self._watched: dict[str, float] = {}  # user -> when to subscribe (again)
        self._open: dict[str, float] = {}  # chat -> when to say (again) that it is open; the latest last
        self._closed: set[str] = set()  # to be told
        self._open_told = 0.0
        self._status: str | None = None
        self._syncs = 0
        self._since = since
        #: Receipts that changed before it are here for certain (ms): those of the last sync may still be on their way.
        self.settled = since
        self._told = told
        self.syncing = False

    # -- a connection's life -------------------------------------------------------------------------------
    def connected(self, now: float) -> None:
        """A socket is ready: sync, and tell it again what it must know."""
        self._connected = True
        self._sync_at = now
        self._watched = dict.fromkeys(self._watched, now)
        self._open = dict.fromkeys(self._open, now)
        self._closed.clear()
        self._open_told = 0.0
        if self._status is not None:
            self._passing.append({"type": "presence", "status": self._status})

    def disconnected(self, now: float) -> None:
        self._connected = self.syncing = False
        self._sync_at = None
        self._passing.clear()
        self._acks.clear()  # the positions of the next sync count as acks
        self._acked.clear()
        self._holes.clear()
        for conversation_id, (_, at) in list(self._read_sent.items()):
            if now - at < UNSURE_READ:
                del self._read_sent[conversation_id]

    # -- what has happened ---------------------------------------------------------------------------------
    def page_stored(self, conversation_id: str, now: float) -> None:
        """A batch is stored; its `ack` brings the next one, even if its position was acknowledged before."""
        self._acked.pop(conversation_id, None)
        self._acks[conversation_id] = now
        self._sync_at = now + SYNC_TIMEOUT if self.syncing else None

    def live_stored(self, conversation_id: str, now: float) -> None:
        """A live entry came, or one of ours got its number: acknowledge it soon, or ask for what lies
        below."""
        self._acks.setdefault(conversation_id, now + self.timing.ack_delay)
        if self._history[conversation_id].hole:
            self._holes.setdefault(conversation_id, now + self.timing.hole_grace)
        else:
            self._holes.pop(conversation_id, None)

    def synced(self, server_time: int = 0) -> None:
        """`sync_complete`; receipts that changed after ``server_time`` (ms) are what the next sync is to bring."""
        self.syncing = False
        self.settled = self._since
        self._since = max(self._since, server_time)
        self._sync_at = None

    def sync_again(self, at: float) -> None:
        """The sync was refused, or positions have changed."""
        self._sync_at = at

    # -- wishes of the application -------------------------------------------------------------------------
    def read(self, conversation_id: str, up_to: int) -> None:
        self._read[conversation_id] = max(up_to, self._read.get(conversation_id, 0))

    def watch(self, user_ids: Iterable[str], now: float) -> None:
        """Subscribe to the presence of these users, and stay subscribed."""
        for user_id in user_ids:
            self._watched[user_id] = now

    def open(self, conversation_id: str, now: float) -> None:
        """This chat is open, until :meth:`close`; the one that was opened first is closed when they are too many."""
        if self._open.pop(conversation_id, None) is None and len(self._open) >= MAX_OPEN:
            self.close(next(iter(self._open)))
        self._open[conversation_id] = now
        self._closed.discard(conversation_id)

    def close(self, conversation_id: str, *, tell: bool = True) -> None:
        if self._open.pop(conversation_id, None) is not None and tell and self._connected:
            self._closed.add(conversation_id)

    def status(self, status: str) -> None:
        """Own presence; told again on each connection."""
        self._status = status
        if self._connected:
            self._passing.append({"type": "presence", "status": status})

    def typing(self, conversation_id: str, active: bool, kind: str) -> None:
        if self._connected:
            self._passing.append(
                {"type": "typing", "conversationId": conversation_id, "active": active, "kind": kind}
            )

    # -- what to send --------------------------------------------------------------------------------------
    def due(self, now: float) -> list[Frame]:
        if not self._connected:
            return []
        return [
            *self._due_syncs(now),
            *self._due_acks(now),
            *self._due_reads(now),
            *self._due_watches(now),
            *self._due_open(now),
            *self._take_passing(),
        ]

    def parting(self, now: float) -> list[Frame]:
        """What is still to be said before the socket is closed in order."""
        if not self._connected:
            return []
        for conversation_id in self._acks:
            self._acks[conversation_id] = now
        return [*self._due_acks(now), *self._due_reads(now), *self._take_passing()]

    def next_due(self, now: float) -> float | None:
        """Seconds until something is due by time alone."""
        if not self._connected:
            return None
        times = [*self._acks.values(), *self._holes.values(), *self._watched.values()]
        if self._sync_at is not None:
            times.append(self._sync_at)
        if self._open or self._closed:
            soonest = 0.0 if self._closed else min(self._open.values())
            times.append(max(soonest, self._open_told + OPEN_PAUSE if self._open_told else soonest))
        return max(0.0, min(times) - now) if times else None

    def _due_syncs(self, now: float) -> list[Frame]:
        holes = [c for c, at in self._holes.items() if at <= now]
        for conversation_id in holes:
            if self._history[conversation_id].hole:
                self._holes[conversation_id] = now + HOLE_AGAIN
            else:
                del self._holes[conversation_id]
        whole = self._sync_at is not None and self._sync_at <= now
        if whole:
            have = self._history.have()
        elif not self.syncing:  # a running sync may close the hole; it is asked for afterwards if not
            have = {c: p for c in holes if c in self._holes and (p := self._history[c].position) is not None}
            if not have:
                return []
        else:
            return []
        self.syncing = True
        self._sync_at = now + SYNC_TIMEOUT
        self._syncs += 1
        base: Frame = {"type": "sync", "ref": f"sync-{self._syncs}"}
        if self._since:
            base["since"] = self._since
        if not have:
            return [base]
        frames: list[Frame] = [{**base, "have": part, "more": True} for part in _chunks(have)]
        del frames[-1]["more"]
        return frames

    def _due_acks(self, now: float) -> list[Frame]:
        # One that is due takes the others along.
        if not any(at <= now for at in self._acks.values()):
            return []
        positions = {}
        for conversation_id in self._acks:
            position = self._history[conversation_id].position
            if position is not None and position > self._acked.get(conversation_id, -1):
                positions[conversation_id] = self._acked[conversation_id] = position
        self._acks.clear()
        return [{"type": "ack", "positions": part} for part in _chunks(positions)]

    def _due_reads(self, now: float) -> list[Frame]:
        frames: list[Frame] = []
        for conversation_id, wanted in self._read.items():
            if wanted <= self._read_sent.get(conversation_id, (0, 0.0))[0]:
                continue
            if wanted > self._acked.get(conversation_id, 0):
                position = self._history[conversation_id].position
                if self.syncing or (position is not None and position < wanted):
                    continue  # not stored yet, or its `ack` is still to come
                if position is not None:  # None: seen over REST, acknowledged by an earlier run
                    frames.append({"type": "ack", "positions": {conversation_id: position}})
                    self._acked[conversation_id] = position
                    self._acks.pop(conversation_id, None)
            self._read_sent[conversation_id] = (wanted, now)
            if self._told is not None:
                self._told(conversation_id, wanted)
            frames.append(
                {
                    "type": "status_update",
                    "ref": "read",
                    "conversationId": conversation_id,
                    "status": "read",
                    "upTo": wanted,
                }
            )
        return frames

    def _due_watches(self, now: float) -> list[Frame]:
        users = [user for user, at in self._watched.items() if at <= now]
        ttl = self.timing.presence_ttl
        for user in users:
            self._watched[user] = now + ttl / 2
        parts = [users[i : i + HAVE_LIMIT] for i in range(0, len(users), HAVE_LIMIT)]
        return [{"type": "presence_subscribe", "userIds": part, "ttl": int(ttl)} for part in parts]

    def _due_open(self, now: float) -> list[Frame]:
        opened = [chat for chat, at in self._open.items() if at <= now]
        if (not opened and not self._closed) or (self._open_told and now < self._open_told + OPEN_PAUSE):
            return []
        ttl, closed = self.timing.presence_ttl, sorted(self._closed)
        self._closed.clear()
        self._open_told = now
        for chat in opened:
            self._open[chat] = now + ttl / 2
        frame: Frame = {"type": "presence_subscribe", "userIds": [], "ttl": int(ttl)}
        return [
            frame
            | ({"conversationIds": opened} if opened else {})
            | ({"closedConversationIds": closed} if closed else {})
        ]

    def _take_passing(self) -> list[Frame]:
        frames = list(self._passing)
        self._passing.clear()
        return frames


def _chunks(mapping: dict[str, int]) -> list[dict[str, int]]:
    items = list(mapping.items())
    return [dict(items[i : i + HAVE_LIMIT]) for i in range(0, len(items), HAVE_LIMIT)]
