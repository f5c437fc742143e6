"""What every bench of a whole system shares: its options, and the system with its generators, of which nothing is left."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bench.cores import Cores
from bench.cpu import Gone
from bench.frames import CODECS
from bench.generator import Generators, LoadError
from bench.phases import Bench
from bench.stack import System
from devtools import packages
from devtools.errors import DevError
from devtools.packages import Package
from devtools.paths import REPO


def common_options(parser: argparse.ArgumentParser) -> None:
    """Options that mean the same everywhere. :func:`running` also reads ``clients``, the cores of the generators, and
    ``generators``, their number if it is another."""
    parser.add_argument("--json", type=Path, metavar="FILE", help="every printed figure, under stable keys")
    parser.add_argument("--codec", choices=sorted(CODECS), default="json")
    parser.add_argument(
        "--body-bytes", type=int, default=221, help="encryptedContent before base64 (default 221)"
    )
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="where to make the temporary data folder (default .local)"
    )
    parser.add_argument(
        "--cassandra", type=int, choices=(0, 1, 3), default=0, metavar="NODES",
        help="keep the messages on so many nodes of Cassandra, 1 or 3 (default: on PostgreSQL)",
    )  # fmt: skip
    parser.add_argument(
        "--valkey-cluster",
        action="store_true",
        help="keep hot state on three masters and three replicas (default: on one server)",
    )
    parser.add_argument(
        "--limit", action="append", type=_limit, default=[], metavar="NAME=NUMBER",
        help="another value for one of whatsapp/infra/limits.py, to see what it does; may be repeated",
    )  # fmt: skip
    parser.add_argument("--keep", action="store_true", help="leave the data folder (logs, database)")


def _limit(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    return name, int(number)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@contextmanager
def running(args: argparse.Namespace) -> Iterator[Bench]:
    """A running system and its generators; afterwards none of it is left."""
    parent = args.data or REPO / ".local"
    parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="bench-", dir=parent)).resolve()
    folder.chmod(0o711)  # PostgreSQL may run as another user
    cores = Cores.choose(args.clients)
    system = System(
        folder,
        cores,
        say,
        cassandra=args.cassandra,
        valkey_cluster=args.valkey_cluster,
        limits=dict(args.limit),
        s3=getattr(args, "s3", False),
        apis=getattr(args, "apis", 0),
        env=getattr(args, "env", None),
        workers=getattr(args, "workers", True),
    )
    generators = None
    try:
        system.start()
        generators = Generators(getattr(args, "generators", args.clients))
        yield Bench(args, system, generators, say)
    finally:
        if generators is not None:
            generators.close()
        system.stop()
        if args.keep:
            say(f"kept {folder}")
        else:
            if system.stack.postgres is not None:
                shutil.rmtree(system.stack.postgres.folder, ignore_errors=True)
            shutil.rmtree(folder, ignore_errors=True)


def verdict(bench: Bench, kept: str) -> dict[str, Any]:
    """The ``checks`` of a result, told: ``kept`` says what held if nothing was wrong."""
    said = (
        f"CHECKS FAILED: {dict(bench.problems)} {bench.examples[:5]}" if bench.problems else f"checks: {kept}"
    )
    print(said, flush=True)
    return {"problems": dict(bench.problems), "examples": bench.examples[:20]}


def run(
    name: str,
    args: argparse.Namespace,
    measure: Callable[[Bench], dict[str, Any]],
    needed: Sequence[Package] = (),
) -> int:
    """``./dev bench NAME``: measure on a system of its own, write ``--json``; the exit code. ``needed``: of the operating system,
    installed before anything starts, or told."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is stopped
    try:
        packages.ensure(needed, f"bench {name}")
        with running(args) as bench:
            result = measure(bench)
    except (DevError, LoadError, Gone, RuntimeError) as error:
        print(f"bench {name}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    return 1 if result["checks"]["problems"] else 0
