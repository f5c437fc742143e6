"""Receipts in groups above 32 members: senders who are here are told how many have their latest message, not who.

A gateway follows the latest message of each of its live senders in each such group, and asks the store for the counts once a
second, later less often, until everybody has read it or a newer message takes its place. What it asks costs one query a
second whatever the number of groups; who wants names asks for them over REST.
"""

from __future__ import annotations

import asyncio
import logging
from heapq import nsmallest

from delivery.roster import Roster
from delivery.session import Hub, State
from delivery.store.interface import Store, Unavailable
from delivery.store.values import RECEIPTS_EACH, Conversation, ReceiptCount
from whatsapp.wire import frames

log = logging.getLogger(__name__)

EVERY_S = 1.0
SLOWEST_S = 30.0
MAX_FOLLOWED = 10_000
AT_ONCE = 200  # in one query


class _Followed:
    __slots__ = ("due", "seq", "told", "wait")

    def __init__(self, seq: int, due: float) -> None:
        self.seq = seq
        self.due = due
        self.wait = EVERY_S
        self.told = ReceiptCount(0, 0)


class Counts:
    def __init__(self, store: Store, hub: Hub, roster: Roster) -> None:
        self._store = store
        self._hub = hub
        self._roster = roster
        self._followed: dict[tuple[str, str], _Followed] = {}  # by conversation and sender
        self._task: asyncio.Task[None] | None = None

    def sent(self, conversation: str, user: str, seq: int) -> None:
        """A message of a group was stored for a sender who is connected here."""
        key = (conversation, user)
        known = self._followed.get(key)
        if known is not None:
            # The beat of the question stays: a busy sender is told once a second all the same.
            known.seq, known.told, known.wait = seq, ReceiptCount(0, 0), EVERY_S
            return
        if len(self._followed) >= MAX_FOLLOWED:
            return
        loop = asyncio.get_running_loop()
        self._followed[key] = _Followed(seq, loop.time() + EVERY_S)
        if self._task is None:
            self._task = loop.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        while self._followed:
            await asyncio.sleep(EVERY_S)
            try:
                await self._ask()
            except Unavailable:
                pass  # next time
            except Exception:
                log.exception("receipts of groups were not counted")
        self._task = None

    async def _ask(self) -> None:
        now = asyncio.get_running_loop().time()
        # Who has waited longest comes first, or those who are due each time would keep the others out.
        waiting = [(followed.due, key) for key, followed in self._followed.items() if followed.due <= now]
        due = [key for _, key in nsmallest(AT_ONCE, waiting)]
        for key in [key for key in due if not any(self._hub.of(key[1]))]:
            due.remove(key)
            del self._followed[key]  # with its sync it is told nothing of this: it asks over REST
        lists = await self._roster.lists({conversation: 0 for conversation, _ in due})
        for key in [key for key in due if not _counted(lists.get(key[0]))]:
            due.remove(key)
            del self._followed[key]
        asked = [(*key, self._followed[key].seq) for key in due]
        for (conversation, user, seq), counts in zip(
            asked, await self._store.receipt_counts(asked), strict=True
        ):
            followed = self._followed[conversation, user]
            if followed.seq != seq:
                continue
            if counts != followed.told:
                followed.told, followed.wait = counts, EVERY_S
                self._tell(conversation, user, seq, counts)
            else:
                followed.wait = min(followed.wait * 2, SLOWEST_S)
            followed.due = now + followed.wait
            if counts.read >= len(lists[conversation].current) - 1:
                del self._followed[conversation, user]

    def _tell(self, conversation: str, user: str, seq: int, counts: ReceiptCount) -> None:
        for session in self._hub.of(user):
            if session.state is State.LIVE:
                session.send(
                    frames.StatusUpdate(
                        conversation,
                        "read" if counts.read else "delivered",
                        up_to=seq,
                        counts=frames.Counts(counts.delivered, counts.read),
                    )
                )


def _counted(known: Conversation | None) -> bool:
    return known is not None and known.kind == "group" and len(known.current) > RECEIPTS_EACH
