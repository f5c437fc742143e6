"""One device's live connection as the engine sees it, and the sessions of this process.

A session keeps, per conversation, ``sent`` (everything owed up to there was written to this socket) and ``acked`` (the
device's acknowledged position). A live event goes out only as ``sent + 1``; an older one is dropped, a newer one causes a
page (R9). Nothing but a sync is sent before the client asked for it.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

import msgspec

from delivery.envelopes import Blob, envelope_of, unpack
from delivery.ids import is_direct
from delivery.ports import OPEN
from delivery.store.values import Logged
from delivery.view import has_content, item_frame
from whatsapp.infra import faults
from whatsapp.infra.limits import LIMITS, Rate
from whatsapp.wire import frames
from whatsapp.wire.codec import Codec


class Outlet(Protocol):
    """The write side of a socket. ``write`` never blocks and never raises; ``paused`` says that the buffer is full."""

    @property
    def paused(self) -> bool: ...

    def write(self, data: bytes) -> None: ...

    def join(self, frames: Sequence[bytes]) -> object:
        """Several messages made ready to be written in one go, to any outlet of the same type and codec."""

    def write_joined(self, joined: Any) -> None: ...

    def close(self, code: int, reason: str = "") -> None: ...


class State(enum.IntEnum):
    OPENING = 0  # authenticated, not yet registered
    READY = 1  # ``ready`` was sent, no sync asked for yet
    SYNCING = 2
    LIVE = 3
    CLOSED = 4


class Event:
    """One event on its way to local sessions: encoded once per codec, whoever gets it."""

    __slots__ = ("_frames", "_plain", "group", "logged", "withheld")

    def __init__(self, logged: Logged, group: bool = False, withheld: bool = False) -> None:
        self.logged = logged
        self.group = group  # it goes by a lane
        self.withheld = withheld  # it is for its sender's devices alone
        self._frames: dict[Codec, bytes] = {}
        self._plain: Event | None = None

    @property
    def plain(self) -> Event:
        """As to whom it is no request: its sender's own devices must not learn that it is one to somebody else."""
        if self._plain is None:
            logged = msgspec.structs.replace(self.logged, request=False)
            self._plain = type(self)(logged, self.group, self.withheld)
        return self._plain

    @property
    def written(self) -> bool:
        """Whether a session took it."""
        return bool(self._frames)

    def frame(self, session: Session) -> bytes:
        """What this session is written."""
        frame = self._frames.get(session.codec)
        return frame if frame is not None else self.shared(session.codec)

    def shared(self, codec: Codec) -> bytes:
        """What is the same for all who speak this codec."""
        frame = self._frames.get(codec)
        if frame is None:
            frame = self._frames[codec] = codec.encode(item_frame(self.logged))
        return frame


class SealedEvent(Event):
    """A message with envelopes: each device's own is written behind what all have in common."""

    __slots__ = ("_envelopes",)

    def __init__(self, logged: Logged, group: bool = False, withheld: bool = False) -> None:
        super().__init__(logged, group, withheld)
        self._envelopes: Blob | None = None

    def frame(self, session: Session) -> bytes:
        shared = self.shared(session.codec)
        if self._envelopes is None:
            self._envelopes = self._opened()
        envelope = envelope_of(self._envelopes, session.user, session.device)
        return shared if envelope is None else session.codec.with_envelope(shared, envelope)

    def _opened(self) -> Blob:
        blob = self.logged.envelopes
        return unpack(blob) if blob is not None and has_content(item_frame(self.logged)) else {}


def event_of(logged: Logged, group: bool = False, withheld: bool = False) -> Event:
    """The event of a row of the log."""
    return (Event if logged.envelopes is None else SealedEvent)(logged, group, withheld)


class Catching:
    """A conversation of a live session that is read from the log: what was heard of meanwhile."""

    __slots__ = ("heard", "held")

    def __init__(self, heard: int) -> None:
        self.heard = heard  # highest seq
        self.held: dict[int, Event] = {}


class Session:
    """State of one authenticated socket. Only the loop of its process touches it."""

    __slots__ = (
        "acked",
        "away",
        "behind",
        "bye",
        "catching",
        "codec",
        "complete",
        "device",
        "early",
        "epoch",
        "first_own",
        "generation",
        "issued_at",
        "limit_class",
        "limits",
        "linked_at",
        "newer",
        "open_chats",
        "opened_at",
        "outlet",
        "own",
        "pending",
        "reads",
        "receipts",
        "sending",
        "sent",
        "silent",
        "state",
        "sync",
        "term",
        "typing",
        "user",
        "watching",
    )

    def __init__(self, user: str, device: str, codec: Codec, outlet: Outlet, issued_at: int) -> None:
        self.user = user
        self.device = device
        self.codec = codec
        self.outlet = outlet
        self.state = State.OPENING
        self.generation = 0  # the number of its record, ``opened_at``; 0: it has none yet
        self.newer = 0  # generation of a newer session of the device, heard of before one's own was known
        self.term = 0  # hot term under which it is registered, 0: not
        self.epoch = ""
        self.complete = False  # the dirty set is complete under ``epoch``
        self.pending = 0
        self.linked_at = 0
        self.sent: dict[str, int] = {}
        self.acked: dict[str, int] = {}
        self.own: dict[
            str, set[int]
        ] = {}  # seqs this device sent above ``sent``: their ✓ stands for the event
        self.first_own: dict[str, int] = {}  # the first seq of its own that this session was told
        #: Acks above ``sent``: the seq, and what ``sent`` was (-1: not known). A ✓ tells a device of its message sooner than its
        #: own gateway learns that everything before it was sent.
        self.early: dict[str, tuple[int, int]] = {}
        self.catching: dict[str, Catching] = {}  # conversations that are being paged
        # Sets as dicts: an empty set is 216 bytes, an empty dict 64, and most sessions have nothing in them.
        self.behind: dict[str, None] = {}  # conversations to page once the outlet takes more
        self.sync: Any = None  # delivery.sync.Run
        self.watching: dict[str, None] = {}  # users whose presence it follows
        self.open_chats: dict[str, None] = {}  # conversations that are on its screen
        self.typing: dict[str, Rate] = {}  # what it may say of itself, by conversation
        self.issued_at = issued_at  # ms, of its access token
        self.limits = LIMITS  # everybody's, or a copy with what its account has of its own
        self.limit_class = ""
        #: Direct conversations with a block in force, of which no receipts are told. None: not known, so they wait.
        self.silent: frozenset[str] | None = None
        self.reads = OPEN  # once that is known
        self.away = False
        self.bye = False  # it ended because its client wanted it
        #: ms; behind that of a record that it displaces, whatever the clocks say
        self.opened_at = 0
        self.receipts: dict[tuple[str, str, str], frames.StatusUpdate] = {}  # for the end of the sync
        self.sending = 0  # sends that wait for their append

    def hears(self, conversation: str, user: str, status: str) -> bool:
        """Whether it is told this receipt of somebody else. Nothing while it is not known."""
        if self.silent is None or (conversation in self.silent and not faults.off("silent")):
            return False
        if status != "read" or self.reads.everybody or faults.off("reads"):
            return True
        return self.reads.include(user) or not is_direct(conversation)

    def send(self, frame: Any) -> None:
        """Encode one server frame for this client and write it."""
        data = self.codec.encode(frame)
        if data:
            self.outlet.write(data)


class Hub:
    """The sessions of this process by user and device."""

    def __init__(self) -> None:
        self.by_user: dict[str, dict[str, Session]] = {}
        #: By user the last session that is closed and whose record still stands, as far as anybody knows.
        self.leaving: dict[str, Session] = {}
        self.count = 0

    def add(self, session: Session) -> Session | None:
        """Register; returns the session of the same device that it takes the place of."""
        devices = self.by_user.setdefault(session.user, {})
        old = devices.get(session.device)
        devices[session.device] = session
        if old is None:
            self.count += 1
        return old

    def remove(self, session: Session) -> bool:
        """False if another session has taken its place already."""
        devices = self.by_user.get(session.user)
        if devices is None or devices.get(session.device) is not session:
            return False
        del devices[session.device]
        if not devices:
            del self.by_user[session.user]
        self.count -= 1
        return True

    def complete(self, user: str) -> bool:
        """Whether a user has sessions here and none has just been closed."""
        return user in self.by_user and user not in self.leaving

    def of(self, user: str) -> Iterable[Session]:
        devices = self.by_user.get(user)
        return list(devices.values()) if devices else ()

    def get(self, user: str, device: str) -> Session | None:
        return self.by_user.get(user, {}).get(device)

    def all(self) -> list[Session]:
        return [session for devices in self.by_user.values() for session in devices.values()]
