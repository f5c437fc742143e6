"""``./dev backup``, ``backups``, ``restore``: see :mod:`devtools.backup`."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from devtools import backup as backups_of
from devtools import bootstrap, record, running, unprivileged
from devtools.bootstrap import say
from devtools.errors import DevError


def arguments(name: str, sub: argparse.ArgumentParser) -> None:
    """Of each of the three."""
    sub.add_argument(
        "--to" if name == "backup" else "--from", dest="vault", metavar="DIR", help="folder of the backups"
    )
    if name == "backups":
        sub.add_argument("--json", action="store_true")
    if name == "restore":
        sub.add_argument(
            "--until", metavar="TIME", help="not what was committed later, such as 2026-11-26T08:30:00Z"
        )
        sub.add_argument("--yes", action="store_true", help="delete the database that is there")


def _vault(args: argparse.Namespace) -> backups_of.Vault:
    if not args.vault:
        raise DevError("say which folder has the backups: --to DIR, or --from DIR", code=2)
    return backups_of.Vault(Path(args.vault))


def backup(args: argparse.Namespace) -> int:
    """A base backup of the running system."""
    data = record.find(args.data)
    state = record.state(data)
    if not state:
        raise DevError(f"nothing runs (data folder {data.root}); start it with ./dev up{record.words(data)}")
    if "postgres" not in state["processes"]:
        raise DevError("its PostgreSQL is an external one: back that up where it runs (docs/backup.md)")
    bootstrap.ensure(development=False)
    vault = _vault(args)
    server = backups_of.server_of(data, urlsplit(state["urls"]["database"]).port)
    made = backups_of.take(vault, data, server)
    print(f"{made.folder}")
    if "archive" not in state["processes"]:
        for folder in backups_of.take_nodes(vault, data):
            print(f"{folder}")
        say("what is written from now on is not in it: ./dev up --backups DIR keeps that too")
    return 0


def backups(args: argparse.Namespace) -> int:
    """What there is to restore."""
    found = backups_of.shown(_vault(args))
    if args.json:
        print(json.dumps(found, indent=1))
    else:
        print("\n".join(f"{one['endedAt']}  {one['folder']}" for one in found) or "no base backup")
    return 0 if found else 1


def restore(args: argparse.Namespace) -> int:
    """Make a data folder's database, media and secrets from backups; nothing runs from it meanwhile."""
    data = record.find(args.data)
    vault = _vault(args)
    until = backups_of.parse_time(args.until) if args.until else None
    backups_of.choose(vault, until)  # before anything is deleted
    if record.state(data):
        raise DevError(f"a system runs from {data.root}; stop it first: ./dev down")
    if args.yes:
        running.stop(data)
        shutil.rmtree(unprivileged.data_folder(data.postgres), ignore_errors=True)
        shutil.rmtree(data.cassandra, ignore_errors=True)
    bootstrap.ensure(development=False)
    done = backups_of.restore(vault, data, until=until, say=say)
    print(f"restored {data.root}, last commit {done.last_commit or 'that of the base backup'}")
    print(
        f"Next: ./dev up{record.words(data)} --backups {shlex.quote(str(vault.root))}\n"
        "and when it is ready: ./dev manage fsck --repair"
    )
    return 0
