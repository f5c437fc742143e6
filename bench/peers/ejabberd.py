"""Debian's ejabberd with its archive on a PostgreSQL from our wheel, set up for cost: ADR 0114 says why each line is as it is."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from bench.peers.server import Peer
from devtools import packages, ports, unprivileged
from devtools.errors import DevError
from devtools.packages import Package
from devtools.postgres import USER, PostgresServer
from devtools.processes import Child, Spec

NEEDED = (
    Package("ejabberd", "/usr/sbin/ejabberdctl", "the XMPP server that ours is compared with"),
    Package("erlang-p1-pgsql", "/usr/share/doc/erlang-p1-pgsql/copyright", "its driver for PostgreSQL"),
)
_SCHEMA = Path("/usr/share/ejabberd/sql/pg.sql")
_ROOMS = "rooms.localhost"
_PASSWORD = "bench"  # noqa: S105
#: Made before anything runs; the pairs and the idle sessions are some of them.
USERS = 6_000
#: Connections to PostgreSQL, and so inserts that can share an fsync.
POOL = 40


class Ejabberd(Peer):
    name = "ejabberd"
    groups = {"ejabberd": ("ejabberd",), "postgresql": ("postgres",)}
    holders = ("ejabberd",)

    def prepare(self) -> None:
        packages.ensure(NEEDED, "bench --peer ejabberd")
        if not _SCHEMA.exists():
            raise DevError(f"this ejabberd brings no {_SCHEMA}; Debian's package does")
        self.port = ports.choose()
        self._postgres = PostgresServer(
            self.folder / "postgres", password=_PASSWORD, log=self.folder / "postgres.log", env=self.env
        )
        self._postgres.prepare()
        config = self.folder / "ejabberd.yml"
        config.write_text(json.dumps(self._settings(), indent=1))  # JSON is YAML
        self.children["postgres"] = Child(self._postgres.spec)
        self.children["postgres"].start()
        self.children["postgres"].wait_ready()
        self._make_database()
        self.children["ejabberd"] = Child(
            Spec(
                name="ejabberd",
                argv=[
                    "erl", "-noinput", "+P", "250000",
                    # Schedulers that spin while they wait would be charged for waiting.
                    "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none",
                    "-mnesia", "dir", f'"{self.folder}/mnesia"', "-s", "ejabberd",
                ],
                env={
                    **self.env,
                    "ERL_LIBS": str(_libraries()),
                    "EJABBERD_CONFIG_PATH": str(config),
                    "EJABBERD_LOG_PATH": str(self.folder / "ejabberd.log"),
                    "ERL_CRASH_DUMP": "/dev/null",
                },
                cwd=self.folder,
                log=self.folder / "erl.log",
                ready=lambda child: not ports.is_free(self.port),
            )
        )  # fmt: skip

    def person(self, number: int) -> dict[str, str]:
        return {"user": f"u{number}", "password": _PASSWORD, "host": "127.0.0.1", "port": str(self.port)}

    def room(self, members: int) -> list[dict[str, str]]:
        """A row as ejabberd writes them: it reads it when the first member enters."""
        self.rooms += 1
        name = f"r{self.rooms}"
        people = [{**self.person(n), "room": f"{name}@{_ROOMS}"} for n in range(members)]
        affiliations = ",".join(
            f'{{{{<<"{person["user"]}">>,<<"localhost">>,<<>>}},{{member,<<>>}}}}' for person in people
        )
        # Members are told of nobody's coming: ours are not either, and n members would be n² presences.
        options = (
            f"[{{persistent,true}},{{members_only,true}},{{public,false}},{{mam,true}},{{presence_broadcast,[]}},"
            f"{{max_users,{members + 1}}},{{affiliations,[{affiliations}]}}]"
        )
        self._postgres.sql(
            f"INSERT INTO muc_room (name, host, opts) VALUES ('{name}', '{_ROOMS}', '{options}')",
            database="ejabberd",
        )
        return people

    def stored(self) -> int:
        """Messages in the archives; one of a pair is a row in its sender's and one in its recipient's, one of a room a row."""
        said = self._postgres.sql(
            "SELECT count(*) FILTER (WHERE kind = 'groupchat'), count(*) FILTER (WHERE kind <> 'groupchat') FROM archive",
            database="ejabberd",
        )
        in_rooms, of_pairs = map(int, said.split("|"))
        return in_rooms + of_pairs // 2 if of_pairs % 2 == 0 else -1

    def versions(self) -> dict[str, str]:
        said = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Package} ${Version}\n", "ejabberd", "erlang-base"],
            capture_output=True, text=True, check=False,
        ).stdout  # fmt: skip
        return dict(line.split(" ", 1) for line in said.splitlines())

    def setup(self) -> list[str]:
        return [
            f"ejabberd {self.versions().get('ejabberd', '?')}, Debian's, one node; plain TCP, SASL PLAIN, accounts in PostgreSQL",
            f"mod_mam in PostgreSQL, default always: each message is two rows, committed with fsync; {POOL} connections to it",
            "a life: message, <a/> of stream management (the ✓), receipt (XEP-0184), marker (XEP-0333); the two are not stored",
            "message only: no stream management, no receipts; over when the other side has it",
            "a room (XEP-0045): persistent, members only; a message is a row in its archive, its sender's own copy the ✓; "
            "nobody is told who is there, no stream management",
            "no roster, no offline store, no carbons, no shaper; log level error; schedulers do not spin",
        ]

    def _settings(self) -> dict[str, Any]:
        return {
            "loglevel": "error",
            "hosts": ["localhost"],
            "listen": [
                {
                    "port": self.port,
                    "ip": "127.0.0.1",
                    "module": "ejabberd_c2s",
                    "max_stanza_size": 65_536,
                    "shaper": "none",
                    "access": "all",
                    "backlog": 1024,
                }
            ],
            "auth_method": ["sql"],
            "auth_password_format": "plain",
            "sql_type": "pgsql",
            "sql_server": "127.0.0.1",
            "sql_port": self._postgres.port,
            "sql_database": "ejabberd",
            "sql_username": USER,
            "sql_password": _PASSWORD,
            "sql_pool_size": POOL,
            "default_db": "sql",
            "modules": {
                "mod_mam": {"default": "always", "db_type": "sql"},
                "mod_muc": {
                    "db_type": "sql",
                    "host": _ROOMS,
                    "max_users": 5_000,
                    "history_size": 0,
                    "min_message_interval": 0,
                    "min_presence_interval": 0,
                },
                "mod_stream_mgmt": {"resume_timeout": 0},
            },
        }

    def _make_database(self) -> None:
        server = self._postgres
        server.create_database("ejabberd")
        run = subprocess.run(
            [
                str(unprivileged.programs() / "psql"), "-Xq", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1",
                "-p", str(server.port), "-U", USER, "-d", "ejabberd", "-f", str(_SCHEMA),
            ],
            env={**server.env, "PGPASSWORD": _PASSWORD}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if run.returncode:
            raise DevError(f"ejabberd's schema was refused: {run.stderr.strip()}")
        server.sql(
            f"INSERT INTO users (username, password) SELECT 'u' || n, '{_PASSWORD}' FROM generate_series(0, {USERS - 1}) n",
            database="ejabberd",
        )


def _libraries() -> Path:
    """The folder that holds ``ejabberd-VERSION``, which depends on the architecture."""
    found = sorted(Path("/usr/lib").glob("*/ejabberd-*/ebin/ejabberd.app"))
    if not found:
        raise DevError("the package ejabberd is installed, but there is no ejabberd.app below /usr/lib")
    return found[-1].parents[2]
