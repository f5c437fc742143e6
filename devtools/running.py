"""``up``, ``status``, ``down``, ``reset``, and the programs that talk to a running system."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

from devtools import answering, backup, bootstrap, external, java, media_servers, ports, record, unprivileged
from devtools.bootstrap import say
from devtools.errors import DevError
from devtools.paths import REPO, VENV_PYTHON, DataFolder
from devtools.processes import end_all, is_alive, of_stack, rotate
from devtools.stack import Stack
from devtools.supervisor import Supervisor

#: Each part has a limit of its own, and says so; this one is for a start that hangs, on a machine that is busy with other things.
_START_TIMEOUT = 300.0
#: The first time Cassandra is downloaded, and three nodes of it take a while on a small machine.
_CASSANDRA_TIMEOUT = 900.0


def up(args: argparse.Namespace) -> int:
    """Start everything, here or detached. On a running system nothing changes."""
    running = record.find(args.data)
    if state := record.state(running):
        if state["phase"] == "failed":
            raise DevError("the last start is still being undone; try again in a moment")
        if args.cassandra or args.cluster:
            _nodes(args, running)  # what runs may keep its messages elsewhere
        print(f"already {state['phase']} (data folder {running.root}); nothing was changed")
        print(_addresses(state) + _next(state) * (state["phase"] == "running"))
        return 0
    data = DataFolder(args.data or REPO / ".local")
    if data.whole:
        raise DevError(f"{data.root} is a part of the data folder {data.whole}; choose another: --data DIR")
    bootstrap.ensure()
    if not 0 < args.port < 65536:
        raise DevError(f"--port {args.port} is no port number")
    if not ports.is_free(args.port):
        raise DevError(
            f"port {args.port} is in use by another program; choose another: ./dev up --port {_another(args.port)}"
        )
    nodes = _nodes(args, data)
    media_servers.check(data, bucket=args.s3, backups=bool(args.backups))
    if args.push and os.environ.get("PUSH_APPS"):
        raise DevError("PUSH_APPS names apps of yours; --push has its own: give one of the two")
    urls = external.chosen(os.environ)
    external.check(urls)
    if args.detach and not args.supervise:
        return _detached(args, data)
    keys = _keys(args, data) if args.backups else None
    stack = Stack(
        data,
        port=args.port,
        gateways=max(1, args.gateways or max(2, os.cpu_count() or 1)),
        apis=1,
        external=urls,
        cassandra=nodes,
        vault=Path(args.backups).resolve() if args.backups else None,
        keys=keys,
        valkey_cluster=args.valkey_cluster,
        s3=args.s3,
        scanner=args.scanner,
        push=args.push,
        say=say,
    )

    def tell() -> None:
        if not args.supervise:  # else whoever started it does
            print(_addresses(stack.describe()) + _next(stack.describe()), flush=True)

    Supervisor(stack, say=say, on_ready=tell).run()
    return 0


def _nodes(args: argparse.Namespace, data: DataFolder) -> int:
    """How many nodes of Cassandra keep the messages of this folder; 0: PostgreSQL does. Raises :class:`DevError`."""
    wanted = 3 if args.cluster else 1 if args.cassandra else 0
    known = int(data.nodes.read_text()) if data.nodes.exists() else 0
    if wanted and not known and unprivileged.data_folder(data.postgres).exists():
        raise DevError(
            f"the data folder {data.root} keeps its messages in PostgreSQL; move them: ./dev move --data {data.root}"
            f"{' --cluster' * args.cluster}, or choose another: --data DIR"
        )
    if args.cluster and known == 1:
        raise DevError(
            f"the data folder {data.root} has one node of Cassandra, no cluster; choose another: --data DIR"
        )
    if known and os.environ.get("LOG_STORE") == "postgres":
        raise DevError(
            f"the data folder {data.root} keeps its messages on Cassandra, and LOG_STORE says postgres; the way back, while"
            f" nothing was written there: ./dev move --back --data {data.root}"
        )
    nodes = known or wanted
    if nodes:
        if os.environ.get("CASSANDRA_CONTACT_POINTS"):
            raise DevError(
                "CASSANDRA_CONTACT_POINTS names a cluster of yours: set LOG_STORE=cassandra instead of --cassandra"
            )
        java.program()
    return nodes


def _keys(args: argparse.Namespace, data: DataFolder) -> Path | None:
    """Where the keys of the backups are, made if there are none; what is to be known of them is said. Raises
    :class:`DevError`, also when the backups that there were are away."""
    backup.check_mounted(Path(args.backups), data)
    if not args.backup_keys:
        backup.Vault.of(Path(args.backups))
        say(f"the backups in {args.backups} are not encrypted; --backup-keys KEYS seals them")
        return None
    keys = Path(args.backup_keys).resolve()
    if keys.is_relative_to(data.root):
        raise DevError(
            f"the keys {keys} lie in the data folder, and would be lost with it: --backup-keys on another disk"
        )
    vault = backup.Vault.of(Path(args.backups), keys, make=True)
    disk = keys.stat().st_dev
    for folder, what in ((data.root, "the data are lost"), (vault.root, "the backups are copied or stolen")):
        if folder.exists() and folder.stat().st_dev == disk:
            say(f"{keys} is on one disk with {folder}: when {what}, so are the keys")
    return keys


def _detached(args: argparse.Namespace, data: DataFolder) -> int:
    """Start a supervisor of its own session, show its progress, return when everything is ready."""
    data.create()
    log = data.logs / "supervisor.log"
    rotate(log)
    command = [
        sys.executable,
        str(REPO / "dev"),
        "up",
        "--supervise",
        "--port",
        str(args.port),
        "--data",
        str(data.root),
    ]
    if args.gateways:
        command += ["--gateways", str(args.gateways)]
    command += ["--cassandra"] * args.cassandra + ["--cluster"] * args.cluster
    if args.backups:
        command += ["--backups", args.backups]
    if args.backup_keys:
        command += ["--backup-keys", args.backup_keys]
    if args.valkey_cluster:
        command.append("--valkey-cluster")
    command += ["--s3"] * args.s3 + ["--scanner"] * args.scanner + ["--push"] * args.push
    with log.open("ab") as out:
        shown = out.tell()
        child = subprocess.Popen(
            command,
            cwd=REPO,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    patience = _CASSANDRA_TIMEOUT if args.cassandra or args.cluster or data.nodes.exists() else _START_TIMEOUT
    deadline = time.monotonic() + patience
    while True:
        ended = child.poll() is not None
        state = record.state(data)
        with log.open("rb") as lines:
            lines.seek(shown)
            new = lines.read()
        shown += len(new)
        sys.stderr.write(new.decode("utf-8", "replace"))
        sys.stderr.flush()
        if ended:
            return child.returncode or 1
        if state.get("phase") == "running" and state.get("pid") == child.pid:
            print(_addresses(state) + _next(state))
            return 0
        if time.monotonic() > deadline:
            child.terminate()
            raise DevError(f"not everything was ready after {patience:.0f} s; see {data.logs}")
        time.sleep(0.05)


def status(args: argparse.Namespace) -> int:
    """What runs; 1 when something is down."""
    data = record.find(args.data)
    state = record.state(data)
    if not state:
        empty: dict[str, Any] = {
            "http": None,
            "ws": None,
            "processes": {},
            "gateways": {},
            "metrics": {},
            "urls": {},
            "log": {},
            "media": {},
            "data": str(data.root),
        }
        print(
            json.dumps(empty)
            if args.json
            else f"not running (data folder {data.root}); start it with ./dev up{record.words(data)}"
        )
        return 1
    down = sorted(
        name
        for name, pid in state["processes"].items()
        if not pid or not is_alive(pid) or name in state["starting"]
    )
    shown = {
        key: state.get(key, {})
        for key in ("http", "ws", "processes", "gateways", "metrics", "urls", "log", "media", "data")
    }
    parts = answering.parts(state["http"]) if state["phase"] == "running" and state["gateways"] else {}
    shown["processes"] = {name: None if name in down else pid for name, pid in state["processes"].items()}
    well = state["phase"] == "running" and not down and all(parts.values())
    if args.json:
        print(
            json.dumps(
                {
                    **shown,
                    "phase": state["phase"],
                    "down": down,
                    "parts": parts,
                    "restarts": state["restarts"],
                },
                indent=1,
            )
        )
    else:
        if state["phase"] != "running":
            print(f"{state['phase']} (data folder {data.root})")
        print(_addresses(state) + _next(state) * well)
        for name, pid in shown["processes"].items():
            print(f"  {name:12} {f'pid {pid}' if pid else 'DOWN'}{_restarts(state, name)}")
        for line in answering.words(parts):
            print(f"  {line}")
    return 0 if well else 1


def down(args: argparse.Namespace) -> int:
    """Stop the supervisor, which stops its children in order; then end whatever carries the data folder's mark."""
    data = record.find(args.data)
    stopped = stop(data)
    print(
        f"stopped (data folder {data.root})" if stopped else f"nothing was running (data folder {data.root})"
    )
    return 0


def stop(data: DataFolder) -> bool:
    """End every process of ``data``; whether there was one."""
    state = record.state(data)
    if state:
        os.kill(state["pid"], signal.SIGTERM)
        deadline = time.monotonic() + 75
        while is_alive(state["pid"], state["ticks"]):
            if time.monotonic() > deadline:
                say("the supervisor does not end: killing it")
                os.kill(state["pid"], signal.SIGKILL)
                break
            time.sleep(0.05)
    strays = end_all(lambda: of_stack(data.id, unprivileged.data_folder(data.postgres)))
    record.forget(data)
    data.state.unlink(missing_ok=True)
    return bool(state or strays)


def reset(args: argparse.Namespace) -> int:
    """Delete the data folder, after asking."""
    data = record.find(args.data)
    if not data.root.exists():
        print(f"there is no data folder {data.root}")
        return 0
    if not (data.run.is_dir() or data.secrets.exists() or data.root == REPO / ".local"):
        raise DevError(f"{data.root} does not look like a data folder; nothing was deleted")
    if not args.yes:
        if not sys.stdin.isatty():
            raise DevError("it would delete the data folder; say --yes if nobody can be asked")
        answer = input(f"Stop everything and delete {data.root} (database, messages, secrets, logs)? [y/N] ")
        if answer.strip().lower() not in ("y", "yes"):
            print("nothing was deleted")
            return 1
    stop(data)
    shutil.rmtree(unprivileged.data_folder(data.postgres), ignore_errors=True)
    shutil.rmtree(data.root)
    print(f"deleted {data.root}")
    return 0


def run_module(module: str, arguments: list[str], *, development: bool = False) -> NoReturn:
    """Become ``python -m module`` of ``.venv``."""
    bootstrap.ensure(development=development)
    os.chdir(REPO)
    os.execv(VENV_PYTHON, [str(VENV_PYTHON), "-m", module, *arguments])


def benches() -> list[str]:
    """Their names."""
    return sorted(
        file.stem
        for file in (REPO / "bench").glob("*.py")
        if "\ndef main(" in file.read_text() and file.stem != "__init__"
    )


def bench(arguments: list[str]) -> int:
    """``bench NAME …`` becomes ``python -m bench.NAME …``; without a name the benches are listed."""
    names = benches()
    if not arguments or arguments[0] not in names:
        wrong = f"there is no bench {arguments[0]}; " if arguments else ""
        raise DevError(f"{wrong}say which: ./dev bench {{{','.join(names)}}} [--json FILE]", code=2)
    run_module(f"bench.{arguments[0]}", arguments[1:])


def drill(arguments: list[str]) -> int:
    """``drill NAME …``."""
    if arguments[:1] != ["restore"]:
        raise DevError("say which: ./dev drill restore [--seconds N] [--json FILE]", code=2)
    run_module("devtools.drill", arguments[1:])


def _another(port: int) -> int:
    return next((other for other in range(port + 1, port + 200) if ports.is_free(other)), port + 1)


def _restarts(state: dict[str, Any], name: str) -> str:
    count = state["restarts"].get(name, 0)
    return f", started again {count} times" if count > 1 else ", started again once" if count else ""


def _lacking() -> str:
    """What works less on this machine than it could."""
    if shutil.which("ffmpeg"):
        return ""
    return """
  no ffmpeg  videos and sound wait until it is installed (apt-get install ffmpeg), but for those that are end-to-end encrypted"""


def _addresses(state: dict[str, Any]) -> str:
    nodes = sum(name.startswith("cassandra-") for name in state["processes"])
    log = f"""
  messages   on {nodes} node{"s" * (nodes > 1)} of Cassandra        (./dev nodetool status)""" * bool(nodes)
    media = state.get("media", {})
    if "S3_BUCKET" in media:
        log += f"""
  files      in the bucket {media["S3_BUCKET"]} on {media["S3_ENDPOINT_URL"]}"""
    if "CLAMD_URL" in media:
        log += f"""
  scanner    {media["CLAMD_URL"]}        (knows the EICAR test file, nothing else)"""
    if state.get("push"):
        log += f"""
  pushes     {state["data"]}/push.jsonl        (of the apps ios and android)"""
    return f"""
  HTTP       {state["http"]}        (health: {state["http"]}/health/ready)
  WebSocket  {state["ws"]}
  API        {state["http"]}/schema/docs        (a page that explains it and makes calls)
  SMS codes  {state["data"]}/sms.jsonl
  logs       {state["data"]}/logs/{log}{_lacking()}
"""


def _next(state: dict[str, Any]) -> str:
    """What to type next, of what runs."""
    return f"""
Next, in two terminals:
  ./dev chat +15550001
  ./dev chat +15550002 --to +15550001
or see two people chat by themselves: ./dev demo
The admin, {state["http"]}/admin/: ./dev admin makes a way in        (./dev down stops everything)
"""
