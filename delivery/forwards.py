"""To how many conversations one act of forwarding goes, over all gateways and devices of a user.

``forwardId`` and ``forwardCount`` are what the client declares, and only it can: contents are sealed. So this keeps an honest
client to the rule and is no wall. ``{user}:forward:<forwardId>`` holds the conversations of an act for an hour; sends that
forward nothing never come here, those of one batch ask together. While the hot node is away a gateway counts alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import hiredis

from delivery.sending import Forward, Sending
from whatsapp.infra import faults
from whatsapp.infra.hot import Hot
from whatsapp.infra.valkey import HotUnavailable

#: Acts that a gateway remembers by itself.
MAX_ACTS = 10_000
KEPT_MS = 3_600_000
#: Messages of others wait for the answer too: a node that is frozen must not hold them up.
WAIT_S = 0.5

# May run twice: who is in it is free.
_TAKE = """
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then return 1 end
if redis.call('SCARD', KEYS[1]) >= tonumber(ARGV[2]) then return 0 end
redis.call('SADD', KEYS[1], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""


class Acts:
    """Conversations by act, in the memory of a gateway; the oldest acts are forgotten first."""

    def __init__(self) -> None:
        self._acts: dict[tuple[str, str], set[str]] = {}

    def note(self, one: Forward) -> None:
        """It went there."""
        self._act(one).add(one.conversation)

    def take(self, one: Forward) -> bool:
        """Whether it may go there, by what this gateway knows; then it is noted."""
        act = self._act(one)
        if one.conversation not in act and len(act) >= one.most:
            return False
        act.add(one.conversation)
        return True

    def _act(self, one: Forward) -> set[str]:
        act = self._acts.get((one.user, one.act))
        if act is None:
            if len(self._acts) >= MAX_ACTS:
                for old in list(self._acts)[: MAX_ACTS // 10]:
                    del self._acts[old]
            act = self._acts[one.user, one.act] = set()
        return act

    def __len__(self) -> int:
        return len(self._acts)


class Forwards:
    def __init__(self, hot: Hot) -> None:
        self._hot = hot
        self._script = hot.script(_TAKE)
        self._acts = Acts()

    async def too_far(self, batch: Sequence[Sending]) -> set[Sending]:
        """Sends of acts that have reached as many conversations as they may. Never raises."""
        asked = [(pending, pending.forward) for pending in batch if pending.forward is not None]
        if not asked:
            return set()
        may = await self.take([forward for _, forward in asked])
        return {pending for (pending, _), one in zip(asked, may, strict=True) if not one}

    async def take(self, forwards: Sequence[Forward]) -> list[bool]:
        """Whether each may go to its conversation too; one that the act went to before is free. Never raises."""
        commands = [self._script.call([one.key], [one.conversation, one.most, KEPT_MS]) for one in forwards]
        try:
            if faults.off("forwards"):
                raise HotUnavailable("counted alone")
            async with asyncio.timeout(WAIT_S):
                answers = await self._hot.run_each(commands)
        except (HotUnavailable, hiredis.ReplyError, TimeoutError):
            # Messages go on without the hot node (C6), and this rule guards nothing that would be worth stopping them for.
            return [self._acts.take(one) for one in forwards]
        may = []
        for one, answer in zip(forwards, answers, strict=True):
            if isinstance(answer, Exception):  # its node of several is away
                may.append(self._acts.take(one))
                continue
            if answer:
                self._acts.note(one)
            may.append(bool(answer))
        return may
