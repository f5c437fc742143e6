"""C1 to C7 under every fault of the catalogue (tests/faults/trials), with random workloads.

CI runs some, with one seed; ``./dev faults`` all of them, with five. One alone: ``./dev faults --only kill-valkey --seeds 1``.
The history of a trial that broke the contract and the logs of its system are kept, in ``.local/trials``.
"""

from __future__ import annotations

import os
import shutil
from functools import partial
from typing import Any

import pytest

from devtools.paths import REPO
from tests.faults.trials.catalogue import FAULTS
from tests.faults.trials.trial import HOLD_S, place, trial
from tests.support import early
from tests.support.noted import note

pytestmark = pytest.mark.needs_system

#: CI looks whether it recovers; how long what lasts may last is for ``./dev faults``.
QUICK_HOLD_S = 5.0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [name for name, fault in FAULTS.items() if fault.quick])
async def test_the_contract_is_kept(name: str) -> None:
    await _tried(name, [int(os.environ.get("WHATSAPP_SEED") or 1)], QUICK_HOLD_S)


@pytest.mark.long
@pytest.mark.timeout(1800, func_only=True)
@pytest.mark.parametrize("name", FAULTS)
async def test_trials(name: str) -> None:
    first = int(os.environ.get("WHATSAPP_SEED") or 1)
    count = int(os.environ.get("WHATSAPP_SEEDS") or 5)
    await _tried(name, list(range(first, first + count)), HOLD_S)


async def _tried(name: str, seeds: list[int], hold_s: float) -> None:
    fault = FAULTS[name]
    broken: list[str] = []
    async with place(fault, hold_s) as field:
        for seed in seeds:
            file = early.FOLDER / f"trial-{name}-{seed}.jsonl"
            result = await trial(field, name, fault, seed, file)
            print("\n" + result.line())
            note(partial(_add, result.json()))
            if result.problems:
                kept = REPO / ".local" / "trials" / file.name
                kept.parent.mkdir(parents=True, exist_ok=True)
                file.rename(kept)
                shutil.copytree(field.system.data / "logs", kept.with_suffix(".logs"), dirs_exist_ok=True)
                broken += [f"seed {seed}: {problem}" for problem in result.problems[:20]] + [
                    f"history: {kept}"
                ]
    assert not broken, "\n".join(broken)


def _add(result: dict[str, Any], known: dict[str, Any]) -> None:
    known.setdefault("trials", []).append(result)
