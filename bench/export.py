"""Archives of people's data: how many a second one worker makes, and the memory that takes: ``./dev bench export``.

On a system of its own; the accounts are those of ``./dev bench erasure``. Memory has to stay as it is however large an archive
gets (``--files``, ``--file-kb``). Exit code 1 if one was not made.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from bench.erasure import shape_of, shape_options
from bench.figures import Figures
from bench.machine import load_average, machine, versions
from bench.phases import Bench
from bench.running import common_options, run, verdict


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./dev bench export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--accounts", type=int, default=50, help="archives; one more is not counted (default 50)"
    )
    shape_options(parser)
    common_options(parser)
    return parser


def main() -> int:
    args = options().parse_args()
    args.clients, args.generators = 1, 0  # a management step does it
    return run("export", args, measure)


def measure(bench: Bench) -> Figures:
    args, system = bench.options, bench.system
    wanted = {"accounts": args.accounts + 1, "shape": shape_of(args)}
    found = system.step("bench.archived", wanted)
    for problem in found.pop("problems"):
        bench.blame({"not made": 1}, [problem])
    result: Figures = {
        "bench": "export",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(system.folder),
        "versions": versions(system),
        "load": wanted,
        **found,
        "load_average": round(load_average(), 2),
    }
    print(told(result), flush=True)
    result["checks"] = verdict(bench, "every archive was made")
    return result


def told(result: Figures) -> str:
    return (
        f"{result['archives_per_second']:.2f} archives/s of {result['mb_per_archive']:.2f} MB, "
        f"{result['mb_per_second']:.1f} MB/s; memory {result['peak_mb']:.0f} MB, grew by {result['growth_mb']:.1f} MB"
    )


if __name__ == "__main__":
    sys.exit(main())
