"""Behind pgbouncer in transaction mode, configured as docs/postgresql.md says, with fewer connections than there are clients."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from delivery.store.interface import Unavailable
from delivery.store.postgres import PostgresStore
from delivery.store.values import Send
from devtools import ports
from devtools.paths import REPO
from devtools.postgres import USER, PostgresServer
from devtools.processes import Child, Spec
from tests.gateway.peer import fill, talking, texts
from tests.gateway.phone import new_id
from tests.support import early
from tests.support.servers import Postgres
from tests.support.stack import System, copy_database
from whatsapp.infra.postgres import open_pool
from whatsapp.wire import frames

PROGRAM = "/usr/sbin/pgbouncer"
SERVER_CONNECTIONS = 4


def configuration() -> str:
    """What the document shows."""
    return (REPO / "docs" / "postgresql.md").read_text().split("```ini\n")[1].split("```")[0]


class Pooler:
    """pgbouncer before a server. ``url`` is its address."""

    def __init__(self, folder: Path, server: PostgresServer, more: str = "") -> None:
        self.server = server
        self.port = ports.choose()
        folder.mkdir(mode=0o711, exist_ok=True)
        users, ini = folder / "userlist.txt", folder / "pgbouncer.ini"
        users.write_text(f'"{USER}" "{server.password}"\n')
        text = configuration()
        for old, new in (
            ("port=5432", f"port={server.port}"),
            ("listen_port = 6432", f"listen_port = {self.port}"),
            ("/etc/pgbouncer/userlist.txt", str(users)),
            ("default_pool_size = 20", f"default_pool_size = {SERVER_CONNECTIONS}"),
            ("\nchat = host", "\n* = host"),
        ):
            assert old in text
            text = text.replace(old, new)
        ini.write_text(text + more)
        users.chmod(0o644)
        ini.chmod(0o644)
        self.child = Child(
            Spec(
                name="pgbouncer",
                argv=[PROGRAM, *(["-u", "nobody"] if os.geteuid() == 0 else []), str(ini)],
                env=dict(os.environ),
                cwd=Path("/"),
                log=folder / "pgbouncer.log",
                ready=lambda child: ports.answers("127.0.0.1", self.port),
            )
        )

    def url(self, database: str = "whatsapp") -> str:
        return f"postgresql://{USER}:{self.server.password}@127.0.0.1:{self.port}/{database}"

    def sql(self, statement: str, *, database: str = "whatsapp") -> str:
        return self.server.sql(statement, database=database)

    def start(self) -> Pooler:
        self.child.start()
        self.child.wait_ready()
        return self


@pytest.fixture
def folder() -> Path:
    """One that pgbouncer's own user can reach."""
    return early.folder("pooler")


@pytest.fixture
def pooler(folder: Path, postgres_server: Postgres) -> Iterator[Pooler]:
    """Before this session's server. It lets settings at the start of a connection pass, and forgets them."""
    pooler = Pooler(folder, postgres_server.server, "ignore_startup_parameters = options\n").start()
    yield pooler
    pooler.child.stop()


def send(conversation: str, sender: str) -> Send:
    return Send(conversation, sender, new_id(), new_id(), "text", b"x", b"h" * 16, 1)


@pytest.mark.needs_packages
async def test_stores_share_sessions_and_keep_nothing_in_them(
    pooler: Pooler, new_postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_POOLER", "transaction")
    assert not await _failures(pooler.url(new_postgres_url.rpartition("/")[2]))


@pytest.mark.needs_packages
async def test_twin_with_prepared_statements_fails(pooler: Pooler, new_postgres_url: str) -> None:
    assert await _failures(pooler.url(new_postgres_url.rpartition("/")[2]))


async def _failures(url: str) -> list[BaseException]:
    """What goes wrong when several processes write and read through the same few sessions."""
    pools = [open_pool(url) for _ in range(4)]
    for pool in pools:
        await pool.open(wait=False)
    stores = [PostgresStore(pool) for pool in pools]
    failures: list[BaseException] = []

    async def work(store: PostgresStore) -> None:
        for _ in range(15):
            one, other = new_id(), new_id()
            try:
                conversation = await store.ensure_direct(one, other, new_id(), 1)
                await store.append(new_id(), [send(conversation, one)], 1)
                await store.conversations([conversation])
                await store.link_device(one, new_id(), 1)
                await store.roster_heads([conversation])
                await store.behind(one, new_id())
            except (psycopg.Error, Unavailable) as error:
                failures.append(error)

    await asyncio.gather(*[work(store) for store in stores for _ in range(3)])
    for store, pool in zip(stores, pools, strict=True):
        await store.close()
        await pool.close()
    return failures


@pytest.mark.needs_packages
@pytest.mark.needs_system
@pytest.mark.timeout(240)
async def test_a_whole_system_runs_behind_it(folder: Path) -> None:
    password = copy_database(folder / "postgres")
    server = PostgresServer(folder / "postgres", password=password, log=folder / "postgres.log")
    child = server.start()
    pooler = Pooler(folder / "pgbouncer", server).start()
    try:
        with System(fanout=True, env={"DATABASE_POOLER": "transaction"}, database=pooler) as system:
            async with talking(system) as (ann, bob, conversation):
                await fill(ann, conversation, 200)
                assert texts(await bob.messages(200)) == [str(n) for n in range(1, 201)]
                assert ann.phone is not None
                assert bob.phone is not None
                answers = await asyncio.gather(
                    *[phone.rest("GET", path) for phone in (ann.phone, bob.phone) * 10
                      for path in ("/me", "/conversations", "/contacts", "/devices")]
                )  # fmt: skip
                assert {answer.status_code for answer in answers} == {200}
                made = await ann.phone.rest("POST", "/groups", {"name": "all", "members": [bob.phone.user]})
                group = made.json()["groupId"]
                await ann.say(group, "hello")
                await bob.expect(frames.Message, conversation_id=group)
            sessions = int(server.sql(f"SELECT count(*) FROM pg_stat_activity WHERE usename = '{USER}'"
                                      " AND pid <> pg_backend_pid() AND backend_type = 'client backend'"))  # fmt: skip
            assert 0 < sessions <= SERVER_CONNECTIONS
    finally:
        pooler.child.stop()
        child.stop()


#: What leaves something behind in a session of the server. ``SET LOCAL`` and ``set_config(…, true)`` end with the transaction.
_KEPT = re.compile(
    r"pg_(?:try_)?advisory_lock|\bLISTEN\s+\w|\bUNLISTEN\b|CREATE\s+TEMP|\bDECLARE\s+\w+\s+CURSOR"
    r"|\bSET\s+SESSION\b|set_config\([^)]*,\s*false\)|[\"']\s*SET\s+(?!LOCAL)[a-z_]+\s*(?:=|TO)|WITH\s+HOLD"
)


def test_no_sql_of_ours_keeps_anything_in_a_session() -> None:
    found = [
        f"{path.relative_to(REPO)}: {match.group()}"
        for app in ("accounts", "chats", "delivery", "groups", "whatsapp")
        for path in (REPO / app).rglob("*.py")
        for match in _KEPT.finditer(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "SELECT pg_advisory_lock(1)", "LISTEN events", "CREATE TEMP TABLE x", '"SET lock_timeout = 1"',
        "SELECT set_config('a', 'b', false)",
    ],
)  # fmt: skip
def test_twin_what_that_looks_for_is_found(text: str) -> None:
    assert _KEPT.search(text)
