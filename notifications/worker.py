"""The worker's side: takes shards, claims who is due, has it planned and sent, and says that it is done.

One loop a process for all shards that it holds. What has been claimed is planned and sent in batches that run beside one another;
the next ones are claimed meanwhile. A batch does not wait for its slowest provider: who has been told is done, and makes room. A
user is in one batch at a time: who comes again while a batch has it waits for that one. A worker that dies loses nobody: its
claims end, and what was not sent follows from durable state again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, NamedTuple

import hiredis
import psycopg
from psycopg_pool import PoolTimeout

from delivery.store.interface import Unavailable
from notifications import figures
from notifications.due import URGENT_MS
from notifications.plans import Ended, Plan, Planned
from notifications.shards import (
    CLAIM,
    END,
    FINISH,
    GIVE_BACK,
    LEASE_MS,
    ORPHAN,
    SHARDS,
    TAKE,
    due_key,
    keys,
    new_token,
)
from whatsapp.infra import clock, faults, metrics
from whatsapp.infra.batcher import AskBatcher
from whatsapp.infra.hot import Hot
from whatsapp.infra.valkey import HotUnavailable

log = logging.getLogger(__name__)

TICK_S: Final = 0.05  # between two looks at the shards that are held
LINGER_S: Final = 1.0  # how long a shard of which nobody is due is kept: cheaper than a task for each message
ORPHANS_EVERY_S: Final = 0.5
BATCH: Final = 256  # users
AT_ONCE: Final = 8  # batches that are planned; so many full ones are under way
PART_S: Final = 0.2  # how often those of a batch are let go who are done
CLAIM_MS: Final = 60_000
#: Reports come with a wait of up to half of that: made so near the end of a claim, one is later than it, and does not show.
NEAR_MS: Final = 10_000
#: A user whose plan fails, and one whose servers do not answer.
ASIDE_MS: Final = 60_000
AWAY_MS: Final = 2_000
#: One that a batch under way has.
BUSY_MS: Final = 100
LEAVE_S: Final = 5.0

#: What PostgreSQL says of a value is not among it: that is one user's own.
AWAY: Final = (
    Unavailable, HotUnavailable, hiredis.ReplyError, PoolTimeout, OSError,
    psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError, psycopg.ProgrammingError,
)  # fmt: skip

#: ``plan(users, now)``, ``calls(users, now)`` and ``deliver(planned, ended)``.
MakePlan = Callable[[Sequence[str], int], Awaitable[Plan]]
PlanCalls = Callable[[Sequence[str], int], Awaitable[Sequence[Planned]]]
Deliver = Callable[[Sequence[Planned], Ended], Coroutine[Any, Any, Any]]

CLAIMED = metrics.Counters("whatsapp_push_claims", "Users that were looked at because they were due.", ())
ASIDE = metrics.Counters(
    "whatsapp_push_aside",
    "Users whose notifications could not be planned; each is tried again in a minute.",
    (),
)


class Claim(NamedTuple):
    shard: int
    until: int  # its end, ms since the epoch: a claim of the same user later has another


class _Held:
    """A shard of this process."""

    __slots__ = ("idle_since", "token")

    def __init__(self, token: str, now: float) -> None:
        self.token = token
        self.idle_since = now


class PushWorker:
    def __init__(self, hot: Hot, plan: MakePlan, deliver: Deliver, calls: PlanCalls) -> None:
        self._hot = hot
        self._plan = plan
        self._plan_calls = calls
        # One plan of calls at a time, of all that have come meanwhile: its servers have most to do when many ring.
        self._calls: AskBatcher[str] = AskBatcher(self._planned_calls, BATCH)
        self._deliver = deliver
        self._take, self._claim, self._finish, self._end, self._give_back, self._orphan = map(
            hot.script, (TAKE, CLAIM, FINISH, END, GIVE_BACK, ORPHAN)
        )
        self._held: dict[int, _Held] = {}
        self._busy: set[str] = set()  # users of the batches under way who are not done
        self._calling: set[str] = set()  # users whose calls are being sent
        self._planning = 0  # batches
        self._size = BATCH  # smaller while plans fail: one user who is too much for a server is alone then
        self._batches: set[asyncio.Task[None]] = set()
        self._until = 0
        self._first = 0  # which shard is the next one's first: none waits for the others for long
        self._woken = asyncio.Event()
        self._leaving = False
        self._time = asyncio.get_running_loop().time
        self.due = 0  # users of all shards, and since when the first is, when they were last looked at
        self.age_ms = 0
        figures.workers.add(self)

    @property
    def held(self) -> int:
        """Shards of this process."""
        return len(self._held)

    # shards

    async def take(self, shard: int, token: str) -> bool:
        """Take a shard that ``token`` was left for. False: another has it."""
        if self._leaving or not self._hot.partly:
            return False
        own = new_token()
        try:
            (taken,) = await self._hot.run(
                [self._take.call(keys(shard), [token, own, LEASE_MS, _urgent_now()])]
            )
        except (HotUnavailable, hiredis.ReplyError):
            return False
        if taken:
            self._held[shard] = _Held(own, self._time())
            self._woken.set()
        return bool(taken)

    async def look_for_orphans(self) -> None:
        """For ever: shards with somebody due that nobody holds are taken, whatever became of their task."""
        while True:
            await asyncio.sleep(ORPHANS_EVERY_S)
            if self._leaving or not self._hot.partly or faults.off("push_orphans"):
                continue
            try:
                await self.take_orphans()
            except (HotUnavailable, hiredis.ReplyError):
                continue
            except Exception:
                log.exception("shards without a holder were not looked for")

    async def take_orphans(self) -> None:
        token, arguments = new_token(), [LEASE_MS, clock.now_ms(), _urgent_now()]
        answers = await self._hot.run_each(
            [self._orphan.call(keys(shard), [token, *arguments]) for shard in range(SHARDS)]
        )
        there = {shard: answer for shard, answer in enumerate(answers) if not isinstance(answer, Exception)}
        self.due = sum(waiting for _, waiting, _ in there.values())
        self.age_ms = max((age for _, _, age in there.values()), default=0)
        for shard, (mine, _, _) in there.items():
            if mine:
                self._held[shard] = _Held(token, self._time())
                self._woken.set()

    async def leave(self) -> None:
        """Claim nothing more, let what is under way come to its end for some seconds, give the shards back."""
        self._leaving = True
        if self._batches:
            await asyncio.wait(self._batches, timeout=LEAVE_S)
        held, self._held = self._held, {}
        try:
            await self._hot.run_each(
                [self._give_back.call(keys(shard), [one.token]) for shard, one in held.items()]
            )
        except (HotUnavailable, hiredis.ReplyError):
            pass  # the leases end

    # the loop

    async def run(self) -> None:
        """For ever: work on the shards that are held."""
        while True:
            if not self._held:
                self._woken.clear()
                await self._woken.wait()
            started = self._time()
            claimed = 0
            try:
                claimed = await self.turn()
            except (HotUnavailable, hiredis.ReplyError) as error:
                log.info("who is due cannot be claimed: %s", error)
                await asyncio.sleep(AWAY_MS / 1000)
            except Exception:
                log.exception("who is due was not claimed")
                await asyncio.sleep(1.0)
            if self._batches and not self._room:
                await asyncio.wait(self._batches, timeout=TICK_S, return_when=asyncio.FIRST_COMPLETED)
            elif not claimed:
                await asyncio.sleep(max(0.0, started + TICK_S - self._time()))

    @property
    def _room(self) -> int:
        """For so many users."""
        return max(0, min(AT_ONCE * BATCH - len(self._busy), (AT_ONCE - self._planning) * self._size))

    async def turn(self) -> int:
        """Claim from each shard, start what has been claimed, give back what is idle. Returns how many were claimed."""
        now = clock.now_ms()
        room = self._room
        # Without room only those who come before everybody else.
        urgent_before = now + URGENT_MS // 2
        before, each = (now, max(1, room // max(1, len(self._held)))) if room else (urgent_before, 1)
        if self._leaving:
            each = 0
        shards = sorted(self._held)  # the lowest are not always first
        self._first = (self._first + 1) % len(shards) if shards else 0
        shards = shards[self._first :] + shards[: self._first]
        self._until = until = max(self._until + 1, now + CLAIM_MS)
        arguments = [LEASE_MS, before, until, each, 0 if faults.off("call_claims") else urgent_before]
        answers = await self._hot.run_each(
            [self._claim.call(keys(shard), [self._held[shard].token, *arguments]) for shard in shards]
        )
        claimed: dict[str, Claim] = {}
        urgent: set[str] = set()
        idle: list[int] = []
        for shard, answer in zip(shards, answers, strict=True):
            held = self._held.get(shard)
            if answer is None or isinstance(answer, Exception) or held is None:
                self._held.pop(shard, None)  # another has it, or its node is away
            elif answer:
                held.idle_since = self._time()
                for raw, at in zip(answer[::2], answer[1::2], strict=True):
                    claimed[user := raw.decode()] = Claim(shard, until)
                    if float(at) <= urgent_before:
                        urgent.add(user)
            elif self._time() - held.idle_since >= LINGER_S and each:
                idle.append(shard)
        CLAIMED.add(number=len(claimed))
        calls = {user: claimed.pop(user) for user in urgent - self._calling}
        if calls:
            self._run(self._call(calls))
        waiting = {user: claimed.pop(user) for user in urgent & claimed.keys()}
        if waiting:  # one more call, while one is being sent
            await self._finished(waiting, dict.fromkeys(waiting, now + URGENT_MS))
        busy = {user: claim for user, claim in claimed.items() if user in self._busy}
        if busy:
            await self._finished(busy, dict.fromkeys(busy, now + BUSY_MS))
        free = [(user, claim) for user, claim in claimed.items() if user not in busy]
        for start in range(0, len(free), self._size):
            self._start(dict(free[start : start + self._size]))
        if idle and room:
            await self._let_go(idle, now)
        return len(free)

    async def _let_go(self, shards: Sequence[int], now: int) -> None:
        wait_ms = int(LINGER_S * 1000)
        answers = await self._hot.run_each(
            [self._end.call(keys(shard), [self._held[shard].token, now + wait_ms]) for shard in shards]
        )
        for shard, ended in zip(shards, answers, strict=True):
            if ended and not isinstance(ended, Exception):
                self._held.pop(shard, None)

    # a batch

    def _start(self, claimed: dict[str, Claim]) -> None:
        self._busy.update(claimed)
        self._run(self._work(claimed))

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._batches.add(task)
        task.add_done_callback(self._batches.discard)

    async def _work(self, claimed: dict[str, Claim]) -> None:
        left, again = dict(claimed), dict[str, int]()
        try:
            plan = await self._one_plan(list(claimed))
            _earlier(again, plan.again)
            if plan.pushes:
                await self._send(plan.pushes, left, again)
        except AWAY as error:
            log.info("%d users who are due wait: %s", len(left), type(error).__name__)
            again = dict.fromkeys(left, clock.now_ms() + AWAY_MS)
        except Exception:
            log.exception("%d users who are due were not told", len(left))
            again = dict.fromkeys(left, clock.now_ms() + ASIDE_MS)
        finally:
            self._busy.difference_update(left)
        await self._done(left, again)

    async def _call(self, claimed: dict[str, Claim]) -> None:
        """What rings for users goes beside the batches, also where one of these has the user: it waits for nothing that they
        are sent besides, which is looked at next."""
        self._calling.update(claimed)
        again = dict.fromkeys(claimed, clock.now_ms())
        try:
            plans = await asyncio.gather(*map(self._calls.ask, claimed))
            pushes = [one for plan in plans for one in plan]
            if pushes:
                await self._deliver(pushes, lambda _user, _at: None)
        except AWAY as error:
            log.info("calls for %d users wait: %s", len(claimed), type(error).__name__)
            again = dict.fromkeys(claimed, clock.now_ms() + AWAY_MS)
        except Exception:
            log.exception("calls for %d users do not ring", len(claimed))
        finally:
            self._calling.difference_update(claimed)
        await self._done(claimed, again)

    async def _planned_calls(self, users: Sequence[str]) -> list[list[Planned]]:
        """What each is to be sent, in their order. Who cannot be planned is alone with that."""
        found: dict[str, list[Planned]] = {user: [] for user in users}
        try:
            for one in await self._plan_calls(users, clock.now_ms()):
                found[one.target.user].append(one)
        except AWAY:
            raise
        except Exception:
            if len(users) > 1:
                return [(await self._planned_calls([user]))[0] for user in users]
            log.exception("what rings for a user cannot be planned")
        return [found[user] for user in users]

    async def _send(self, pushes: Sequence[Planned], left: dict[str, Claim], again: dict[str, int]) -> None:
        """Who is done is taken out of ``left`` now and then, and at last not."""
        told = {one.target.user for one in pushes}
        over = [user for user in left if user not in told]

        def ended(user: str, at: int | None) -> None:
            if at is not None:
                _earlier(again, {user: at})
            over.append(user)

        sending = asyncio.get_running_loop().create_task(self._deliver(pushes, ended))
        try:
            while not (await asyncio.wait([sending], timeout=PART_S))[0]:
                done = {user: left.pop(user) for user in over}
                over.clear()
                self._busy.difference_update(done)
                await self._done(done, again)
            await sending
        finally:
            sending.cancel()

    async def _done(self, claimed: dict[str, Claim], again: dict[str, int]) -> None:
        if claimed:
            try:
                await self._finished(claimed, again)
            except (HotUnavailable, hiredis.ReplyError):
                pass  # the claims end, and nothing is found to be told

    async def _one_plan(self, users: Sequence[str]) -> Plan:
        self._planning += 1
        try:
            plan = await self._planned(users)
        except AWAY:
            self._size = max(1, len(users) // 2)
            raise
        finally:
            self._planning -= 1
        self._size = min(BATCH, self._size * 2)
        return plan

    async def _planned(self, users: Sequence[str]) -> Plan:
        """Raises what says that a server is away. A user whose plan fails for any other reason is put off alone."""
        try:
            return await self._plan(users, clock.now_ms())
        except AWAY:
            raise
        except Exception:
            if len(users) == 1:
                ASIDE.add()
                log.exception("what a user is to be told cannot be planned")
                return Plan([], {users[0]: clock.now_ms() + ASIDE_MS})
        half = len(users) // 2
        first, second = await self._planned(users[:half]), await self._planned(users[half:])
        return Plan([*first.pushes, *second.pushes], first.again | second.again)

    async def _finished(self, claimed: dict[str, Claim], again: dict[str, int]) -> None:
        by_shard: dict[int, list[str | int]] = {}
        now = clock.now_ms()
        for user, claim in claimed.items():
            if now > claim.until - NEAR_MS:
                _earlier(again, {user: now})
            if faults.off("push_claim"):
                await self._hot.run([("ZREM", due_key(claim.shard), user)])
                continue
            by_shard.setdefault(claim.shard, []).extend((user, claim.until, again.get(user, 0)))
        await self._hot.run_each(
            [self._finish.call(keys(shard), arguments) for shard, arguments in by_shard.items()]
        )


def _urgent_now() -> int:
    return clock.now_ms() + URGENT_MS


def _earlier(into: dict[str, int], others: dict[str, int]) -> None:
    for user, at in others.items():
        into[user] = min(at, into.get(user, at))
