"""Commands to a Valkey Cluster: each to the node that serves its slot, answers in the order of the commands.

Commands of one slot keep their order, in one pipeline and through redirections: when a slot is on the move, what is left of it
in a pipeline is sent one by one. So a mark is always before the look-up that follows it. A command may be executed twice, as
everywhere in the client; a ``MOVED`` is followed only to a node whose claim is the highest known, or an old master could take
marks that nobody ever reads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import Any

import hiredis

from whatsapp.infra.slots import Place, Table, redirect, slot_of
from whatsapp.infra.valkey import ANSWER_TIMEOUT_S, AWAY, Command, HotUnavailable, Script

#: Between two attempts at a slot that is on the move (seconds).
PAUSE_S = 0.02


class Router:
    """``table`` says who serves a slot. Subclasses say how a node is reached."""

    def __init__(self) -> None:
        self.table = Table()
        #: A pipeline waits no longer (seconds) for a node when the others have answered; None: as long as it takes.
        self.patience_s: float | None = None
        self.scripts: dict[str, Script] = {}

    def send(self, place: Place, commands: Sequence[Command]) -> Awaitable[list[Any]]:
        """One pipeline to one node; the answers with errors in them. Raises ``HotUnavailable``."""
        raise NotImplementedError

    async def refresh(self, hint: Place | None = None) -> None:
        """Look again who serves what, best at ``hint``. Never raises."""
        raise NotImplementedError

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """A pipeline. Raises what the first command that failed did."""
        answers = await self.run_each(commands)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    async def run_each(self, commands: Sequence[Command]) -> list[Any]:
        """The same, with what failed in its place: a node that is away takes nothing from the others."""
        answers: list[Any] = [None] * len(commands)
        slots = [slot_of(command) for command in commands]
        groups: dict[Place, list[int]] = {}
        for index, slot in enumerate(slots):
            owner = self.table.owners[slot]
            if owner is None:
                answers[index] = HotUnavailable("nobody is known to serve this slot")
            else:
                groups.setdefault(owner, []).append(index)
        sent = [
            asyncio.ensure_future(self.send(place, [commands[i] for i in indexes]))
            for place, indexes in groups.items()
        ]
        late: dict[int, list[int]] = {}  # by slot: what must be done again, one by one
        for (place, indexes), replies in zip(list(groups.items()), await self._answers(sent), strict=True):
            if isinstance(replies, BaseException):
                if not isinstance(replies, HotUnavailable):
                    raise replies
                for index in indexes:
                    answers[index] = replies
                if place not in self.table.places:  # it has lost its slots while we waited
                    for index in indexes:
                        late.setdefault(slots[index], []).append(index)
                continue
            for index, reply in zip(indexes, replies, strict=True):
                slot = slots[index]
                if slot in late or (isinstance(reply, hiredis.ReplyError) and _passes(reply)):
                    late.setdefault(slot, []).append(index)
                else:
                    answers[index] = _judged(reply)
        if late:
            await asyncio.gather(*[self._one_by_one(commands, indexes, answers) for indexes in late.values()])
        return answers

    async def _answers(self, sent: Sequence[asyncio.Future[list[Any]]]) -> list[Any]:
        """Of each pipeline, or what it raised."""
        if self.patience_s is None or not sent:
            return await asyncio.gather(*sent, return_exceptions=True)
        try:
            _, pending = await asyncio.wait(sent, timeout=self.patience_s)
        except asyncio.CancelledError:
            for future in sent:
                future.cancel()
            raise
        for future in pending:  # it may be done all the same, like everything whose answer is lost
            future.add_done_callback(_forget)
        return [
            HotUnavailable("the node does not answer")
            if future in pending
            else future.exception() or future.result()
            for future in sent
        ]

    async def _one_by_one(
        self, commands: Sequence[Command], indexes: Sequence[int], answers: list[Any]
    ) -> None:
        ends = asyncio.get_running_loop().time() + ANSWER_TIMEOUT_S
        for index in indexes:
            try:
                answers[index] = _judged(await self._persist(commands[index], ends))
            except HotUnavailable as error:
                answers[index] = error

    async def _persist(self, command: Command, ends: float) -> Any:
        slot, elsewhere, text = slot_of(command), None, False
        loop = asyncio.get_running_loop()
        while loop.time() < ends:
            place = elsewhere or self.table.owners[slot]
            if place is None:
                break
            asked = command
            if text:
                asked = ("EVAL", self.scripts[command[1]].text, *command[2:])
            pipeline: list[Command] = [("ASKING",), asked] if elsewhere else [asked]
            elsewhere = None
            reply = (await self.send(place, pipeline))[-1]
            if not isinstance(reply, hiredis.ReplyError) or not _passes(reply):
                return reply
            moved = redirect(reply)
            if moved is not None and moved[0] == "ASK":
                elsewhere = moved[2]
            elif moved is not None:
                await self.refresh(moved[2])
                if self.table.owners[slot] == place:
                    await asyncio.sleep(PAUSE_S)
            elif str(reply).startswith("NOSCRIPT") and not text:
                text = True
            else:
                await asyncio.sleep(PAUSE_S)
        raise HotUnavailable("its slot is on the move")

    async def everywhere(self, command: Command) -> list[Any]:
        """A command without keys, to every node that serves slots; the answers of those that are there. Raises
        ``HotUnavailable`` when none is."""
        sent = [asyncio.ensure_future(self.send(place, [command])) for place in self.table.places]
        answers = [each[0] for each in await self._answers(sent) if not isinstance(each, Exception)]
        found = [answer for answer in answers if not isinstance(answer, Exception)]
        if not found:
            raise HotUnavailable("no node of the cluster answers")
        return found


def _forget(future: asyncio.Future[Any]) -> None:
    if not future.cancelled():
        future.exception()


def _passes(error: hiredis.ReplyError) -> bool:
    """Whether it is worth to try again: the slot is on the move, or the node does not know the script."""
    return str(error).startswith(("MOVED ", "ASK ", "TRYAGAIN", "NOSCRIPT"))


def _judged(reply: Any) -> Any:
    if isinstance(reply, Exception) and str(reply).startswith(AWAY):
        return HotUnavailable(str(reply))
    return reply
