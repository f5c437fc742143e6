"""``./dev backup``, ``backups``, ``restore``: see :mod:`devtools.backup`."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shlex
import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit

from devtools import backup as backups_of
from devtools import bootstrap, keyring, record, restoring, running, unprivileged
from devtools.bootstrap import say
from devtools.errors import DevError
from devtools.paths import REPO, VENV_PYTHON


def arguments(name: str, sub: argparse.ArgumentParser) -> None:
    """Of each of the three."""
    sub.add_argument(
        "--to" if name == "backup" else "--from", dest="vault", metavar="DIR", help="folder of the backups"
    )
    keys_argument(sub)
    if name == "backups":
        sub.add_argument("what", nargs="?", choices=["shred"], help="end what is older than --before")
        sub.add_argument(
            "--before", metavar="TIME", help="of shred: base backups that began earlier, and their log"
        )
        sub.add_argument("--json", action="store_true")
    if name == "restore":
        sub.add_argument(
            "--until", metavar="TIME", help="not what was committed later, such as 2026-11-26T08:30:00Z"
        )
        sub.add_argument("--yes", action="store_true", help="delete the database that is there")


def keys_argument(sub: argparse.ArgumentParser) -> None:
    """Of whatever has to do with a vault."""
    sub.add_argument(
        "--backup-keys",
        metavar="KEYS",
        default=os.environ.get(keyring.VARIABLE),
        help=f"folder of the keys that backups are sealed by, on another disk (default: {keyring.VARIABLE})",
    )


def chosen(args: argparse.Namespace) -> Path | None:
    """The folder of the keys."""
    return Path(args.backup_keys).resolve() if args.backup_keys else None


def _vault(args: argparse.Namespace, *, make: bool = False) -> backups_of.Vault:
    if not args.vault:
        raise DevError("say which folder has the backups: --to DIR, or --from DIR", code=2)
    keys = chosen(args)
    return backups_of.Vault.of(Path(args.vault), keys, make=make and keys is not None)


def _in_venv(vault: backups_of.Vault) -> None:
    """Sealing takes a package that the Python of ./dev need not have."""
    bootstrap.ensure(development=False)
    if vault.ring and importlib.util.find_spec("cryptography") is None:
        os.execv(VENV_PYTHON, [str(VENV_PYTHON), str(REPO / "dev"), *sys.argv[1:]])


def backup(args: argparse.Namespace) -> int:
    """A base backup of the running system."""
    data = record.find(args.data)
    state = record.state(data)
    if not state:
        raise DevError(f"nothing runs (data folder {data.root}); start it with ./dev up{record.words(data)}")
    if "postgres" not in state["processes"]:
        raise DevError("its PostgreSQL is an external one: back that up where it runs (docs/backup.md)")
    vault = _vault(args, make=True)
    _in_venv(vault)
    server = backups_of.server_of(data, urlsplit(state["urls"]["database"]).port)
    made = backups_of.take(vault, data, server)
    print(f"{made.folder}")
    if "archive" not in state["processes"]:
        for folder in backups_of.take_nodes(vault, data):
            print(f"{folder}")
        say("what is written from now on is not in it: ./dev up --backups DIR keeps that too")
    elif asked := backups_of.ask_nodes(vault, data):
        say(f"tables of {', '.join(asked)} are kept within a minute; what writes the archive does it")
    return 0


def backups(args: argparse.Namespace) -> int:
    """What there is to restore."""
    vault = _vault(args)
    if args.what == "shred":
        return _shred(args, vault)
    found = backups_of.shown(vault)
    if args.json:
        print(json.dumps(found, indent=1))
    else:
        print(
            "\n".join(f"{one['endedAt']}  {one['folder']}{_KEY[one['key']]}" for one in found)
            or "no base backup"
        )
    return 0 if found else 1


_KEY = {
    None: "  not sealed",
    "there": "  sealed",
    "destroyed": "  SEALED, AND ITS KEY IS DESTROYED",
    "missing": "  SEALED, AND ITS KEY IS MISSING",
}


def _shred(args: argparse.Namespace, vault: backups_of.Vault) -> int:
    """Destroy keys, wherever copies of what they sealed may lie."""
    if not args.before:
        raise DevError("say what is to end: --before TIME", code=2)
    number = backups_of.shred_before(vault, backups_of.parse_time(args.before))
    print(f"{number} base backups and their log are gone")
    if number and vault.ring is None:
        say("they were not sealed: copies of them elsewhere can still be read")
    return 0


def restore(args: argparse.Namespace) -> int:
    """Make a data folder's database, media and secrets from backups; nothing runs from it meanwhile."""
    data = record.find(args.data)
    vault = _vault(args)
    until = backups_of.parse_time(args.until) if args.until else None
    restoring.check(vault, restoring.choose(vault, until), until)  # before anything is deleted
    if record.state(data):
        raise DevError(f"a system runs from {data.root}; stop it first: ./dev down")
    _in_venv(vault)
    if args.yes:
        running.stop(data)
        shutil.rmtree(unprivileged.data_folder(data.postgres), ignore_errors=True)
        shutil.rmtree(data.cassandra, ignore_errors=True)
    done = restoring.restore(vault, data, until=until, say=say)
    print(f"restored {data.root}, last commit {done.last_commit or 'that of the base backup'}")
    print(
        f"Next: ./dev up{record.words(data)} --backups {shlex.quote(str(vault.root))}"
        f"{f' --backup-keys {shlex.quote(str(vault.ring.root))}' if vault.ring else ''}\n"
        f"and when it is ready: ./dev manage fsck --repair{_erase_again(vault)}"
    )
    return 0


def _erase_again(vault: backups_of.Vault) -> str:
    """What erases anew whom the backup has brought back."""
    if vault.ring is None or not vault.ring.erased.exists():
        return ""
    return f"\nand ./dev manage erase_again {shlex.quote(str(vault.ring.erased))}"
