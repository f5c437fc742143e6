"""A bench whose load is one step of management, in a process beside the system: its figures, and what went wrong in it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from bench.figures import Figures
from bench.machine import load_average, machine, versions
from bench.phases import Bench
from bench.running import verdict


def stepped(
    bench: Bench,
    name: str,
    step: str,
    wanted: dict[str, Any],
    *,
    wrong: str,
    told: Callable[[Figures], str],
    check: str,
) -> Figures:
    """``step``: the module that does it, given ``wanted``; it returns figures, with ``problems``. ``wrong``: what each of them
    is; ``check``: what is so without any."""
    system = bench.system
    found = system.step(step, wanted)
    for problem in found.pop("problems"):
        bench.blame({wrong: 1}, [problem])
    result: Figures = {
        "bench": name,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(system.folder),
        "versions": versions(system),
        "load": wanted,
        **found,
        "load_average": round(load_average(), 2),
    }
    print(told(result), flush=True)
    result["checks"] = verdict(bench, check)
    return result
