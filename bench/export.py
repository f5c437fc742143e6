"""Archives of people's data: how many a second one worker makes, and the memory that takes: ``./dev bench export``.

On a system of its own; the accounts are those of ``./dev bench erasure``. Memory has to stay as it is however large an archive
gets (``--files``, ``--file-kb``). Exit code 1 if one was not made.
"""

from __future__ import annotations

import argparse
import sys

from bench.erasure import shape_of, shape_options
from bench.figures import Figures
from bench.phases import Bench
from bench.running import common_options, run
from bench.stepped import stepped


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
    args = bench.options
    wanted = {"accounts": args.accounts + 1, "shape": shape_of(args)}
    check = "every archive was made"
    return stepped(bench, "export", "bench.archived", wanted, wrong="not made", told=told, check=check)


def told(result: Figures) -> str:
    return (
        f"{result['archives_per_second']:.2f} archives/s of {result['mb_per_archive']:.2f} MB, "
        f"{result['mb_per_second']:.1f} MB/s; memory {result['peak_mb']:.0f} MB, grew by {result['growth_mb']:.1f} MB"
    )


if __name__ == "__main__":
    sys.exit(main())
