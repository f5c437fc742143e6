"""A Valkey server in a folder, from the wheel's program."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from devtools import ports, wheels
from devtools.processes import Child, Spec

#: Databases of the one server, as long as no external server takes a part over.
HOT, BROKER, CACHE = 0, 1, 2


class ValkeyServer:
    """One server with an append-only file, fsynced each second; refuses writes rather than evicting keys when memory is out."""

    def __init__(
        self,
        folder: Path,
        *,
        password: str,
        log: Path,
        env: dict[str, str] | None = None,
        port: int | None = None,
        options: list[str] | None = None,
        name: str = "valkey",
        config: list[str] | None = None,
    ) -> None:
        self.name = name
        self.config = config or []  # lines of its configuration file: what must not be seen on a command line
        self.folder = folder
        self.password = password
        self.log = log
        self.env = dict(os.environ if env is None else env)
        self.port = port or ports.remembered(folder.with_name(folder.name + ".port"))
        self.options = options or []

    @property
    def spec(self) -> Spec:
        def folder() -> None:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            config = self.folder / "valkey.conf"  # a file, so that the password is on no command line
            config.touch(mode=0o600)
            config.write_text("\n".join([f"requirepass {self.password}", *self.config, ""]))

        return Spec(
            name=self.name,
            argv=[
                str(wheels.valkey_server()), str(self.folder / "valkey.conf"),
                "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(self.folder),
                "--appendonly", "yes", "--appendfsync", "everysec", "--save", "",
                "--maxmemory-policy", "noeviction", "--daemonize", "no",
                "--loglevel", "notice",
                "--set-proc-title", "no",  # it would write over the environment, which holds our mark
                *self.options,
            ],
            env=self.env,
            cwd=Path("/"),
            log=self.log,
            ready=lambda child: self.answers(),
            before_start=folder,
            stop_timeout=20,
        )  # fmt: skip

    def answers(self) -> bool:
        """Whether it answers PING and has read its append-only file."""
        request = f"AUTH {self.password}\r\nPING\r\n".encode()
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(request)
                answer = b""
                while answer.count(b"\r\n") < 2:
                    part = connection.recv(1024)
                    if not part:
                        return False
                    answer += part
        except OSError:
            return False
        return answer.startswith(b"+OK") and b"+PONG" in answer

    def url(self, database: int = HOT) -> str:
        return f"redis://:{self.password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> Child:
        """Start and wait until it answers; for callers that supervise nothing."""
        child = Child(self.spec)
        child.start()
        child.wait_ready()
        return child
