"""Making the database, the media and the secrets of a data folder again, from what :mod:`devtools.backup` has kept."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from devtools import sealed, sealed_base, unprivileged
from devtools.backup import SECRETS, Base, Vault, archive_of, begin_anew, copy_new, nodes_of, server_of
from devtools.errors import DevError
from devtools.keyring import stamp
from devtools.paths import REPO, DataFolder
from devtools.postgres import PostgresServer
from devtools.processes import Child
from devtools.segments import SUFFIX, UNOPENED

#: Of files that cannot be opened so many are named.
SHOWN = 5


class Restored(NamedTuple):
    base: Base
    last_commit: str  # as PostgreSQL's log says it, "": nothing was replayed


def choose(vault: Vault, until: float | None) -> Base:
    """The newest base backup, or the newest that was whole before ``until``. Raises :class:`DevError`."""
    bases = vault.bases()
    if not bases:
        raise DevError(f"there is no base backup in {vault.root}")
    fitting = [base for base in bases if until is None or base.ended_at < until]
    if not fitting:
        raise DevError(f"the oldest base backup is of {stamp(bases[0].ended_at)}: there is nothing earlier")
    return fitting[-1]


def check(vault: Vault, base: Base, until: float | None) -> None:
    """Whether every key that it takes is there, and no segment is missing. Raises :class:`DevError`; nothing is touched."""
    log = vault.log(base.generation)
    needed = [base.folder / sealed_base.NAME] if base.key_id else []
    needed += [vault.root / SECRETS] if (vault.root / SECRETS).exists() else []
    needed += [path for path in log.sealed() if path.name[8:] >= str(base.about.get("firstWal", ""))[8:]]
    if needed and vault.ring is None:
        raise DevError(f"{needed[0]} is sealed; say where its key is: --backup-keys KEYS")
    for path in needed:
        if vault.ring:
            vault.ring.key(sealed.key_id_of(path), path)
    for root in (base.generation / "nodes").glob("node-*"):
        archive_of(vault, base.generation, root).check(until)
    missing = log.gap(str(base.about.get("firstWal", ""))) if until is None else ""
    if missing:
        raise DevError(
            f"segment {missing} of the log is missing in {base.generation / 'wal'}; what was before it can be had with --until"
        )


def restore(
    vault: Vault,
    data: DataFolder,
    *,
    until: float | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Restored:
    """Make the database of a data folder that has none, up to ``until`` (seconds; None: everything there is), with media and
    secrets. What the hot node, the broker and the cache held is not kept: it is made again. Raises :class:`DevError`."""
    base = choose(vault, until)
    check(vault, base, until)
    databases = [unprivileged.data_folder(data.postgres) / "PG_VERSION"]
    databases += [node / "data" for node in nodes_of(data)]
    for there in databases:
        if there.exists():  # said before its secrets are replaced
            raise DevError(
                f"{there.parent} holds a database; restore into an empty data folder, or say --yes"
            )
    data.create()
    data.nodes.unlink(missing_ok=True)
    _restore_secrets(vault, data)
    server = server_of(data)
    shutil.rmtree(data.valkey, ignore_errors=True)
    _restore_nodes(vault, base.generation, data, until, say)
    begin_anew(data)
    say(f"base backup of {stamp(base.ended_at)}")
    draft = server.folder.with_name(server.folder.name + ".new")
    spool = draft.with_name(draft.name + ".wal")
    for folder in (draft, spool):
        shutil.rmtree(folder, ignore_errors=True)
    try:
        _restore_base(vault, base, draft)
        if unprivileged.mode() == "nobody":
            vault.log(base.generation).fetch_all(spool)
            unprivileged.hand_over(spool)
            command = f"cp {_quoted(spool)}/%f %p"
        else:
            command = _command(vault, base, spool)
        (draft / "recovery.signal").touch(mode=0o600)
        unprivileged.hand_over(draft)
        draft.rename(server.folder)
        last = _recover(server, command, until)
    except BaseException:
        # Half a database is none.
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(server.folder, ignore_errors=True)
        raise
    finally:
        shutil.rmtree(spool, ignore_errors=True)
    say(f"log replayed, last commit {last or 'none'}")
    _restore_media(vault, data, until, say)
    return Restored(base, last)


def _restore_secrets(vault: Vault, data: DataFolder) -> None:
    there = vault.root / SECRETS
    with sealed.Draft(data.secrets) as draft:
        if vault.ring and there.exists():
            sealed.unseal(there, draft.file, vault.ring, SECRETS)
        else:
            draft.file.write((vault.root / "secrets.json").read_bytes())
        draft.keep()


def _restore_base(vault: Vault, base: Base, target: Path) -> None:
    if base.key_id:
        assert vault.ring is not None, "checked before"
        name = sealed_base.bound(base.folder, base.about)
        sealed_base.unpack(base.folder / sealed_base.NAME, target, vault.ring, name)
    else:
        shutil.copytree(base.folder / "data", target, symlinks=True)


def _restore_media(vault: Vault, data: DataFolder, until: float | None, say: Callable[[str], None]) -> None:
    """Raises :class:`DevError` when some could not be opened; all others are there then."""
    number = copy_new(vault.root / "media", data.root / "media")
    if vault.copies is None:
        say(f"{number} files of media")
        return
    found = vault.copies.restore(data.root / "media", until)
    left_out = f", {found.destroyed} whose keys were destroyed left out" if found.destroyed else ""
    say(f"{number + found.files} files of media{left_out}")
    if found.lost:
        raise DevError(
            f"the database is restored, and {len(found.lost)} files of media are not: {'; '.join(found.lost[:SHOWN])}"
        )


def _quoted(path: Path) -> str:
    return shlex.quote(str(path)).replace("%", "%%")


def _command(vault: Vault, base: Base, spool: Path) -> str:
    """How PostgreSQL gets a segment."""
    wal = base.generation / "wal"
    if vault.ring is None:
        # The newest segment is still being written when the server goes. One that was only begun is zeros, and is none.
        newest = f"{_quoted(wal)}/%f.partial"
        written = f"test -e {newest} && ! cmp -s -n $(wc -c < {newest}) {newest} /dev/zero"
        return f"cp {_quoted(wal)}/%f %p 2>/dev/null || {{ {written} && cp {newest} %p; }}"
    spool.mkdir(mode=0o700)
    # Python is started for what is there; most of what PostgreSQL asks for is not.
    there = [f"{_quoted(wal)}/%f{SUFFIX}"]
    for folder in (wal, vault.ring.receiving(base.generation.name)):
        there += [f"{_quoted(folder)}/%f", f"{_quoted(folder)}/%f.partial"]
    return (
        f"mv {_quoted(spool)}/%f %p 2>/dev/null || {{ {{ {' || '.join(f'test -e {path}' for path in there)}; }} && "
        f"PYTHONPATH={_quoted(REPO)} {_quoted(Path(sys.executable))} -m devtools.segments --vault {_quoted(vault.root)} "
        f"--keys {_quoted(vault.ring.root)} --generation {base.generation.name} --spool {_quoted(spool)} %f %p; }}"
    )


def _restore_nodes(
    vault: Vault, generation: Path, data: DataFolder, until: float | None, say: Callable[[str], None]
) -> None:
    """Of each node its tables and the log behind them, which it reads when it starts: nobody may use it before that."""
    roots = sorted((generation / "nodes").glob("node-*"))
    for root in roots:
        base = archive_of(vault, generation, root).restore(data.cassandra / root.name, until)
        say(f"tables of {root.name}, {base.folder.name}")
        data.life.write_text(f"{int(time.time())}\n")
    if len(roots) > 1:
        data.unrepaired.touch()
    for name in ("port", "storage-port", "nodes"):
        kept = generation / "nodes" / name
        if kept.exists():
            shutil.copy2(kept, data.cassandra / name)


def _recover(server: PostgresServer, command: str, until: float | None) -> str:
    """Start it, let it replay, stop it. Nobody is let in before it is done."""
    server.settings |= {"restore_command": command, "hot_standby": "off", "recovery_target_action": "promote"}
    if until is not None:
        when = datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%d %H:%M:%S.%f+00")
        server.settings["recovery_target_time"] = when
    child = Child(server.spec)
    child.spec.ready_timeout = 3_600
    child.start()
    try:
        child.wait_ready()
        if server.sql("SELECT pg_is_in_recovery()") != "f":
            raise DevError("the restored server did not come out of its recovery")
    except DevError as error:
        if UNOPENED in child.output():
            raise DevError(child.output().split(UNOPENED)[1].splitlines()[0]) from error
        if "before configured recovery target was reached" in child.output():
            raise DevError(
                "the log ends before that time; leave --until out to restore everything there is"
            ) from error
        raise
    finally:
        child.stop()
    # A server that is taken up again must not look for the vault.
    found = re.findall(r"last completed transaction was at log time (.+)", child.output())
    return found[-1].strip() if found else ""
