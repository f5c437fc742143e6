"""One fault, one seed: the crowd writes, the fault strikes, the system recovers, all becomes quiet, the verdict is reached."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.history import Problem
from tests.faults.trials import servers
from tests.faults.trials.catalogue import Fault
from tests.faults.trials.chronicle import Chronicle
from tests.faults.trials.crowd import Crowd
from tests.faults.trials.field import Field
from tests.faults.trials.memory import Memory, bound
from tests.faults.trials.verdict import Verdict
from tests.support.patience import until
from tests.support.stack import System
from tests.support.wire import Wire

#: ✓ before the fault, after the recovery.
BEFORE, AFTER = 60, 60
UNBOUNDED = "unbounded"
#: How long what lasts does, by default (seconds).
HOLD_S = 20.0
PATIENCE_S = 120.0
LIMITS = {
    # What a lost publish costs; the tests of R8 are about the minute of the product.
    "session_check_ms": 5_000,
    # A drain task on a busy machine may take its time; how gateways help themselves has tests of its own.
    "drain_wait_ms": 10_000,
}


@dataclass
class Result:
    """``gap_s``: the longest time without any ✓. ``recovery_s``: from the end of the fault until each device has had a ✓.
    ``quiet_s``: from the last word until everybody has everything. ``grown_mb``: by how much each process grew at most."""

    fault: str
    seed: int
    sends: int = 0
    confirmed: int = 0
    changes: int = 0
    repeats: int = 0
    lasted_s: float = 0.0
    gap_s: float = 0.0
    recovery_s: float = 0.0
    quiet_s: float = 0.0
    grown_mb: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def line(self) -> str:
        verdict = "kept" if not self.problems else f"BROKEN: {len(self.problems)}"
        return (
            f"{self.fault:32} {self.seed:4}  {self.confirmed:5} ✓  lasted {self.lasted_s:5.1f} s  gap {self.gap_s:5.1f} s  "
            f"recovered {self.recovery_s:5.1f} s  quiet {self.quiet_s:4.1f} s  repeats {self.repeats:3}  "
            f"grown {max(self.grown_mb.values(), default=0):3} MB  {verdict}"
        )

    def json(self) -> dict[str, Any]:
        return asdict(self)


@contextlib.asynccontextmanager
async def place(
    fault: Fault, hold_s: float = HOLD_S, limits: Mapping[str, int] | None = None
) -> AsyncIterator[Field]:
    """A system as this fault needs it. ``limits`` go over those of a trial."""
    system = System(
        env={"WHATSAPP_TEST_BUILD": "1"}, fanout=True, beat=True, limits={**LIMITS, **(limits or {})}, cassandra=fault.nodes,
    )  # fmt: skip
    wires: dict[tuple[str, str], Wire] = {}
    with contextlib.ExitStack() as disks:
        if fault.small is not None:
            part, megabytes = fault.small
            disks.enter_context(servers.small_disk(servers.disk_of(system, part), megabytes))
        for name in fault.wired:
            child = system.stack.children[name]
            led = {}
            for variable in ("DATABASE_URL", "HOT_URL"):
                wire = wires[name, variable] = await Wire(system.stack.urls[variable]).start()
                led[variable] = wire.url
            child.spec.env = {**child.spec.env, **led}
        try:
            await asyncio.to_thread(system.start)
            yield Field(system, wires, hold_s)
        finally:
            await asyncio.to_thread(system.stop)
            for wire in wires.values():
                await wire.stop()


async def trial(
    here: Field,
    name: str,
    fault: Fault,
    seed: int,
    file: Path,
    *,
    patience_s: float = PATIENCE_S,
    after: int = AFTER,
) -> Result:
    """``file`` gets the history; ``after``: so many ✓ follow the recovery."""
    result = Result(name, seed)
    chronicle = Chronicle(file)
    crowd = here.crowd = Crowd(here.rig, seed, chronicle, patience_s)
    here.chance = random.Random(f"{name} {seed}")
    memory = Memory(here.system)
    watching = None
    try:
        await crowd.settle()
        crowd.begin()
        await crowd.go_on(BEFORE, "before")
        watching = asyncio.create_task(memory.watch())
        await _strike(here, fault, result)
        if not crowd.stop.is_set():
            await crowd.go_on(after, "after")
            await crowd.end()
        result.gap_s = _longest_gap(chronicle.confirmed_at)
        ended = chronicle.now
        verdict = await Verdict(crowd).reach()
        result.quiet_s = chronicle.now - ended
        if verdict.problems:
            here.note_lanes()
        memory.look()
        grown = memory.grown()
        result.grown_mb = {part: size >> 20 for part, size in grown.items()}
        problems = verdict.problems + [
            Problem(UNBOUNDED, f"{part} grew by {size >> 20} MB")
            for part, size in grown.items()
            if size > bound(part)
        ]
        result.problems += [f"{kind}: {what}" for kind, what in problems]
        result.sends, result.changes = len(chronicle.sends), len(chronicle.changes)
        result.confirmed = len(chronicle.confirmed_at)
        result.repeats = sum(device.seen.repeats for device in crowd.devices)
    finally:
        if watching is not None:
            watching.cancel()
        await crowd.leave()
        await here.rig.repair()
        chronicle.close()
    return result


async def _strike(here: Field, fault: Fault, result: Result) -> None:
    chronicle, crowd = here.crowd.chronicle, here.crowd
    began, before = chronicle.now, len(chronicle.confirmed_at)
    chronicle.note("strike")
    await fault.strike(here)
    chronicle.note("over")
    over = chronicle.now
    result.lasted_s = over - began
    if not fault.outage and result.lasted_s > 5:
        meanwhile = len(chronicle.confirmed_at) - before
        if not meanwhile:
            result.problems.append("outage: nobody could write meanwhile")
    if crowd.stop.is_set():
        return
    everybody = [device.id for device in crowd.devices]
    await until(
        lambda: crowd.failed() or all(chronicle.last.get(device, 0.0) > over for device in everybody),
        "everybody writes again",
        crowd.patience_s,
    )
    if not crowd.failed():
        result.recovery_s = max(chronicle.first_after(device, over) for device in everybody) - over


def _longest_gap(times: list[float]) -> float:
    return max((later - earlier for earlier, later in itertools.pairwise(times)), default=0.0)
