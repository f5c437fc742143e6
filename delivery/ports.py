"""What the engine must ask of the layers above it, bound once in the composition root (``chats/gateway.py``).

The engine never imports upward.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

#: ``identify([(user, device, issued_at)]) -> ["ok" | "unlinked" | "banned" | "revoked"]``, one query for the whole list.
#: ``issued_at`` (ms) is that of the session's access token. Raises ``Unavailable``.
Identify = Callable[[Sequence[tuple[str, str, int]]], Awaitable[list[str]]]


class Shown(NamedTuple):
    """What a viewer may be told of a user."""

    typing: bool  # in their direct conversation
    online: bool
    last_seen: bool


#: A viewer who is nobody in particular, and nobody's contact.
ANYBODY: Final = "00000000-0000-0000-0000-000000000000"
ALL: Final = Shown(True, True, True)
NOTHING: Final = Shown(False, False, False)

#: ``shows([(user, viewer)])``: asked when somebody begins to follow, when what the user shows has changed, and for each moment of
#: typing. The place of blocks and privacy. Never raises: who cannot say answers :data:`NOTHING`.
Shows = Callable[[Sequence[tuple[str, str]]], Awaitable[list[Shown]]]


#: ``envelope_devices(users)``: for each user the devices that take envelopes, linked and with keys on file, with the registration
#: id of their keys. From the primary, never from a replica. Raises ``Unavailable``.
EnvelopeDevices = Callable[[Sequence[str]], Awaitable[Mapping[str, Mapping[str, int]]]]


class Reads(NamedTuple):
    """To whom a user shows in direct conversations what the user has read, and so whose readings the user is shown."""

    everybody: bool
    users: frozenset[str] = frozenset()  # if not everybody, these

    def include(self, user: str) -> bool:
        return self.everybody or user in self.users


OPEN: Final = Reads(True)

#: ``reads_of(users)``: asked at the end of a session's first sync, when that has changed, and by the check of all sessions. What
#: is passed on is compared with the answers of both, the reader's and the other's. Raises ``Unavailable``.
ReadsOf = Callable[[Sequence[str]], Awaitable[list[Reads]]]
#: ``reads_shown([(one, other)])``: whether both show it to each other. Asked for stored receipts. Raises ``Unavailable``.
ReadsShown = Callable[[Sequence[tuple[str, str]]], Awaitable[list[bool]]]


async def open_reads(users: Sequence[str]) -> list[Reads]:
    return [OPEN] * len(users)


class Attached(NamedTuple):
    """A message that carries a file, by their ids."""

    conversation: str
    sender: str
    message_id: str
    media: str


#: ``attach(messages)``: notes that those who are owed these messages are sent their files; for each "" or the code of a refusal
#: (``not_found``, ``gone``, ``unsupported_media``). May be asked again for the same message. Raises ``Unavailable``.
Attach = Callable[[Sequence[Attached]], Awaitable[list[str]]]


#: ``detach([(conversation, message_id)])``: these messages were deleted for everyone and carry nothing any more. Raises
#: ``Unavailable``; then what they carried stays as long as messages do.
Detach = Callable[[Sequence[tuple[str, str]]], Awaitable[None]]


class Absent(Protocol):
    """Hears of devices that may have to be told by a push notification, since no session of theirs could be. Called on the
    message path: nothing waits, nothing raises, and what is said twice costs nothing. It says that somebody is to look; what the
    device is told follows from durable state at that time."""

    def devices(self, devices: Sequence[tuple[str, str]], wait_ms: int = 0) -> None:
        """These (user, device) have no session, or one that has not acknowledged for long, and something was marked for them;
        ``wait_ms``: so long it may gather."""

    def users(self, users: Sequence[str], wait_ms: int = 0) -> None:
        """What the absent devices of these users show may be out of date: the user has read something on another."""

    def unheard(self, users: Sequence[str]) -> None:
        """These are said to have sessions at a process that does not listen, or does not have them (any more): it is dead, they
        were closed a moment ago, or they will acknowledge in a moment."""

    def forget(self, user: str) -> None:
        """The user's devices have changed."""

    async def drained(self) -> None:
        """Until what was said is written, or cannot be: for who is about to end."""


async def nothing_to_detach(messages: Sequence[tuple[str, str]]) -> None:
    """No file is known here."""


async def nothing_to_attach(messages: Sequence[Attached]) -> list[str]:
    """No file is known here."""
    return ["not_found"] * len(messages)


async def shown_reads(pairs: Sequence[tuple[str, str]]) -> list[bool]:
    return [True] * len(pairs)


async def everybody(pairs: Sequence[tuple[str, str]]) -> list[Shown]:
    """Nobody hides anything."""
    return [ALL] * len(pairs)


async def keyless(users: Sequence[str]) -> dict[str, dict[str, int]]:
    """No device has keys."""
    return {user: {} for user in users}
