"""The commands of ``./dev``: what is on the command line, and which function does it."""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Callable, Sequence

from devtools import faults, fuzz, manage, model, move, quality, running, vaults
from devtools.arguments import positive
from devtools.errors import DevError
from devtools.ports import PORT

DESCRIPTION = "One command for everything: runs the system on this machine, tests it, measures it."


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(prog="./dev", description=DESCRIPTION)
    commands = top.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(
        name: str, function: Callable[[argparse.Namespace], int], text: str
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=text, description=text)
        sub.set_defaults(function=function, parser=sub)  # whose usage an error shows
        return sub

    def data(sub: argparse.ArgumentParser) -> None:
        sub.add_argument("--data", metavar="DIR", help="data folder (default: the running one, else .local)")

    up = command("up", running.up, "start everything (installs what is missing first)")
    up.add_argument(
        "--detach", action="store_true", help="return when everything is ready; ./dev down stops it"
    )
    up.add_argument(
        "--port", type=int, default=PORT, metavar="N", help=f"port of HTTP and WebSocket (default {PORT})"
    )
    up.add_argument("--data", metavar="DIR", help="data folder (default .local)")
    up.add_argument(
        "--gateways", type=int, metavar="N", help="gateway processes (default: one a core, at least 2)"
    )
    up.add_argument(
        "--cassandra",
        action="store_true",
        help="keep the messages on Cassandra (a new data folder; it remembers). Gets it the first time; needs Java",
    )
    up.add_argument(
        "--cluster",
        action="store_true",
        help="three nodes of Cassandra on addresses of their own, three copies",
    )
    up.add_argument(
        "--backups",
        metavar="DIR",
        help="keep base backups, PostgreSQL's log as it is written, and the media in this folder",
    )
    vaults.keys_argument(up)
    up.add_argument(
        "--valkey-cluster",
        action="store_true",
        help="hot state on a Valkey Cluster of three masters and three replicas, beside the one server for broker and cache",
    )
    up.add_argument(
        "--s3",
        action="store_true",
        help="keep uploaded files on an S3 server (a new data folder; it remembers). Gets it the first time; needs Java",
    )
    up.add_argument(
        "--scanner",
        action="store_true",
        help="a ClamAV daemon that knows the EICAR test file (Debian's clamav-daemon)",
    )
    up.add_argument(
        "--push",
        action="store_true",
        help="push notifications without an account anywhere: what APNs and FCM on this machine accept is in push.jsonl",
    )
    up.add_argument("--supervise", action="store_true", help=argparse.SUPPRESS)  # what --detach starts

    status = command("status", running.status, "what runs, and where; non-zero exit when something is down")
    status.add_argument("--json", action="store_true", help="for programs: also every URL, with its password")
    data(status)
    data(command("down", running.down, "stop everything of the data folder"))
    reset = command("reset", running.reset, "stop everything and delete the data folder")
    reset.add_argument("--yes", action="store_true", help="do not ask")
    data(reset)

    move_ = command("move", move.run, "move the messages of a data folder from PostgreSQL to Cassandra")
    move_.add_argument("--cluster", action="store_true", help="to three nodes instead of one")
    move_.add_argument("--back", action="store_true", help="and back, while nothing was written on Cassandra")
    data(move_)

    for name, module, text in (
        ("chat", "devtools.chat", "interactive client: ./dev chat +15550001 --to +15550002"),
        ("demo", "devtools.demo", "two people chat while a gateway is killed"),
    ):
        command(name, functools.partial(_module, module), text).set_defaults(takes_rest=True)
    for name, act, text in (
        ("admin", manage.admin, "a way into the admin of the running system: name, password, code"),
        ("manage", manage.manage, "Django's manage.py for the running system: ./dev manage createsuperuser"),
        ("nodetool", manage.nodetool, "look after nodes of Cassandra: ./dev nodetool status"),
    ):
        sub = command(name, functools.partial(_rest, act), text)
        sub.set_defaults(takes_rest=True)
        sub.add_argument(
            "--data", metavar="DIR", help="given first: data folder (default: the running one, else .local)"
        )
        if name == "manage":
            sub.usage = "./dev manage [--data DIR] COMMAND …"
            sub.epilog = "Its commands: ./dev manage help"
        elif name == "nodetool":
            sub.usage = "./dev nodetool [--data DIR] [NODE] COMMAND …"
            sub.epilog = "NODE: cassandra-1 … (./dev status); without it, one that runs. Its commands: ./dev nodetool help"
        else:
            sub.usage = "./dev admin [--data DIR] [NAME] [--password PASSWORD]"
            sub.epilog = (
                "NAME (admin) is made the first time; its password is printed then, and set by --password. "
                "The code is the next one each time."
            )
    bench = command("bench", lambda args: running.bench(args.rest), "measure: ./dev bench NAME [--json FILE]")
    bench.set_defaults(takes_rest=True)
    bench.usage = "./dev bench NAME [--json FILE] …"
    bench.epilog = f"NAME: {', '.join(running.benches())}. What else each takes: ./dev bench NAME --help"

    for name, make, text in (
        ("backup", vaults.backup, "make a base backup of the running system now: ./dev backup --to DIR"),
        (
            "backups",
            vaults.backups,
            "what can be restored from a folder: ./dev backups --from DIR; shred: end what is old",
        ),
        (
            "restore",
            vaults.restore,
            "make a data folder from backups: ./dev restore --from DIR [--until TIME]",
        ),
    ):
        sub = command(name, make, text)
        vaults.arguments(name, sub)
        data(sub)
    drills = command(
        "drill", lambda args: running.drill(args.rest), "rehearse a disaster: ./dev drill restore"
    )
    drills.set_defaults(takes_rest=True)
    drills.usage = "./dev drill restore …"
    drills.epilog = "What it takes: ./dev drill restore --help"

    test = command(
        "test",
        lambda args: quality.test(args.rest),
        "run the tests: [--all | --store cassandra | --hot cluster] [--again N] [pytest arguments]",
    )
    test.set_defaults(takes_rest=True)
    test.usage = "./dev test [--all | --store cassandra | --hot cluster] [--again N] [pytest arguments]"
    test.add_argument(
        "--all",
        action="store_true",
        help="leave nothing out and let nothing be skipped: also what needs packages of the operating system and Java, "
        "which are installed where that is allowed",
    )
    test.add_argument(
        "--store",
        choices=("postgres", "cassandra"),
        help="cassandra: the tests of whole systems, with their messages on Cassandra",
    )
    test.add_argument(
        "--hot",
        choices=("node", "cluster"),
        help="cluster: the same tests, with hot state on a Valkey Cluster",
    )
    test.epilog = (
        "In two processes, each with servers of its own (-n 0: in one). What pytest takes: tests/gateway, -k NAME, -x … "
        "(.venv/bin/python -m pytest --help). What takes long: ./dev faults"
    )
    fault = command(
        "faults",
        faults.run,
        "the long tests: trials of every fault with random workloads, nodes of Cassandra killed under load, and more (hours)",
    )
    fault.add_argument(
        "--seed", type=int, default=1, metavar="N", help="another choice of victims (default 1)"
    )
    fault.add_argument(
        "--seeds",
        type=positive,
        default=5,
        metavar="N",
        help="trials: so many seeds from there on (default 5)",
    )
    fault.add_argument(
        "--only",
        metavar="NAME",
        help="this fault, such as kill-valkey (docs/faults.md has them all); else those whose name has it, such as killed or"
        " frozen, or what pytest's -k takes",
    )
    fault.add_argument(
        "--jobs",
        type=positive,
        default=1,
        metavar="N",
        help="so many tests at a time, each with servers of its own (default 1)",
    )
    fault.add_argument("--json", metavar="FILE", help="write the printed figures there")
    model.arguments(
        command(
            "model",
            model.run,
            "search the protocol of the engine with a model checker: ./dev model [MODEL [VARIANT]] [--trail]",
        )
    )
    fuzz.arguments(
        command(
            "fuzz",
            fuzz.run,
            "bytes of strangers against codecs and the socket's parser, coverage-guided: ./dev fuzz [TARGET] [--seconds N]",
        )
    )
    command(
        "lint",
        lambda args: quality.lint(),
        "ruff, mypy, imports, generated files, migrations, production settings, advisories",
    )
    lock = command(
        "lock", lambda args: quality.lock(args.upgrade), "make requirements*.txt anew from requirements*.in"
    )
    lock.add_argument("--upgrade", action="store_true", help="to the newest versions")
    install = command(
        "install",
        lambda args: quality.install(not args.runtime),
        "make .venv with everything that tests and lint need",
    )
    install.add_argument("--runtime", action="store_true", help="only what `up` needs")
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; its exit code. An error is a sentence on stderr."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    top = parser()
    args, rest = top.parse_known_args(_without_help(words))
    args.rest = words[1:] if getattr(args, "takes_rest", False) else []
    if rest and not args.rest:
        args.parser.error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        return int(args.function(args))
    except DevError as error:
        print(f"./dev {args.command}: {error}", file=sys.stderr)
        return error.code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1


def _module(module: str, args: argparse.Namespace) -> int:
    running.run_module(module, args.rest)


def _rest(act: Callable[[list[str]], int], args: argparse.Namespace) -> int:
    return act(args.rest)


def _without_help(words: list[str]) -> list[str]:
    """What follows a command that passes its arguments on is the other program's; ``--help`` alone is ours, or of our clients."""
    if words[:1] in (["chat"], ["demo"]):
        return words[:1]
    if words[:1] in (["admin"], ["bench"], ["drill"], ["manage"], ["nodetool"], ["test"]):
        return words[:2] if words[1:] in (["-h"], ["--help"]) else words[:1]
    return words
