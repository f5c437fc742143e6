"""Who may have to be told: gathered beside the message path, written to the hot node (:mod:`notifications.shards`).

The fan-out says who has no session (:class:`delivery.ports.Absent`) and waits for nothing. Here such reports gather for a turn of
the loop; who has no device that is reached by push is left out by one query for all who are not known, and the rest become due.
What the hot node does not take is kept and written when it is back. What is lost with this process is found by the sweep
(:mod:`notifications.derived`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import hiredis
import psycopg
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from notifications.shards import ADD, TASK_MS, keys, new_token, shard_of
from whatsapp.infra import clock
from whatsapp.infra.batcher import Batcher
from whatsapp.infra.directory import parse_sessions, sessions_key
from whatsapp.infra.hot import Hot
from whatsapp.infra.limits import LIMITS
from whatsapp.infra.spacing import spacing
from whatsapp.infra.valkey import Command, HotUnavailable

log = logging.getLogger(__name__)

#: How long it is believed who has a device that is reached by push. A change is told by the bus (:meth:`Due.forget`).
KNOWN_S: Final = 60.0
MAX_KNOWN: Final = 100_000
#: Users that the hot node has not taken; more are found by the sweep.
MAX_LEFT: Final = 100_000
AGAIN_S: Final = 0.5
#: Behind a new epoch of the hot node many who are connected seem to be absent: their gateways open their sessions again.
REOPENED_S: Final = 60.0
SPACING_MS: Final = 15
AT_ONCE: Final = 1_000  # users of one command, or of one query
MAX_REPORTS: Final = 10_000  # that wait; more are found by the sweep
#: A wait with which a user comes before all who have waited for less than half of it: for calls.
URGENT_MS: Final = -3_600_000

#: Starts a task for a shard, off the loop: ``submit(shard, token)``.
Submit = Callable[[int, str], None]

_TARGETS: Final = """
SELECT d.user_id::text, d.id::text FROM accounts_device d JOIN notifications_pushtarget t ON t.device_id = d.id
WHERE d.user_id = ANY (%s::uuid[])
"""


class _Report(NamedTuple):
    """``devices`` of absent devices, or ``users`` with something on any device of theirs."""

    devices: Sequence[tuple[str, str]]
    users: Sequence[str]
    at: int
    heard: bool  # of ``users``: what their sessions say counts


class _Anything:
    """The devices of a user of whom nothing is known: the worker looks."""

    def __contains__(self, device: object) -> bool:
        return True

    def __sub__(self, others: object) -> _Anything:
        return self


_ANYTHING: Final = _Anything()


def nowhere(user: str) -> Mapping[str, object]:
    """No user has a session in this process."""
    return {}


class Due:
    """:class:`delivery.ports.Absent`. ``here(user)``: the devices of a user that have a session in this process."""

    def __init__(
        self,
        hot: Hot,
        pool: AsyncConnectionPool,
        submit: Submit,
        here: Callable[[str], Mapping[str, object]] = nowhere,
    ) -> None:
        self._hot = hot
        self._pool = pool
        self._submit = submit
        self._here = here
        self._add = hot.script(ADD)
        self._reports: Batcher[_Report] = Batcher(self._run, 1_024, spacing(SPACING_MS))
        #: user → (loop time until which it is believed, devices reached by push), in the order of reading
        self._known: dict[str, tuple[float, frozenset[str]]] = {}
        self._forgotten: set[str] | None = None  # while a query is under way: what it says of them may be old
        self._left: dict[str, int] = {}  # user → when
        self._epoch = hot.epoch
        self._unsettled = (
            0.0  # until then (loop time) sessions are opened again that a new epoch does not know
        )
        self._writing: asyncio.Task[None] | None = None
        self._time = asyncio.get_running_loop().time
        hot.on_term.append(self._new_term)

    def _new_term(self) -> None:
        if self._epoch and self._hot.epoch != self._epoch:
            self._unsettled = self._time() + REOPENED_S
        self._epoch = self._hot.epoch

    # what is reported

    def devices(self, devices: Sequence[tuple[str, str]], wait_ms: int = 0) -> None:
        if wait_ms < LIMITS.push_unacked_ms and self._time() < self._unsettled:
            wait_ms = max(wait_ms, LIMITS.push_unacked_ms)  # as of who has a session and does not acknowledge
        self._report(_Report(devices, (), clock.now_ms() + wait_ms, True))

    def users(self, users: Sequence[str], wait_ms: int = 0) -> None:
        if users:
            self._report(_Report((), users, clock.now_ms() + wait_ms, True))

    def unheard(self, users: Sequence[str]) -> None:
        self._report(_Report((), users, clock.now_ms() + LIMITS.push_unacked_ms, False))

    def forget(self, user: str) -> None:
        self._known.pop(user, None)
        if self._forgotten is not None:
            self._forgotten.add(user)

    def _report(self, report: _Report) -> None:
        if len(self._reports) < MAX_REPORTS:
            self._reports.add(report)

    async def drained(self) -> None:
        """Until nothing that was reported waits."""
        await self._reports.drained()

    # what becomes of it

    async def _run(self, reports: list[_Report]) -> None:
        devices: dict[tuple[str, str], int] = {}
        users: dict[str, int] = {}
        due: dict[str, int] = {}
        for report in reports:
            for one in report.devices:
                devices[one] = min(report.at, devices.get(one, report.at))
            into = users if report.heard else due
            for user in report.users:
                into[user] = min(report.at, into.get(user, report.at))
        targets = await self._targets({*users, *due, *(user for user, _ in devices)})
        due = {user: at for user, at in due.items() if targets[user]}
        for (user, device), at in devices.items():
            if device in targets[user]:
                due[user] = min(at, due.get(user, at))
        # Most have one device, with which they have just read something: then nobody else is asked.
        elsewhere = {user: at for user, at in users.items() if targets[user] - self._here(user).keys()}
        for user in await self._absent(list(elsewhere), targets):
            due[user] = min(elsewhere[user], due.get(user, elsewhere[user]))
        await self.write(due)

    async def _targets(self, users: Iterable[str]) -> dict[str, frozenset[str] | _Anything]:
        """The devices of each user that are reached by push."""
        now = self._time()
        found: dict[str, frozenset[str] | _Anything] = {}
        unknown: list[str] = []
        for user in users:
            known = self._known.get(user)
            if known is not None and known[0] > now:
                found[user] = known[1]
            else:
                unknown.append(user)
        for start in range(0, len(unknown), AT_ONCE):
            found |= await self._load(unknown[start : start + AT_ONCE])
        return found

    async def _load(self, users: list[str]) -> dict[str, frozenset[str] | _Anything]:
        until = self._time() + KNOWN_S  # from before the query
        self._forgotten = set()
        try:
            async with self._pool.connection() as connection:
                rows = await (await connection.execute(_TARGETS, (users,))).fetchall()
        except (psycopg.Error, PoolTimeout, OSError) as error:
            log.info("it is not known who is reached by push: %s", type(error).__name__)
            return dict.fromkeys(users, _ANYTHING)
        finally:
            forgotten, self._forgotten = self._forgotten, None
        devices: dict[str, list[str]] = {user: [] for user in users}
        for user, device in rows:
            devices[user].append(device)
        found = {user: frozenset(some) for user, some in devices.items()}
        over = len(self._known) + len(found) - MAX_KNOWN
        if over > 0:
            for user in list(self._known)[: over + MAX_KNOWN // 10]:
                del self._known[user]
        for user, some in found.items():
            if user not in (forgotten or ()):
                self._known.pop(user, None)
                self._known[user] = until, some
        return dict(found)

    async def _absent(self, users: Sequence[str], targets: Mapping[str, Container[str]]) -> Iterable[str]:
        """Of these users those of whom a device that is reached by push has no session."""
        if not users:
            return ()
        try:
            answers = await self._hot.run_each(self._hot.mget([sessions_key(user) for user in users]))
        except (HotUnavailable, hiredis.ReplyError):
            return users
        found = []
        for user, raw in zip(users, self._hot.values(answers), strict=True):
            wanted = targets[user]
            there = parse_sessions(raw) if not isinstance(raw, Exception) else {}
            if not isinstance(wanted, frozenset) or wanted - there.keys():
                found.append(user)
        return found

    async def write(self, due: Mapping[str, int]) -> None:
        """user → when, ms since the epoch; an earlier time that is there counts. What is not taken now is kept."""
        if not due:
            return
        now = clock.now_ms()
        by_shard: dict[int, list[tuple[str, int]]] = {}
        for user, at in due.items():
            by_shard.setdefault(shard_of(user), []).append((user, at))
        calls: list[tuple[int, str, list[tuple[str, int]]]] = []
        commands: list[Command] = []
        for shard, every in by_shard.items():
            for start in range(0, len(every), AT_ONCE):
                some = every[start : start + AT_ONCE]
                token = new_token()
                arguments: list[int | str] = [token, TASK_MS, int(any(at <= now for _, at in some))]
                for user, at in some:
                    arguments += [at, user]
                calls.append((shard, token, some))
                commands.append(self._add.call(keys(shard), arguments))
        try:
            answers = await self._hot.run_each(commands)
        except (HotUnavailable, hiredis.ReplyError) as error:
            answers = [error] * len(commands)
        for (shard, token, some), answer in zip(calls, answers, strict=True):
            if isinstance(answer, Exception):
                self._keep(some)
            elif answer:
                self._submit(shard, token)

    def _keep(self, some: Iterable[tuple[str, int]]) -> None:
        if not self._left:
            asyncio.get_running_loop().call_later(AGAIN_S, self._again)
        for user, at in some:
            if user in self._left or len(self._left) < MAX_LEFT:
                self._left[user] = min(at, self._left.get(user, at))

    def _again(self) -> None:
        left, self._left = self._left, {}
        self._writing = asyncio.get_running_loop().create_task(self.write(left))
