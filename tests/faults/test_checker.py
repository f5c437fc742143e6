"""The checker of the trials is worth something: for each clause of the contract a build that breaks it is caught."""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from tests.faults.history import DISHONEST, LEAKED, LOST, REORDERED
from tests.faults.trials.catalogue import FAULTS
from tests.faults.trials.field import Field
from tests.faults.trials.trial import UNBOUNDED, place, trial

pytestmark = [pytest.mark.needs_system, pytest.mark.timeout(240)]

#: What is lost does not come: there is no use in waiting for it as long as for a slow machine.
PATIENCE_S = 30.0
NO_BOUND = 1 << 30


Break = Callable[[Field], contextlib.AbstractContextManager[object]]


def nothing(_: Field) -> contextlib.AbstractContextManager[object]:
    """It is the limits that break it."""
    return contextlib.nullcontext()


def without(*protections: str) -> Break:
    return lambda field: field.rig.off(*protections)


@contextlib.contextmanager
def hasty(field: Field) -> Iterator[None]:
    """PostgreSQL says "committed" before it has written anything; what is connected has to connect again to hear of it."""
    field.system.sql("ALTER DATABASE whatsapp SET synchronous_commit = off")
    field.system.sql("ALTER SYSTEM SET wal_writer_delay = '10s'")
    field.system.sql("ALTER SYSTEM SET wal_writer_flush_after = '2GB'")
    field.system.sql("SELECT pg_reload_conf()")
    field.system.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'whatsapp' AND pid <> pg_backend_pid()"
    )
    yield


async def across(field: Field) -> None:
    """When all is quiet, one more message goes from one gateway to somebody at the other."""
    crowd = field.crowd
    await crowd.end()
    writer, reader = crowd.members[0], crowd.members[1]
    conversation = next(
        c for c, users in crowd.talks.items() if set(users) == {writer.phone.user, reader.phone.user}
    )
    for member, url in ((writer, field.rig.one), (reader, field.rig.two)):
        member.network.targets.sort(key=url.__ne__)
        await member.leave()
        await member.online(timeout=60)
    await writer.say(conversation, "one more")


@dataclass(frozen=True)
class Broken:
    """A build that is broken from a moment before the fault on, by ``how``; the kind of breach that must be found."""

    fault: str
    finds: str
    how: Break = nothing
    limits: dict[str, int] = field(default_factory=dict)
    #: Instead of the fault's.
    strike: Callable[[Field], Awaitable[None]] | None = None


BUILDS = {
    "C1, a ✓ before the commit is on disk": Broken("kill-postgres", LOST, hasty),
    # What comes again under a number that was taken is refused then, so its first ✓ is what is missing.
    "C2, a message sent again is another one": Broken("again-and-out-of-order", LOST, without("dedupe")),
    "C3, who numbers is not listened to": Broken("again-and-out-of-order", REORDERED, without("seqnum")),
    "C4, what goes to the other gateway is dropped": Broken("nothing", LOST, without("publish", "check"), strike=across),
    "C4, who was removed gets what comes": Broken("nothing", LEAKED, without("left")),
    "C5, receipts pass what was acknowledged": Broken("nothing", DISHONEST, without("receipt_rule")),
    "C6, an emptied Valkey is believed": Broken(
        "flush-valkey-then-silence", LOST, without("marker", "check", "reopen", "epoch_progress")
    ),
    "C7, a slow reader's buffer has no end": Broken(
        "slow-readers", UNBOUNDED, limits={
            "outbound_pause_bytes": NO_BOUND, "outbound_close_bytes": NO_BOUND, "slow_consumer_ms": 600_000,
        },
    ),
    "a worker does not outlive its broker": Broken("kill-valkey", LOST, without("broker")),
}  # fmt: skip


#: For every change; all of them for ``./dev faults``.
OFTEN = (
    "C1, a ✓ before the commit is on disk",
    "C4, what goes to the other gateway is dropped",
    "C6, an emptied Valkey is believed",
)


@pytest.mark.parametrize(
    "build", [pytest.param(name, marks=[pytest.mark.long] * (name not in OFTEN)) for name in BUILDS]
)
async def test_a_broken_build_is_caught(build: str, tmp_path: Path) -> None:
    broken = BUILDS[build]
    sound = FAULTS[broken.fault]
    with contextlib.ExitStack() as lasts:

        async def strike(here: Field) -> None:
            lasts.enter_context(broken.how(here))
            await here.crowd.go_on(60, "with the broken build")
            await (broken.strike or sound.strike)(here)

        fault = replace(sound, strike=strike)
        async with place(fault, hold_s=3.0, limits=broken.limits) as here:
            result = await trial(
                here, broken.fault, fault, 1, tmp_path / "history.jsonl", patience_s=PATIENCE_S, after=200
            )
    found = {problem.partition(":")[0] for problem in result.problems}
    assert broken.finds in found, (result.grown_mb, result.problems)
