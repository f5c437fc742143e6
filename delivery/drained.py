"""Which drained backlogs hold something of a conversation: what is emptied in the log must not stay in copies of it.

``{conversation}:drained`` is a sorted set, stream → when it has certainly ended (ms). A drain task says what it will write about
before it reads, and adds to streams that exist and to no others. Whoever amends a conversation takes its streams away
after the commit: so either the task reads what is left, or its stream is gone before or after it adds. No gateway that holds
the session is needed for that. A process that dies in between leaves its outbox row open, and whoever marks it again does
this too. What ends by itself (``Logged.until``) needs nobody: the stream ends with the first of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from delivery.session import Event
from delivery.store.values import Logged
from whatsapp.infra import faults
from whatsapp.infra.hot import Hot
from whatsapp.infra.valkey import Command, HotUnavailable

TTL_S = 600
#: How long a stream is remembered: a task may write for a minute, and clocks differ.
_REMEMBERED_MS = 2 * TTL_S * 1000


def index_key(conversation: str) -> str:
    return f"{{{conversation}}}:drained"


def announce(stream: str, conversations: Iterable[str], now: int) -> list[Command]:
    """What a task runs before it reads."""
    commands: list[Command] = []
    for conversation in conversations:
        key = index_key(conversation)
        commands += [
            ("ZREMRANGEBYSCORE", key, "-inf", now),
            ("ZADD", key, now + _REMEMBERED_MS, stream),
            ("PEXPIRE", key, _REMEMBERED_MS),
        ]
    return commands


def empties(logged: Logged) -> bool:
    """Whether an event takes contents away that were there before it. A reaction that takes the place of another does too, but
    only what is taken back must be gone at once: a busy group would never finish a backlog otherwise."""
    return logged.kind in ("edit", "delete") or (logged.kind in ("reaction", "vote") and not logged.content)


def emptied(events: Iterable[Event]) -> list[str]:
    """Conversations in which something is gone that may have been drained. Withheld events count: a delete empties for all."""
    return list({event.logged.conversation for event in events if empties(event.logged)})


def look(conversations: Sequence[str]) -> list[Command]:
    """What asks for the streams of each; :func:`take_away` wants the answers."""
    return [] if faults.off("drained") else [("ZRANGE", index_key(one), 0, -1) for one in conversations]


async def take_away(hot: Hot, found: Mapping[str, Sequence[bytes]]) -> list[HotUnavailable]:
    """Delete streams, by conversation; what nodes that are away failed with. Raises what the hot node raises; may be repeated.

    What is not deleted stays in the index, or whoever marks the row again would not find it."""
    streams = [(conversation, stream) for conversation, some in found.items() for stream in some]
    if not streams:
        return []
    answers = await hot.run_each([("UNLINK", stream) for _, stream in streams])
    gone: list[Command] = [
        ("ZREM", index_key(conversation), stream)
        for (conversation, stream), answer in zip(streams, answers, strict=True)
        if not isinstance(answer, Exception)
    ]
    answers += await hot.run_each(gone) if gone else []
    for answer in answers:
        if isinstance(answer, Exception) and not isinstance(answer, HotUnavailable):
            raise answer
    return [answer for answer in answers if isinstance(answer, HotUnavailable)]
