"""Backups of a system and what is made of them: base backups of PostgreSQL with all of its log behind them, and the media.

A *vault* is a folder, on another disk or machine than the data::

    <vault>/media/…                 every file there has been; a name is never used twice, so nothing is overwritten
    <vault>/secrets.json            keys and passwords of the system: who has the vault has the system
    <vault>/<generation>/wal/…      PostgreSQL's log, streamed as it is written (``pg_receivewal``)
    <vault>/<generation>/base/<time>/data, about.json
    <vault>/<generation>/nodes/…    nodes of Cassandra (:mod:`devtools.node_archive`)

With a keyring (:mod:`devtools.keyring`) everything in it is sealed::

    <vault>/sealed.json             by which keyring
    <vault>/files/…                 media (:mod:`devtools.file_copies`)
    <vault>/secrets.sealed
    <vault>/<generation>/wal/….sealed, base/<time>/data.sealed, about.json
    <vault>/<generation>/nodes/…    the same folders, their files sealed (:mod:`devtools.node_keys`)

A generation is one life of a database: it begins with a base backup, and a restored database begins another one, whose log
branches off. So each can be restored from its own folder, whatever was restored before. Restoring: :mod:`devtools.restoring`.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from devtools import environment, record, sealed, sealed_base, unprivileged
from devtools.errors import DevError
from devtools.file_copies import DAY_S, Copies, Swept
from devtools.keyring import Keyring, Period, stamp, write_json
from devtools.node_archive import BASE_EVERY_S, Archive, Keeper
from devtools.node_archive import parse_time as parse_time
from devtools.paths import DataFolder
from devtools.postgres import USER, PostgresServer
from devtools.processes import is_alive
from devtools.segments import SUFFIX, Log

SLOT = "whatsapp_archive"
#: Log that a server keeps for a vault that is away; what is older is lost to it, and it needs a new base backup.
SETTINGS = {"max_slot_wal_keep_size": "4GB"}
#: Base backups that are kept, whatever generation they are of.
KEEP = 7
#: And of sealed ones none that is older, but for the newest: what was erased before is gone with their keys.
KEEP_S = 14 * DAY_S
#: A base backup that failed is tried again under the same key for so long.
YOUNG_S = 3_600.0
#: Of a sealed vault.
SECRETS = "secrets.sealed"


class Base(NamedTuple):
    """A base backup. Times are seconds since the epoch."""

    folder: Path
    ended_at: float  # a point in time that can be restored is later

    @property
    def generation(self) -> Path:
        return self.folder.parent.parent

    @property
    def about(self) -> dict[str, Any]:
        return record.read_json(self.folder / "about.json")

    @property
    def key_id(self) -> bytes:
        """Of its period; empty: it is not sealed."""
        try:
            return bytes.fromhex(self.about.get("period", ""))
        except ValueError:
            raise sealed.Damaged(self.folder / "about.json") from None


class Vault:
    """The folder of all backups of one system. ``ring``: what is added to it is sealed."""

    def __init__(self, root: Path, ring: Keyring | None = None) -> None:
        self.root = Path(root).resolve()
        self.ring = ring
        self.copies = Copies(self.root, ring) if ring else None
        self._secrets = b""

    @classmethod
    def of(cls, root: Path, keys: Path | None = None, *, make: bool = False) -> Vault:
        """With its keys, if it has some. ``make``: keys are made for a vault that has none. Raises :class:`DevError`."""
        root = Path(root).resolve()
        by = str(record.read_json(root / "sealed.json").get("keyring", ""))
        if keys is None:
            if by:
                raise DevError(f"what is in {root} is sealed; say where its keys are: --backup-keys KEYS")
            return cls(root)
        keys = keys.resolve()
        if keys.is_relative_to(root) or root.is_relative_to(keys):
            raise DevError(
                f"the keys {keys} are to lie elsewhere than what they seal, {root}: on another disk"
            )
        ring = Keyring.make(keys) if make and not by else Keyring.open(keys)
        if by and by != ring.id:
            raise DevError(f"the keys in {keys} are not those of {root}")
        if make and not by:
            write_json(root / "sealed.json", {"keyring": ring.id})
        return cls(root, ring)

    def check_there(self, data: DataFolder) -> None:
        """Raises :class:`DevError` when what is there is not the vault that was opened: its disk is away, and nothing is to be
        made in its place."""
        check_mounted(self.root, data)
        if self.ring and record.read_json(self.root / "sealed.json").get("keyring") != self.ring.id:
            raise DevError(f"the vault that was in {self.root} is away")

    def bases(self) -> list[Base]:
        """Whole base backups, oldest first."""
        found = []
        for about in self.root.glob("*/base/*/about.json"):
            found.append(Base(about.parent, float(json.loads(about.read_text())["endedAt"])))
        return sorted(found, key=lambda base: base.ended_at)

    def generation(self, data: DataFolder) -> Path:
        """The one of this data folder, which is noted there; a new one if none is. Raises :class:`DevError` when it is away."""
        check_mounted(self.root, data)
        known = record.read_json(_note(data))
        if known.get("vault") != str(self.root):
            known = {"vault": str(self.root), "generation": stamp(time.time())}
            record.write_json(_note(data), known)
        folder = self.root / str(known["generation"])
        for part in (folder / "wal", folder / "base", *(() if self.ring else (self.root / "media",))):
            part.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def receiving(self, generation: Path) -> Path:
        """Where its log is streamed to."""
        if self.ring is None:
            return generation / "wal"
        folder = self.ring.receiving(generation.name)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        return folder

    def log(self, generation: Path) -> Log:
        return Log(generation, self.ring)

    def keep_files(self, data: DataFolder) -> int:
        """Copy what media and secrets it does not have. Returns how many files of media were new."""
        if self.ring is None or self.copies is None:
            shutil.copy2(data.secrets, self.root / ".secrets")
            (self.root / ".secrets").replace(self.root / "secrets.json")
            return copy_new(data.root / "media", self.root / "media")
        self._keep_secrets(data.secrets.read_bytes(), self.ring.current(self.generation(data).name))
        self.copies.take_over(self.root / "media")
        return self.copies.add(data.root / "media")

    def _keep_secrets(self, content: bytes, period: Period) -> None:
        """Sealed anew when they or the period are others."""
        mark = hashlib.sha256(period.key.id + content).digest()
        if mark == self._secrets:
            return
        sealed.seal(io.BytesIO(content), self.root / SECRETS, period.key, SECRETS)
        for plain in ("secrets.json", ".secrets"):
            sealed.shred(self.root / plain)
        self._secrets = mark

    def sweep(self, data: DataFolder) -> Swept:
        """End copies of media that are gone. Raises ``OSError``."""
        return self.copies.sweep(data.root / "media") if self.copies else Swept(0, 0)


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


def archive_of(vault: Vault, generation: Path, node: Path) -> Archive:
    """Of the node in this folder, or in one that is called so."""
    return Archive(generation / "nodes" / node.name, vault.ring, f"{generation.name}/{node.name}")


def archives(vault: Vault) -> list[Archive]:
    """Of all nodes."""
    return [archive_of(vault, root.parent.parent, root) for root in sorted(vault.root.glob("*/nodes/node-*"))]


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
    return [Keeper(node, archive_of(vault, generation, node)).take().folder for node in nodes_of(data)]


def ask_nodes(vault: Vault, data: DataFolder) -> list[str]:
    """Have the archiver that runs keep the tables of its nodes now. Returns their names."""
    generation = vault.generation(data)
    asked = [archive_of(vault, generation, node) for node in nodes_of(data)]
    for archive in asked:
        archive.wanted.touch()
    return [archive.root.name for archive in asked]


def _note(data: DataFolder) -> Path:
    """Which generation of which vault is this data folder's."""
    return data.root / "backups.json"


def check_mounted(root: Path, data: DataFolder) -> None:
    """Raises :class:`DevError` when the backups that this data folder has in ``root`` are not there: a disk that is away leaves
    an empty folder, and backups that are made in it are of no use behind the next mount."""
    known, root = record.read_json(_note(data)), root.resolve()
    if known.get("vault") == str(root) and not (root / str(known["generation"])).is_dir():
        raise DevError(
            f"the backups of this system that were in {root} are not there; is their disk away? If there are to be others "
            f"in that place: delete {_note(data)}"
        )


def begin_anew(data: DataFolder) -> None:
    """The next backups are of another generation."""
    _note(data).unlink(missing_ok=True)


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


def scratch(data: DataFolder) -> Path:
    """Where base backups are in the clear before they are sealed: beside the database, whose size each has."""
    return data.root / "base-backup"


def clear_dead(folder: Path) -> None:
    """Delete what processes that are no more have left half made: ``…-<pid>``."""
    for draft in folder.glob(".new-*"):
        number = draft.name.rpartition("-")[2]
        if not number.isdigit() or not is_alive(int(number)):
            shutil.rmtree(draft, ignore_errors=True)


def take(vault: Vault, data: DataFolder, server: PostgresServer) -> Base:
    """Make a base backup of a running server, verified, and copy the media. Raises :class:`DevError`."""
    generation = vault.generation(data)
    period = _period(vault, generation)
    draft = generation / "base" / f".new-{os.getpid()}"
    beside = scratch(data) / draft.name
    plain = beside / "data" if period else draft / "data"
    for folder in (draft, beside):
        clear_dead(folder.parent)
        shutil.rmtree(folder, ignore_errors=True)
    draft.mkdir(parents=True, mode=0o700)
    if period:
        scratch(data).mkdir(exist_ok=True, mode=0o700)
        beside.mkdir(mode=0o700)
    try:
        began = time.time()
        made = _run(
            server, "pg_basebackup", *_address(server), f"--pgdata={plain}", "--wal-method=stream", "--checkpoint=fast"
        )  # fmt: skip
        if made.returncode:
            raise DevError(f"no base backup: {made.stderr.strip()}")
        verified = _run(server, "pg_verifybackup", "--quiet", str(plain))
        if verified.returncode:
            raise DevError(f"the base backup {plain} is not whole: {verified.stderr.strip()}")
        vault.keep_files(data)
        ended = time.time()
        label = (plain / "backup_label").read_text()
        first = re.search(r"START WAL LOCATION: \S+ \(file (\w+)\)", label)
        about: dict[str, Any] = {"beganAt": began, "endedAt": ended, "firstWal": first[1] if first else ""}
        folder = generation / "base" / stamp(ended)
        if period:
            about["period"] = period.key.id.hex()
            sealed_base.pack(plain, draft / sealed_base.NAME, period.key, sealed_base.bound(folder, about))
        record.write_json(draft / "about.json", about)
        draft.rename(folder)
        return Base(folder, ended)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(beside, ignore_errors=True)


def _period(vault: Vault, generation: Path) -> Period | None:
    """The period that begins with a base backup: a new one, unless the newest is young and has none yet. Its key is there before
    the backup begins, so no segment that the backup needs is sealed under an earlier one."""
    if vault.ring is None:
        return None
    newest = vault.ring.current(generation.name)
    taken = any(base.key_id == newest.key.id for base in vault.bases())
    return vault.ring.begin(generation.name) if taken or time.time() - newest.began_at > YOUNG_S else newest


def prune(vault: Vault, keep: int = KEEP, now: float | None = None) -> int:
    """End all base backups but the newest ``keep``, sealed ones that are too old, and the log that none needs: first the keys,
    then the files. Returns how many base backups are gone."""
    now = time.time() if now is None else now
    bases = vault.bases()
    gone = bases[:-keep] if keep else []
    gone += [base for base in bases[:-1] if base not in gone and base.key_id and now - base.ended_at > KEEP_S]
    return end(vault, gone)


def end(vault: Vault, gone: Iterable[Base]) -> int:
    """End these base backups and what only they need: first the keys, then the files."""
    ended = list(gone)
    bases = vault.bases()
    for generation in {base.generation for base in bases}:
        left = [base for base in bases if base.generation == generation and base not in ended]
        if vault.ring:
            _destroy_keys(vault.ring, generation, left)
        for base in ended:
            if base.generation == generation:
                shutil.rmtree(base.folder)
        if not left:
            if vault.ring:
                _forget_received(vault.ring.receiving(generation.name))
                for archive in archives(vault):
                    if archive.keys and archive.root.is_relative_to(generation):
                        archive.keys.forget()
            shutil.rmtree(generation)
            continue
        first = str(left[0].about.get("firstWal", ""))
        for segment in (generation / "wal").iterdir():
            # Without the timeline, as pg_archivecleanup does: a segment of an earlier one may be needed on the way.
            name = segment.name.removesuffix(SUFFIX)
            if re.fullmatch(r"[0-9A-F]{24}", name) and name[8:] < first[8:]:
                segment.unlink()
    return len(ended)


def _destroy_keys(ring: Keyring, generation: Path, left: list[Base]) -> None:
    """Those of the periods before the oldest base backup that is left; what it needs was sealed in its own period or later."""
    known = ring.periods(generation.name)
    if left:
        numbers = [number for number, period in enumerate(known) if period.key.id == left[0].key_id]
        known = known[: numbers[0]] if numbers else []
    for period in known:
        ring.destroy(period)


def _forget_received(folder: Path) -> None:
    """The end of a log lies there in the clear."""
    for segment in folder.iterdir() if folder.is_dir() else ():
        sealed.shred(segment)
    shutil.rmtree(folder, ignore_errors=True)


def shred_before(vault: Vault, before: float) -> int:
    """End everything that began before this time. Returns how many base backups. Raises :class:`DevError` when nothing would be
    left."""
    bases = vault.bases()
    gone = [base for base in bases if float(base.about.get("beganAt", 0.0)) < before]
    if len(gone) == len(bases):
        raise DevError(
            "no base backup began later, and without one nothing can be restored: ./dev backup makes one"
        )
    of_nodes = []
    for archive in archives(vault):
        if any(archive.root.is_relative_to(base.generation) for base in bases if base not in gone):
            known = archive.bases()
            of_nodes.append((archive, [base for base in known if base.ended_at < before]))
            if known and len(of_nodes[-1][1]) == len(known):
                raise DevError(
                    f"no tables of {archive.root.name} were kept later, and without them nothing can be restored: ./dev backup "
                    f"has them kept, and so they are every {BASE_EVERY_S / 3_600:.0f} hours"
                )
    for archive, ended in of_nodes:
        archive.end(ended)
    return end(vault, gone)


def shown(vault: Vault) -> list[dict[str, Any]]:
    """What there is, for people and ``--json``. ``key``: ``there``, ``destroyed``, ``missing``; None: it is not sealed."""
    return [
        {
            "folder": str(base.folder),
            "endedAt": stamp(base.ended_at),
            "generation": base.generation.name,
            "key": vault.ring.state(base.key_id) if base.key_id and vault.ring else None,
        }
        for base in vault.bases()
    ]
