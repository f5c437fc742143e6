"""Marks, publishes and deliveries of a conversation that an operator watches (``manage.py trace --watch``).

Nothing on disk says when a mark was set or a socket written: that would cost every message what a few are asked for. So a
process asks the hot node once a second which conversations are watched, and only for those writes what it does into a
bounded stream there. While nobody watches, a batch pays for looking at an empty dict.

- ``{trace}:watched``: sorted set conversation → until (ms).
- ``{trace}:events:<conversation>``: stream of JSON objects, no contents; :data:`KEEP_EVENTS`, a day after the last.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import hiredis
import msgspec

from delivery.session import Event, Session, State
from delivery.store.values import Logged
from whatsapp.infra import clock
from whatsapp.infra.batcher import Batcher
from whatsapp.infra.bus import Bus
from whatsapp.infra.logs import process_name
from whatsapp.infra.valkey import HotUnavailable

log = logging.getLogger(__name__)

WATCHED = "{trace}:watched"
EVERY_S = 1.0
MAX_WATCHED = 20
KEEP_EVENTS = 2_000
KEEP_S = 86_400

_encode = msgspec.json.encode


def events_key(conversation: str) -> str:
    return f"{{trace}}:events:{conversation}"


@contextmanager
def _harmless() -> Iterator[None]:
    """A trace must not cost a message its mark."""
    try:
        yield
    except Exception:
        log.exception("something could not be traced")


class Tracing:
    """One per engine. ``watched`` is empty unless :meth:`start` was called and somebody watches."""

    def __init__(self, bus: Bus | None = None) -> None:
        self.watched: dict[str, int] = {}
        self._bus = bus
        self._name = process_name()
        self._notes: Batcher[tuple[str, bytes]] = Batcher(self._write)
        self._asking: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._asking = asyncio.get_running_loop().create_task(self._ask_for_ever())

    def stop(self) -> None:
        if self._asking is not None:
            self._asking.cancel()

    def fanned_out(
        self,
        events: Sequence[Logged],
        targets: Sequence[Sequence[str]],
        marks: Mapping[tuple[str, str], Mapping[str, int]],
        processes: Mapping[str, Iterable[str]],
        epoch: str,
    ) -> None:
        """A batch is marked, and handed to the bus; ``processes``: user → where its sessions are. Never raises."""
        with _harmless():
            self._fanned_out(events, targets, marks, processes, epoch)

    def _fanned_out(
        self,
        events: Sequence[Logged],
        targets: Sequence[Sequence[str]],
        marks: Mapping[tuple[str, str], Mapping[str, int]],
        processes: Mapping[str, Iterable[str]],
        epoch: str,
    ) -> None:
        for logged, users in zip(events, targets, strict=True):
            if logged.conversation not in self.watched:
                continue
            marked = [
                device
                for (_, device), conversations in marks.items()
                if conversations.get(logged.conversation, 0) >= logged.seq
            ]
            self._note(logged.conversation, logged.seq, "mark", devices=marked, epoch=epoch)
            there = {process for user in users for process in processes.get(user, ())}
            self._note(logged.conversation, logged.seq, "publish", processes=sorted(there))

    def delivered(self, event: Event, sessions: Sequence[Session]) -> None:
        """An event was offered to sessions of this process. Never raises."""
        with _harmless():
            self._delivered(event, sessions)

    def _delivered(self, event: Event, sessions: Sequence[Session]) -> None:
        conversation, seq = event.logged.conversation, event.logged.seq
        written = [
            s.device
            for s in sessions
            if s.state is State.LIVE
            and s.sent.get(conversation, -1) >= seq
            and s.device != event.logged.device
        ]
        waiting = [s.device for s in sessions if s.device not in written and s.device != event.logged.device]
        if written or waiting:
            self._note(conversation, seq, "push", written=written, waiting=waiting)

    def _note(self, conversation: str, seq: int, what: str, **fields: Any) -> None:
        note = {"at": clock.now_ms(), "process": self._name, "seq": seq, "what": what, **fields}
        if len(self._notes) < KEEP_EVENTS:
            self._notes.add((conversation, _encode(note)))

    async def _write(self, notes: list[tuple[str, bytes]]) -> None:
        assert self._bus is not None
        commands: list[tuple[Any, ...]] = [
            ("XADD", events_key(conversation), "MAXLEN", KEEP_EVENTS, "*", "e", note)
            for conversation, note in notes
        ]
        commands += [("EXPIRE", events_key(c), KEEP_S) for c in {conversation for conversation, _ in notes}]
        try:
            await self._bus.hot.run(commands)
        except (HotUnavailable, hiredis.ReplyError):
            pass  # a trace is a help, not a promise

    async def _ask_for_ever(self) -> None:
        assert self._bus is not None
        while True:
            await asyncio.sleep(EVERY_S)
            question = (
                "ZRANGEBYSCORE",
                WATCHED,
                clock.now_ms(),
                "+inf",
                "WITHSCORES",
                "LIMIT",
                0,
                MAX_WATCHED,
            )
            try:
                (flat,) = await self._bus.hot.run([question])
            except (HotUnavailable, hiredis.ReplyError):
                continue
            self.watched = {flat[i].decode(): int(float(flat[i + 1])) for i in range(0, len(flat), 2)}
