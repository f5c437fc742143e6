"""Accounts that end: how many a second end, and go out of every store; how long a search for what is left takes, for one and for
a hundred people: ``./dev bench erasure``.

On a system of its own. Each account has 20 conversations, 500 messages, two devices, files. The search reads every table, key
and name of a file, so its figure says something beside ``rows`` and ``database_mb`` alone. Exit code 1 if an account was not
erased wholly.
"""

from __future__ import annotations

import argparse
import sys

from bench.figures import Figures
from bench.phases import Bench
from bench.running import common_options, run
from bench.stepped import stepped


def shape_options(parser: argparse.ArgumentParser) -> None:
    """What each account has; :func:`shape_of` reads them."""
    parser.add_argument("--conversations", type=int, default=20, help="a tenth are groups (default 20)")
    parser.add_argument("--messages", type=int, default=500, help="in all of them (default 500)")
    parser.add_argument("--devices", type=int, default=2, help="default 2")
    parser.add_argument("--files", type=int, default=10, help="that were sent (default 10)")
    parser.add_argument("--file-kb", type=int, default=200, help="size of each (default 200)")


def shape_of(args: argparse.Namespace) -> dict[str, int]:
    names = ("conversations", "messages", "devices", "files", "file_kb")
    return {name: getattr(args, name) for name in names}


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="./dev bench erasure", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--accounts", type=int, default=50, help="that are erased (default 50)")
    parser.add_argument("--crowd", type=int, default=100, help="searched for at once (default 100)")
    parser.add_argument("--rows", type=int, default=1_000_000, help="of others beside (default 1,000,000)")
    shape_options(parser)
    common_options(parser)
    return parser


def main() -> int:
    args = options().parse_args()
    args.clients, args.generators = 1, 0  # a management step does it
    return run("erasure", args, measure)


def measure(bench: Bench) -> Figures:
    args = bench.options
    wanted = {"accounts": args.accounts, "crowd": args.crowd, "rows": args.rows, "shape": shape_of(args)}
    check = "every account went out of every store, and a search found nothing"
    return stepped(bench, "erasure", "bench.erased", wanted, wrong="not erased", told=told, check=check)


def told(result: Figures) -> str:
    searches = ", ".join(
        f"{seconds:.2f} s for {people}" for people, seconds in result["search_seconds"].items()
    )
    return (
        f"ended {result['ends_per_second']:.1f} accounts/s, erased {result['accounts_per_second']:.2f} accounts/s "
        f"({result['ms_per_account']} ms each)\n"
        f"search through {result['rows']:,} rows, {result['database_mb']:.0f} MB: {searches}"
    )


if __name__ == "__main__":
    sys.exit(main())
