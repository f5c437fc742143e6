"""A ClamAV daemon in a folder, from Debian's package, with signatures of our own: it knows the EICAR test file and nothing else,
and downloads nothing."""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Mapping
from pathlib import Path

from devtools import packages, ports
from devtools.processes import Child, Spec

PACKAGE = packages.Package("clamav-daemon", "/usr/sbin/clamd", "the scanner that media are shown to")
#: The test file that every scanner calls harmful, in halves: this one is not to be called so (https://www.eicar.org).
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR-" + b"STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


class ClamdServer:
    """One daemon. ``settings`` go over those of its configuration file."""

    def __init__(
        self,
        folder: Path,
        *,
        log: Path,
        port: int | None = None,
        env: dict[str, str] | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.log = log
        self.port = port or ports.remembered(folder.with_name(folder.name + ".port"))
        self.env = dict(os.environ if env is None else env)
        self.settings = dict(settings or {})

    @property
    def url(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    @property
    def unix_url(self) -> str:
        return f"unix://{self.folder / 'socket'}"

    @property
    def spec(self) -> Spec:
        return Spec(
            name="clamd",
            argv=[PACKAGE.proof, "-c", str(self.folder / "clamd.conf")],
            env=self.env,
            cwd=Path("/"),
            log=self.log,
            ready=lambda child: self.answers(),
            before_start=self._write,
            stop_timeout=10,
        )

    def answers(self) -> bool:
        """Whether it has read its signatures."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"zPING\0")
                return connection.recv(16) == b"PONG\0"
        except OSError:
            return False

    def start(self) -> Child:
        """Start and wait until it answers; for callers that supervise nothing. Raises :class:`DevError`."""
        packages.ensure((PACKAGE,), "clamd")
        child = Child(self.spec)
        child.start()
        child.wait_ready()
        return child

    def _write(self) -> None:
        database = self.folder / "database"
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True, mode=0o700)
        database.mkdir(exist_ok=True)
        name, size = "Eicar-Test-Signature", len(EICAR)
        (database / "local.hsb").write_text(f"{hashlib.sha256(EICAR).hexdigest()}:{size}:{name}\n")
        (database / "local.ndb").write_text(f"{name}:0:*:{EICAR.hex()}\n")
        lines = {
            "DatabaseDirectory": str(database),
            "OfficialDatabaseOnly": "no",
            "TemporaryDirectory": str(self.folder / "tmp"),
            "TCPSocket": str(self.port),
            "TCPAddr": "127.0.0.1",
            "LocalSocket": str(self.folder / "socket"),
            "Foreground": "yes",
            "StreamMaxLength": "100M",
            "MaxScanSize": "400M",
            "MaxFileSize": "100M",
            "AlertExceedsMax": "yes",  # what it does not look into is not OK
            **self.settings,
        }
        (self.folder / "clamd.conf").write_text("".join(f"{name} {value}\n" for name, value in lines.items()))
