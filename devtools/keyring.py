"""The keys of a sealed vault, in a folder on another disk than the vault and than the data.

::

    <keys>/keyring.json                          which keyring this is, and the key under which files of media get their names
    <keys>/periods/<generation>/<time>-<id>.json a key each: of a base backup, of the log behind it, of the secrets
    <keys>/files/…                               a key for each file of media (:mod:`devtools.file_keys`)
    <keys>/nodes/<generation>/<node>/…           keys of files of a node of Cassandra (:mod:`devtools.node_keys`)
    <keys>/destroyed                             ids of the keys of periods that were destroyed, and when
    <keys>/receiving/<generation>/               the end of PostgreSQL's log, until its segment is whole and sealed
    <keys>/erased                                who is erased again behind a restore (``manage.py erase_again``)

A *period* begins with each base backup. Destroying its key ends all that was sealed under it, wherever copies of it lie.
"""

from __future__ import annotations

import json
import os
import secrets
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from devtools import record
from devtools.errors import DevError
from devtools.sealed import Draft, Key, shred, sync_folder

VARIABLE = "WHATSAPP_BACKUP_KEYS"


class Period(NamedTuple):
    """A key and what it is for; ``began_at``: seconds since the epoch."""

    key: Key
    generation: str
    began_at: float
    file: Path


def stamp(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y%m%dT%H%M%S.%fZ")


class Keyring:
    """:meth:`open` takes the one that is there, :meth:`make` begins one where none is."""

    def __init__(self, root: Path, known: dict[str, Any]) -> None:
        self.root = root
        try:
            self.id = str(known["id"])
            self.names = bytes.fromhex(known["names"])
        except (KeyError, ValueError):
            raise DevError(
                f"{root / 'keyring.json'} is damaged: take it from your copy of the keys"
            ) from None
        self.files = root / "files"
        self.erased = root / "erased"
        self._destroy_again()

    @classmethod
    def open(cls, root: Path) -> Keyring:
        """Raises :class:`DevError`."""
        root = root.resolve()
        known = record.read_json(root / "keyring.json")
        if not known:
            raise DevError(f"there is no keyring in {root}")
        return cls(root, known)

    @classmethod
    def make(cls, root: Path) -> Keyring:
        """Raises :class:`DevError` for a folder that has something else in it."""
        root = root.resolve()
        if (root / "keyring.json").exists():
            return cls.open(root)
        if root.exists() and any(
            entry.name != "lost+found" for entry in root.iterdir()
        ):  # of a disk of its own
            raise DevError(f"{root} is no keyring and not empty: name an empty folder for new keys")
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        root.chmod(0o700)
        write_json(root / "keyring.json", {"id": secrets.token_hex(16), "names": secrets.token_hex(32)})
        return cls.open(root)

    def receiving(self, generation: str) -> Path:
        """Where the end of the log of a generation lies in the clear."""
        return self.root / "receiving" / generation

    def node(self, name: str) -> Path:
        """Where the keys of a node's archive are; ``name``: ``<generation>/<node>``, or another relative path."""
        return self.root / "nodes" / name

    # -- periods ---------------------------------------------------------------------------------------------------------

    def periods(self, generation: str = "*") -> list[Period]:
        """Those whose key is there, oldest first."""
        found = [_read(file) for file in self.root.glob(f"periods/{generation}/[!.]*.json")]
        return sorted((period for period in found if period), key=lambda period: period.began_at)

    def begin(self, generation: str) -> Period:
        """A new key, on disk before it is used. Raises :class:`DevError` when the folder of the keys is away: a key made in its
        place would be missing when it is back."""
        if not (self.root / "keyring.json").exists():
            raise DevError(f"the keys that were in {self.root} are away")
        before = self.periods(generation)
        began = max(time.time(), before[-1].began_at + 0.001 if before else 0.0)
        key = Key(secrets.token_bytes(16), secrets.token_bytes(32))
        file = self.root / "periods" / generation / f"{stamp(began)}-{key.id.hex()}.json"
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        sync_folder(file.parent.parent)
        write_json(
            file,
            {"id": key.id.hex(), "generation": generation, "beganAt": began, "key": key.secret.hex()},
        )
        return Period(key, generation, began, file)

    def current(self, generation: str) -> Period:
        """The one under which things are sealed now."""
        known = self.periods(generation)
        return known[-1] if known else self.begin(generation)

    def key(self, key_id: bytes, path: Path) -> Key:
        """The key that ``path`` is sealed under. Raises :class:`DevError`, which says whether it was destroyed."""
        for file in self.root.glob(f"periods/*/*-{key_id.hex()}.json"):
            if period := _read(file):
                return period.key
        at = self.destroyed().get(key_id)
        if at:
            raise DevError(f"{path} cannot be opened: its key was destroyed at {at}")
        raise DevError(f"{path} cannot be opened: its key {key_id.hex()} is not in {self.root}")

    def state(self, key_id: bytes) -> str:
        """``there``, ``destroyed`` or ``missing``."""
        if any(self.root.glob(f"periods/*/*-{key_id.hex()}.json")):
            return "there"
        return "destroyed" if key_id in self.destroyed() else "missing"

    def destroy(self, period: Period) -> None:
        """What it sealed is gone when this returns. It is noted first: a copy of the key that comes back is destroyed too."""
        with open(self.root / "destroyed", "a") as file:
            # A line of its own, also behind half a one of a machine that stopped.
            file.write(
                f"\n{period.key.id.hex()} {stamp(time.time())} {period.generation} {period.began_at:.6f}\n"
            )
            file.flush()
            os.fsync(file.fileno())
        sync_folder(self.root)
        shred(period.file)

    def destroyed(self) -> dict[bytes, str]:
        """Ids of keys, and when each was destroyed."""
        try:
            lines = (self.root / "destroyed").read_text().splitlines()
        except FileNotFoundError:
            return {}
        found = {}
        for line in lines:
            words = line.split()
            if len(words) == 4:
                found[bytes.fromhex(words[0])] = words[1]
        return found

    def _destroy_again(self) -> None:
        """Keys that are noted as destroyed and are there: somebody died in between, or brought a copy back."""
        gone = self.destroyed()
        for period in self.periods() if gone else []:
            if period.key.id in gone:
                shred(period.file)


def _read(file: Path) -> Period | None:
    """None for what is damaged: whoever needs the key says that it is not there."""
    known = record.read_json(file)
    try:
        key = Key(bytes.fromhex(known["id"]), bytes.fromhex(known["key"]))
        return Period(key, str(known["generation"]), float(known["beganAt"]), file)
    except (KeyError, ValueError):
        return None


def write_json(file: Path, content: dict[str, Any]) -> None:
    """It is on disk when this returns."""
    with Draft(file) as draft:
        draft.file.write(json.dumps(content).encode())
        draft.keep()
