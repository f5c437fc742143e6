"""A PostgreSQL server in a folder, from the wheel's programs."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

from devtools import ports, unprivileged
from devtools.errors import DevError
from devtools.processes import Child, Spec, end_all, of_stack

USER = "whatsapp"
DATABASE = "whatsapp"

#: For one machine that other programs share. Durability is never traded: fsync and synchronous_commit stay on.
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "shared_buffers": "128MB",
    "max_connections": "100",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "15min",
    "jit": "off",
    # No statements and no details of errors: Django's statements hold values, and a broken constraint tells the row.
    "log_min_duration_statement": "-1",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
    "log_line_prefix": "%m [%p] %d ",
    "timezone": "UTC",
}


class PostgresServer:
    """One server: :meth:`prepare` makes its data folder, :attr:`spec` starts it, :attr:`url` is where it answers.

    ``folder`` may be moved by :func:`devtools.unprivileged.data_folder` when we are root.
    """

    def __init__(
        self,
        folder: Path,
        *,
        password: str,
        log: Path,
        env: dict[str, str] | None = None,
        port: int | None = None,
        settings: dict[str, str] | None = None,
    ) -> None:
        self.folder = unprivileged.data_folder(folder)
        self.password = password
        self.log = log
        self.env = dict(os.environ if env is None else env)
        self.port = port or ports.remembered(folder.with_name(folder.name + ".port"))
        self.settings = {**SETTINGS, **(settings or {})}

    def prepare(self) -> bool:
        """Make the data folder if there is none. Returns whether it was made. Raises :class:`DevError`."""
        if (self.folder / "PG_VERSION").exists():
            return False
        draft = self.folder.with_name(
            self.folder.name + ".new"
        )  # an initdb that is interrupted leaves no half folder
        shutil.rmtree(draft, ignore_errors=True)
        unprivileged.hand_over(draft)
        secret = self.folder.with_name(self.folder.name + ".initdb")
        unprivileged.secret_file(secret, self.password + "\n")
        run = subprocess.run(
            [
                *unprivileged.prefix(),
                str(unprivileged.programs() / "initdb"),
                f"--pgdata={draft}",
                f"--username={USER}",
                "--auth=scram-sha-256",
                f"--pwfile={secret}",
                "--encoding=UTF8",
                "--locale=C.UTF-8",
                "--no-instructions",
            ],
            env=self.env,
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        secret.unlink()
        if run.returncode:
            raise DevError(f"initdb could not make the database folder {self.folder}: {run.stderr.strip()}")
        draft.rename(self.folder)
        return True

    def _clear(self) -> None:
        """End what a killed postmaster left behind, and remove its pid file, whose number may be another process's by now."""

        def leftovers() -> list[int]:
            return of_stack(None, self.folder)

        end_all(leftovers, first=signal.SIGQUIT, grace=2)
        (self.folder / "postmaster.pid").unlink(missing_ok=True)

    @property
    def spec(self) -> Spec:
        options = [word for name, value in self.settings.items() for word in ("-c", f"{name}={value}")]
        return Spec(
            name="postgres",
            argv=[
                *unprivileged.prefix(),
                str(unprivileged.programs() / "postgres"),
                "-D",
                str(self.folder),
                "-p",
                str(self.port),
                *options,
            ],
            env=self.env,
            cwd=Path("/"),
            log=self.log,
            ready=lambda child: self.answers(),
            before_start=self._clear,
            stop_signal=signal.SIGINT,  # "fast": ends sessions, writes a checkpoint
            stop_timeout=30,
            death_signal=signal.SIGQUIT,  # "immediate": certain to end soon; the log is replayed at the next start
        )

    def answers(self) -> bool:
        """Whether it takes connections (recovery is over)."""
        return (
            self._run("pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-t", "1").returncode == 0
        )

    def sql(self, statement: str, *, database: str = "postgres") -> str:
        """Run one statement, outside a transaction; its rows as text. Raises :class:`DevError`."""
        run = self._run(
            "psql", "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(self.port), "-U", USER, "-d", database,
            "-c", statement,
        )  # fmt: skip
        if run.returncode:
            raise DevError(f"PostgreSQL refused {statement!r}: {run.stderr.strip()}")
        return run.stdout.strip()

    def create_database(self, name: str = DATABASE, *, template: str | None = None) -> None:
        """Make database ``name`` if there is none, as a copy of ``template`` if one is named."""
        if self.sql(f"SELECT 1 FROM pg_database WHERE datname = '{name}'"):
            return
        self.sql(
            f'CREATE DATABASE "{name}"' + (f' TEMPLATE "{template}" STRATEGY file_copy' if template else "")
        )

    def url(self, database: str = DATABASE) -> str:
        return f"postgresql://{USER}:{self.password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> Child:
        """Prepare, start and wait until it answers; for callers that supervise nothing."""
        self.prepare()
        child = Child(self.spec)
        child.start()
        child.wait_ready()
        return child

    def _run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(unprivileged.programs() / program), *arguments],
            env={**self.env, "PGPASSWORD": self.password},
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
