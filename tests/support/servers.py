"""This session's PostgreSQL and Valkey, by the same launchers as ``./dev up``."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path
from typing import Self

from devtools.paths import REPO
from devtools.postgres import PostgresServer
from devtools.processes import Child
from devtools.valkey import ValkeyServer

_NO_TRUNCATE = (
    ("staff_auditrecord", "staff_audit_no_truncate"),
    ("staff_auditanchor", "staff_audit_anchor_no_truncate"),
)
_TEMPLATE = "migrated"


class Postgres:
    """A server with a migrated template database, from which tests get copies in a tenth of a second."""

    def __init__(self, folder: Path, *, port: int, password: str) -> None:
        # A power cut is not among what these tests try, and a database per test would cost fsyncs.
        self.server = PostgresServer(
            folder / "postgres", password=password, log=folder / "postgres.log", port=port,
            settings={"fsync": "off", "max_connections": "200"},
        )  # fmt: skip
        self.child: Child | None = None
        self._template: str | None = None
        self._numbers = itertools.count(1)

    def __enter__(self) -> Self:
        self.child = self.server.start()
        self.server.create_database()
        return self

    def __exit__(self, *_: object) -> None:
        if self.child:
            self.child.stop()

    def url(self, database: str = "whatsapp") -> str:
        return self.server.url(database)

    def sql(self, statement: str, *, database: str = "whatsapp") -> str:
        return self.server.sql(statement, database=database)

    def template(self) -> str:
        """The name of a migrated database without connections, made when first asked for."""
        if self._template is None:
            self.server.create_database(_TEMPLATE)
            migrate(self.url(_TEMPLATE))
            # Tests that commit empty all tables behind them, which the audit log refuses (tests/staff/test_audit_chain.py).
            for table, trigger in _NO_TRUNCATE:
                self.sql(f"ALTER TABLE {table} DISABLE TRIGGER {trigger}", database=_TEMPLATE)
            self._template = _TEMPLATE
        return self._template

    def create(self, name: str) -> str:
        """A new migrated database; returns its URL."""
        self.server.create_database(name, template=self.template())
        return self.url(name)

    def create_numbered(self) -> tuple[str, str]:
        """A new migrated database with a name of its own: (name, URL)."""
        name = f"test_{next(self._numbers)}"
        return name, self.create(name)

    def drop(self, name: str) -> None:
        """Drop a database, ending its connections."""
        self.server.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


class Valkey:
    """A server; ``url(n)`` is its n-th database."""

    def __init__(self, folder: Path, *, port: int, password: str) -> None:
        self.server = ValkeyServer(folder / "valkey", password=password, log=folder / "valkey.log", port=port)
        self.child: Child | None = None

    def __enter__(self) -> Self:
        self.child = self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.child:
            self.child.stop()

    def url(self, database: int = 0) -> str:
        return self.server.url(database)


def migrate(url: str) -> None:
    """Run all migrations on the database at ``url``."""
    run = subprocess.run(
        [sys.executable, "manage.py", "migrate", "--noinput"],
        cwd=REPO,
        env={**os.environ, "DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        raise RuntimeError(f"migrate failed:\n{run.stdout}\n{run.stderr}")
