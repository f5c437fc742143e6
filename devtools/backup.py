"""Backups of a system and what is made of them: base backups of PostgreSQL with all of its log behind them, and the media.

A *vault* is a folder, on another disk or machine than the data::

    <vault>/media/…                 every file there has been; a name is never used twice, so nothing is overwritten
    <vault>/secrets.json            keys and passwords of the system: who has the vault has the system
    <vault>/<generation>/wal/…      PostgreSQL's log, streamed as it is written (``pg_receivewal``)
    <vault>/<generation>/base/<time>/data, about.json
    <vault>/<generation>/nodes/…    nodes of Cassandra (:mod:`devtools.node_archive`)

A generation is one life of a database: it begins with a base backup, and a restored database begins another one, whose log
branches off. So each can be restored from its own folder, whatever was restored before.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from devtools import environment, record, unprivileged
from devtools.errors import DevError
from devtools.node_archive import Archive, Keeper
from devtools.node_archive import parse_time as parse_time
from devtools.paths import DataFolder
from devtools.postgres import USER, PostgresServer
from devtools.processes import Child

SLOT = "whatsapp_archive"
#: Log that a server keeps for a vault that is away; what is older is lost to it, and it needs a new base backup.
SETTINGS = {"max_slot_wal_keep_size": "4GB"}
#: Base backups that are kept, whatever generation they are of.
KEEP = 7


def stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y%m%dT%H%M%S.%fZ")


class Base(NamedTuple):
    """A base backup. Times are seconds since the epoch."""

    folder: Path
    ended_at: float  # a point in time that can be restored is later

    @property
    def generation(self) -> Path:
        return self.folder.parent.parent


class Vault:
    """The folder of all backups of one system."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root).resolve()

    def bases(self) -> list[Base]:
        """Whole base backups, oldest first."""
        found = []
        for about in self.root.glob("*/base/*/about.json"):
            found.append(Base(about.parent, float(json.loads(about.read_text())["endedAt"])))
        return sorted(found, key=lambda base: base.ended_at)

    def generation(self, data: DataFolder) -> Path:
        """The one of this data folder, which is noted there; a new one if none is."""
        note = data.root / "backups.json"
        known = record.read_json(note)
        if known.get("vault") != str(self.root) or not (self.root / str(known["generation"])).is_dir():
            known = {"vault": str(self.root), "generation": stamp(time.time())}
            record.write_json(note, known)
        folder = self.root / str(known["generation"])
        for part in (folder / "wal", folder / "base", self.root / "media"):
            part.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def keep_files(self, data: DataFolder) -> int:
        """Copy what media and secrets it does not have. Returns how many files of media were new."""
        shutil.copy2(data.secrets, self.root / ".secrets")
        (self.root / ".secrets").replace(self.root / "secrets.json")
        return copy_new(data.root / "media", self.root / "media")


def copy_new(source: Path, target: Path) -> int:
    """Copy the files that ``target`` does not have; how many. A file appears there as a whole."""
    number = 0
    for folder, _, names in os.walk(source):
        here = target / Path(folder).relative_to(source)
        for name in names:
            if (here / name).exists():
                continue
            here.mkdir(parents=True, exist_ok=True, mode=0o700)
            draft = here / f".{name}.{os.getpid()}"
            try:
                shutil.copy2(Path(folder) / name, draft)
            except FileNotFoundError:
                continue  # deleted meanwhile
            draft.replace(here / name)
            number += 1
    return number


def archive_of(generation: Path, node: Path) -> Archive:
    """Of the node in this folder."""
    return Archive(generation / "nodes" / node.name)


def keep_ports(ring: Path, generation: Path) -> None:
    """Where the nodes are, which they remember of each other."""
    (generation / "nodes").mkdir(parents=True, exist_ok=True, mode=0o700)
    for name in ("port", "storage-port", "nodes"):
        if (ring / name).exists():
            shutil.copy2(ring / name, generation / "nodes" / name)


def nodes_of(data: DataFolder) -> list[Path]:
    """Folders of the nodes of Cassandra that keep the messages of a data folder."""
    if not data.nodes.exists():
        return []  # what is left of nodes there is of before the messages came back to PostgreSQL
    return sorted(path for path in data.cassandra.glob("node-*") if path.is_dir())


def take_nodes(vault: Vault, data: DataFolder) -> list[Path]:
    """Keep the tables of its nodes now. Raises :class:`DevError`."""
    generation = vault.generation(data)
    if nodes_of(data):
        keep_ports(data.cassandra, generation)
    return [Keeper(node, archive_of(generation, node)).take().folder for node in nodes_of(data)]


def server_of(data: DataFolder, port: int | None = None) -> PostgresServer:
    """The embedded server of a data folder: the one that runs at ``port``, or one to start."""
    known = environment.load_secrets(data)
    return PostgresServer(
        data.postgres,
        password=known["POSTGRES_PASSWORD"],
        log=data.logs / "postgres.log",
        env=environment.base(data),
        port=port,
    )


def _run(server: PostgresServer, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(unprivileged.programs() / program), *arguments],
        env={**server.env, "PGPASSWORD": server.password},
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )


def _address(server: PostgresServer) -> list[str]:
    return ["--host=127.0.0.1", f"--port={server.port}", f"--username={USER}", "--no-password"]


def take(vault: Vault, data: DataFolder, server: PostgresServer) -> Base:
    """Make a base backup of a running server, verified, and copy the media. Raises :class:`DevError`."""
    generation = vault.generation(data)
    draft = generation / "base" / f".new-{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True, mode=0o700)
    began = time.time()
    made = _run(
        server, "pg_basebackup", *_address(server), f"--pgdata={draft / 'data'}", "--wal-method=stream", "--checkpoint=fast"
    )  # fmt: skip
    if made.returncode:
        shutil.rmtree(draft)
        raise DevError(f"no base backup: {made.stderr.strip()}")
    verified = _run(server, "pg_verifybackup", "--quiet", str(draft / "data"))
    if verified.returncode:
        raise DevError(f"the base backup {draft} is not whole: {verified.stderr.strip()}")
    vault.keep_files(data)
    ended = time.time()
    label = (draft / "data" / "backup_label").read_text()
    first = re.search(r"START WAL LOCATION: \S+ \(file (\w+)\)", label)
    about = {"beganAt": began, "endedAt": ended, "firstWal": first[1] if first else ""}
    record.write_json(draft / "about.json", about)
    folder = generation / "base" / stamp(ended)
    draft.rename(folder)
    return Base(folder, ended)


def prune(vault: Vault, keep: int = KEEP) -> int:
    """Delete all base backups but the newest ``keep``, and the log that no base backup needs. Returns how many are gone."""
    bases = vault.bases()
    gone = bases[:-keep] if keep else []
    for base in gone:
        shutil.rmtree(base.folder)
    for generation in {base.generation for base in bases}:
        left = [base for base in bases if base.generation == generation and base not in gone]
        if not left:
            shutil.rmtree(generation)
            continue
        first = str(record.read_json(left[0].folder / "about.json").get("firstWal", ""))
        for segment in (generation / "wal").iterdir():
            # Without the timeline, as pg_archivecleanup does: a segment of an earlier one may be needed on the way.
            if re.fullmatch(r"[0-9A-F]{24}", segment.name) and segment.name[8:] < first[8:]:
                segment.unlink()
    return len(gone)


# -- restoring --------------------------------------------------------------------------------------------------------------


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
    databases = [unprivileged.data_folder(data.postgres) / "PG_VERSION"]
    databases += [node / "data" for node in nodes_of(data)]
    for there in databases:
        if there.exists():  # said before its secrets are replaced
            raise DevError(
                f"{there.parent} holds a database; restore into an empty data folder, or say --yes"
            )
    data.create()
    data.nodes.unlink(missing_ok=True)
    shutil.copy2(vault.root / "secrets.json", data.secrets)
    data.secrets.chmod(0o600)
    server = server_of(data)
    shutil.rmtree(data.valkey, ignore_errors=True)
    _restore_nodes(base.generation, data, until, say)
    (data.root / "backups.json").unlink(missing_ok=True)
    say(f"base backup of {stamp(base.ended_at)}")
    draft = server.folder.with_name(server.folder.name + ".new")
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(base.folder / "data", draft, symlinks=True)
    log = base.generation / "wal"
    if unprivileged.mode() == "nobody":
        log = draft.with_name(draft.name + ".wal")
        shutil.rmtree(log, ignore_errors=True)
        shutil.copytree(base.generation / "wal", log)
        unprivileged.hand_over(log)
    (draft / "recovery.signal").touch(mode=0o600)
    unprivileged.hand_over(draft)
    draft.rename(server.folder)
    last = _recover(server, log, until)
    say(f"log replayed, last commit {last or 'none'}")
    if log != base.generation / "wal":
        shutil.rmtree(log)
    number = copy_new(vault.root / "media", data.root / "media")
    say(f"{number} files of media")
    return Restored(base, last)


def _restore_nodes(
    generation: Path, data: DataFolder, until: float | None, say: Callable[[str], None]
) -> None:
    """Of each node its tables and the log behind them, which it reads when it starts: nobody may use it before that."""
    roots = sorted((generation / "nodes").glob("node-*"))
    for root in roots:
        base = Archive(root).restore(data.cassandra / root.name, until)
        say(f"tables of {root.name}, {base.folder.name}")
        data.life.write_text(f"{int(time.time())}\n")
    if len(roots) > 1:
        data.unrepaired.touch()
    for name in ("port", "storage-port", "nodes"):
        kept = generation / "nodes" / name
        if kept.exists():
            shutil.copy2(kept, data.cassandra / name)


def _recover(server: PostgresServer, log: Path, until: float | None) -> str:
    """Start it, let it replay, stop it. Nobody is let in before it is done."""
    wal = shlex.quote(str(log)).replace("%", "%%")
    # The newest segment is still being written when the server goes.
    fetch = f"cp {wal}/%f %p 2>/dev/null || cp {wal}/%f.partial %p"
    server.settings |= {"restore_command": fetch, "hot_standby": "off", "recovery_target_action": "promote"}
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


def shown(vault: Vault) -> list[dict[str, Any]]:
    """What there is, for people and ``--json``."""
    return [
        {"folder": str(base.folder), "endedAt": stamp(base.ended_at), "generation": base.generation.name}
        for base in vault.bases()
    ]
