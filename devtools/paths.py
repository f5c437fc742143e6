"""Where things are: the checkout, its virtual environment, the parts of a data folder."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
VENV = REPO / ".venv"
VENV_PYTHON = VENV / "bin" / "python"
DEFAULT_DATA = REPO / ".local"
#: ``up`` records here which data folder runs from this checkout, so that ``status`` and ``down`` need no flags.
CHECKOUT_RECORD = REPO / ".local" / "stack.json"
MARKER = "WHATSAPP_STACK"
#: What a system has in its data folder, by the names that another one could be given by mistake.
_PARTS = frozenset(
    {
        "logs",
        "run",
        "postgres",
        "valkey",
        "valkey-cluster",
        "cassandra",
        "s3",
        "media",
        "clamd",
        "push",
        "clients",
        "base-backup",
    }
)


class DataFolder:
    """The files of one running system: servers' data, secrets, logs, what the supervisor tells the other commands."""

    def __init__(self, root: Path) -> None:
        self.root = Path(root).resolve()
        self.logs = self.root / "logs"
        self.secrets = self.root / "secrets.json"
        self.run = self.root / "run"
        self.state = self.run / "state.json"
        self.lock = self.run / "lock"
        self.postgres = self.root / "postgres"
        self.valkey = self.root / "valkey"
        self.cassandra = self.root / "cassandra"
        #: There when uploaded files are on an S3 server of this folder's.
        self.s3 = self.root / "s3"
        #: What the providers of ``up --push`` accepted, a line each.
        self.pushes = self.root / "push.jsonl"
        #: How many nodes the messages of this folder are on; the file is not there when they are in PostgreSQL.
        self.nodes = self.cassandra / "nodes"
        #: When they were last restored, Unix seconds.
        self.life = self.cassandra / "life"
        #: There while the nodes are as each one's own backup had them, and no repair has made them the same.
        self.unrepaired = self.cassandra / "unrepaired"

    def create(self) -> None:
        """Make the folders that are missing. The root keeps the mode it has, else it is for its owner only."""
        if not self.root.exists():
            self.root.mkdir(parents=True, mode=0o700)
        for folder in (self.logs, self.run):
            folder.mkdir(exist_ok=True)

    @property
    def whole(self) -> Path | None:
        """The data folder of which this one would be a part (``.local/s3``): that one's system would take it for its own."""
        outer = self.root.parent
        known = outer == DEFAULT_DATA.resolve() or (outer / self.secrets.name).exists()
        return outer if known and self.root.name in _PARTS else None

    @property
    def id(self) -> str:
        """What marks this folder's processes: the same for every command of this machine, another inside a chroot."""
        top = os.stat("/")
        return hashlib.sha256(f"{self.root}:{top.st_dev}:{top.st_ino}".encode()).hexdigest()[:16]
