"""``./dev move``: the messages of a data folder go from PostgreSQL to Cassandra, and back while nothing was written there."""

from __future__ import annotations

import argparse
import os
import subprocess
import time
from typing import Any
from urllib.parse import urlsplit

from devtools import backup, bootstrap, external, java, ports, record, ring, running, unprivileged
from devtools.bootstrap import say
from devtools.errors import DevError
from devtools.paths import REPO, DataFolder
from devtools.stack import Stack


def run(args: argparse.Namespace) -> int:
    """Stop the system if it runs, start its servers alone, and let ``manage.py move_log`` do it. May be repeated after it was
    interrupted."""
    data = record.find(args.data)
    known = int(data.nodes.read_text()) if data.nodes.exists() else 0
    if args.back and not known:
        raise DevError(f"the messages of {data.root} are not on Cassandra")
    if not args.back and known:
        raise DevError(f"the messages of {data.root} are on Cassandra already")
    if not unprivileged.data_folder(data.postgres).exists() and "DATABASE_URL" not in os.environ:
        raise DevError(
            f"there are no messages in {data.root}; ./dev up --cassandra{record.words(data)} begins there with Cassandra"
        )
    bootstrap.ensure()
    java.program()
    ran, stopped = record.state(data), time.monotonic()
    if ran:
        say("stopping the system")
    running.stop(data)
    stack = servers(data, known or (3 if args.cluster else 1))
    try:
        stack.start()
        (back if args.back else forth)(stack)
    finally:
        stack.stop()
    print("\n".join(_after(data, ran, time.monotonic() - stopped, back=args.back)))
    return 0


def _after(data: DataFolder, ran: dict[str, Any], down_s: float, *, back: bool) -> list[str]:
    """What the user is told. ``ran``: what the system that was stopped wrote down about itself, ``down_s`` seconds ago."""
    words = record.words(data)
    port = urlsplit(ran.get("http") or "").port
    up = f"./dev up{f' --port {port}' if port not in (None, ports.PORT) else ''}{words}"
    lines = [f"The messages of {data.root} are {'in PostgreSQL' if back else 'on Cassandra'}. Next: {up}"]
    if ran:
        lines.append(f"The system has been down for {down_s:.0f} s, and stays so until then.")
    if not back:
        lines.append(f"Until something is written there the way back is ./dev move --back{words}")
    return lines


def servers(data: DataFolder, nodes: int) -> Stack:
    """Without anybody who uses them."""
    stack = Stack(
        data,
        port=ports.choose(),
        gateways=0,
        worker=False,
        fanout=False,
        beat=False,
        external=external.chosen(os.environ),
        cassandra=nodes,
        say=say,
    )
    stack.remembers = False
    stack.env["LOG_STORE"] = "postgres"
    return stack


def forth(stack: Stack) -> None:
    assert stack.ring is not None
    ring.sync(stack.python, stack.env, stack.data.logs / "sync_cassandra.log")
    # One that was interrupted when all was done but the note of it has nothing left to do.
    if "is on Cassandra" not in _asked(stack, "--status"):
        _ask(stack, "--to", "cassandra", "--cut-over", "--wait", "30")
    stack.data.nodes.write_text(f"{len(stack.ring.nodes)}\n")
    _begin_backups(stack)


def back(stack: Stack) -> None:
    if "is on Cassandra" in _asked(stack, "--status"):
        _ask(stack, "--back")
    stack.data.nodes.unlink()
    _begin_backups(stack)


def _begin_backups(stack: Stack) -> None:
    """The next ones are of another generation: what is restored has its messages where they were then."""
    backup.begin_anew(stack.data)


def _command(stack: Stack, *words: str) -> list[str]:
    return [str(stack.python), "manage.py", "move_log", *words]


def _ask(stack: Stack, *words: str) -> None:
    """Run ``move_log``, which tells the user what it does. Raises :class:`DevError` when it does not."""
    if subprocess.run(_command(stack, *words), cwd=REPO, env=stack.env, check=False).returncode:
        raise DevError("the messages were not moved; what is said above names the reason")


def _asked(stack: Stack, *words: str) -> str:
    found = subprocess.run(
        _command(stack, *words), cwd=REPO, env=stack.env, capture_output=True, text=True, check=False
    )
    if found.returncode:
        raise DevError(found.stderr.strip())
    return found.stdout
