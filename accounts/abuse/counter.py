"""What a gateway counts of those who send, in its memory; what is heavy enough is written to Valkey every few seconds, together.

On the message path this is some additions (``bench/abuse_cost.py``). No message waits for it, and when Valkey does not answer,
what was counted is dropped (fail open): written again it might count twice, and nobody is to be sanctioned for that.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable, Sequence
from typing import Final

import hiredis
from django.conf import settings

from accounts.abuse import buckets
from accounts.abuse.triggers import Table, table
from delivery.sending import Sending
from whatsapp.infra import clock, metrics
from whatsapp.infra.hot import Hot
from whatsapp.infra.valkey import HotUnavailable

log = logging.getLogger(__name__)

#: Accounts that one gateway remembers; the oldest are forgotten first.
MOST: Final = 50_000
#: Accounts that are written together: a pipeline holds up the loop for a moment only.
AT_ONCE: Final = 100
#: What is counted of one account until it is written, at most: nobody sends more in that time.
_SET_MOST: Final = 1_000
_STRANGER: Final = 5
_HOUR_MS: Final = 3_600_000


class Tally:
    """Of one account since it was last written."""

    __slots__ = ("forwards", "messages", "queued", "recipients", "replies", "strangers", "weight")

    def __init__(self) -> None:
        self.weight = self.messages = 0
        self.queued = False
        self.recipients: set[str] = set()
        # Most have none.
        self.strangers: set[str] | None = None
        self.forwards: set[str] | None = None
        self.replies: set[str] | None = None


class Counter:
    """:meth:`noted` is called on the message path; it never raises and never waits."""

    def __init__(self, hot: Hot) -> None:
        self._hot = hot
        self._table: Table = table()
        self._tallies: dict[str, Tally] = {}
        self._ready: list[str] = []
        self._heavy = settings.ABUSE_WEIGHT
        self._candidates = 0  # how many there were when one was last added
        self._hour = clock.now_ms() // _HOUR_MS
        self._task: asyncio.Task[None] | None = None

    def noted(self, sending: Sending) -> None:
        """A message was stored."""
        send = sending.send
        tally = self._tallies.get(send.sender)
        if tally is None:
            tally = self._begin(send.sender)
        tally.messages += 1
        weight = tally.weight + 1
        if len(tally.recipients) < _SET_MOST:
            tally.recipients.add(send.conversation)
            request = sending.request
            if request is not None:
                if request.unaccepted - {send.sender}:
                    if tally.strangers is None:
                        tally.strangers = set()
                    tally.strangers.add(send.conversation)
                    weight += _STRANGER
                elif send.answers:
                    self._replied(send.conversation, request.current - {send.sender})
            if sending.forward is not None:
                if tally.forwards is None:
                    tally.forwards = set()
                tally.forwards.add(send.conversation)
        tally.weight = weight
        if weight >= self._heavy and not tally.queued:
            tally.queued = True
            self._ready.append(send.sender)

    def _replied(self, conversation: str, users: Iterable[str]) -> None:
        """Somebody who had not accepted these has answered. Always written down: it counts in their favour. Once a conversation:
        what else came in the same batch is an answer by the same list of members."""
        for user in users:
            tally = self._tallies.get(user)
            if tally is None:
                tally = self._begin(user)
            if tally.replies is None:
                tally.replies = set()
            tally.replies.add(conversation)
            if not tally.queued:
                tally.queued = True
                self._ready.append(user)

    def _begin(self, user: str) -> Tally:
        if len(self._tallies) >= MOST:
            for old in list(self._tallies)[: MOST // 10]:
                del self._tallies[old]
        tally = self._tallies[user] = Tally()
        return tally

    def __len__(self) -> int:
        return len(self._tallies)

    # writing

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._for_ever())

    async def stop(self) -> None:
        """Write what waits."""
        if self._task is not None:
            self._task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await self.flush()

    async def _for_ever(self) -> None:
        while True:
            await asyncio.sleep(settings.ABUSE_FLUSH_MS / 1000)
            try:
                await self.flush()
            except Exception:
                log.exception("counts of abuse were not written")

    async def flush(self) -> None:
        """Write what is heavy enough. Never raises because of Valkey."""
        ready, self._ready = self._ready, []
        for start in range(0, len(ready), AT_ONCE):
            await self._write(ready[start : start + AT_ONCE])
        hour = clock.now_ms() // _HOUR_MS
        if hour != self._hour:
            # What is light by the end of an hour is nothing; so it does not come together over a day.
            self._hour = hour
            self._tallies = {user: tally for user, tally in self._tallies.items() if tally.queued}

    async def _write(self, users: Sequence[str]) -> None:
        now = clock.now_ms()
        asked: list[list[buckets.Asked]] = []
        for user in users:
            tally = self._tallies.pop(user, None)
            if tally is None:
                asked.append([])
                continue
            numbers = {"messages": tally.messages}
            sets = {
                "replies": tally.replies or (),
                "recipients": tally.recipients,
                "strangers": tally.strangers or (),
                "forwards": tally.forwards or (),
            }
            asked.append(list(buckets.adding(user, numbers, sets, self._table, now)))
        commands = [command for one in asked for command, _ in one]
        if not commands:
            return
        try:
            answers = await self._hot.run_each(commands)
            metrics.count("abuse", "written", len(users))
            near, place = [], 0
            for user, one in zip(users, asked, strict=True):
                if buckets.reaches_a_mark(one, answers[place : place + len(one)], self._table):
                    near.append(user)
                place += len(one)
            await self._mark(near)
        except (HotUnavailable, hiredis.ReplyError):
            metrics.count("abuse", "dropped", len(users))

    async def _mark(self, users: Sequence[str]) -> None:
        if not users:
            return
        commands: list[buckets.Command] = [("SCARD", buckets.CANDIDATES)]
        if self._candidates < buckets.CANDIDATES_MOST:
            commands = [
                ("SADD", buckets.CANDIDATES, *users),
                ("PEXPIRE", buckets.CANDIDATES, buckets.CANDIDATES_MS),
                *commands,
            ]
        answer = (await self._hot.run_each(commands))[-1]
        self._candidates = answer if type(answer) is int else 0
