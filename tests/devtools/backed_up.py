"""A PostgreSQL with an archiver beside it, for tests of backups."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from devtools import archiver, backup, environment
from devtools.paths import REPO, DataFolder
from devtools.postgres import PostgresServer
from devtools.processes import Child, Spec, children


def reachable(folder: Path) -> Path:
    """Whoever PostgreSQL runs as may pass through."""
    for path in (folder, *folder.parents[:2]):
        path.chmod(path.stat().st_mode | 0o011)
    return folder


def until(check: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 60
    while not check():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


class Server:
    """A PostgreSQL in a data folder, with the archiver beside it."""

    def __init__(self, root: Path, vault: Path, keys: Path | None = None) -> None:
        root.mkdir(mode=0o711, exist_ok=True)
        self.data = DataFolder(root)
        self.vault = backup.Vault.of(vault, keys, make=keys is not None)
        self.data.create()
        environment.load_secrets(self.data)
        self.server: PostgresServer = backup.server_of(self.data)
        self.server.settings |= {"fsync": "off", "shared_buffers": "16MB", **backup.SETTINGS}
        self.child = self.server.start()
        self.archive = Child(
            Spec(
                name="archive",
                argv=[
                    sys.executable, "-m", "devtools.archiver", "--data", str(root), "--port", str(self.server.port),
                    "--vault", str(vault), *(["--keys", str(keys)] if keys else []),
                ],
                env=self.server.env,
                cwd=REPO,
                log=self.data.logs / "archive.log",
                ready=lambda child: archiver.READY in child.output(),
            )
        )  # fmt: skip
        self.archive.start()
        self.archive.wait_ready()
        until(lambda: "base backup" in self.archive.output(), "the first base backup")

    def sql(self, statement: str) -> str:
        return self.server.sql(statement)

    def streamed(self) -> bool:
        """Whether the vault has everything."""
        return self.sql("SELECT flush_lsn >= pg_current_wal_flush_lsn() FROM pg_stat_replication") == "t"

    def lose(self) -> None:
        """The machine is gone with everything on its disk."""
        for child in (self.child, self.archive):
            kill(child)
        self.server._clear()
        shutil.rmtree(self.server.folder)
        shutil.rmtree(self.data.root)
        self.data.root.mkdir(mode=0o711)

    def restart_archive(self) -> None:
        """It is killed in the middle of whatever it does, with what streams, and begins anew."""
        kill(self.archive)
        self.archive.start()
        self.archive.wait_ready()

    def stop(self) -> None:
        self.archive.stop()
        self.child.stop()


def kill(child: Child) -> None:
    inner = children(child.pid) if child.pid else []
    child.kill()
    for pid in inner:
        subprocess.run(["kill", "-9", str(pid)], check=False, capture_output=True)


def asked(data: DataFolder, statement: str) -> str:
    """What a restored database says, which is started for that and is gone behind it."""
    server = backup.server_of(data)
    child = server.start()
    try:
        return server.sql(statement)
    finally:
        child.stop()
        shutil.rmtree(server.folder)


def found_in(folder: Path, *needles: bytes) -> list[tuple[str, bytes]]:
    """Which of these bytes are in which file below a folder, or in its name."""
    found = []
    for file in sorted(folder.rglob("*")):
        content = file.read_bytes() if file.is_file() else b""
        name = str(file.relative_to(folder))
        found += [(name, needle) for needle in needles if needle in content or needle in name.encode()]
    return found
