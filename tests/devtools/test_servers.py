"""The servers from wheels: they answer, copies of the migrated database are quick, a killed parent leaves none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from devtools.paths import REPO
from devtools.processes import is_alive
from devtools.valkey import ValkeyServer
from tests.support import early
from tests.support.servers import Postgres, Valkey

_PARENT = """
import sys, time
from pathlib import Path
from devtools.postgres import PostgresServer
from devtools.valkey import ValkeyServer
folder = Path(sys.argv[1])
servers = [
    PostgresServer(folder / "postgres", password="p", log=folder / "postgres.log"),
    ValkeyServer(folder / "valkey", password="p", log=folder / "valkey.log"),
]
print(*[server.start().pid for server in servers], flush=True)
time.sleep(600)
"""


def test_postgres_is_18_and_durable_by_default(postgres_server: Postgres) -> None:
    from devtools.postgres import SETTINGS

    assert postgres_server.sql("SHOW server_version").startswith("18.")
    assert SETTINGS["fsync"] == SETTINGS["synchronous_commit"] == "on"


def test_valkey_is_9_keeps_an_append_only_file_and_evicts_nothing(valkey_server: Valkey) -> None:
    import redis

    with redis.Redis.from_url(valkey_server.url()) as client:
        assert client.info("server")["valkey_version"].startswith("9.")
        config = client.config_get("append*", "maxmemory-policy")
    assert config["appendonly"] == "yes"
    assert config["appendfsync"] == "everysec"
    assert config["maxmemory-policy"] == "noeviction"


def test_valkey_refuses_a_client_without_the_password(valkey_server: Valkey) -> None:
    import redis

    with redis.Redis(port=valkey_server.server.port) as client, pytest.raises(redis.AuthenticationError):
        client.ping()


def test_what_was_written_is_there_after_a_kill(tmp_path: Path) -> None:
    import redis

    server = ValkeyServer(tmp_path / "valkey", password="p", log=tmp_path / "valkey.log")
    child = server.start()
    try:
        with redis.Redis.from_url(server.url()) as client:
            client.set("k", "v")
        child.kill()
        child = server.start()
        with redis.Redis.from_url(server.url()) as client:
            assert client.get("k") == b"v"
    finally:
        child.stop()


@pytest.mark.parametrize("user", ["", "nobody"])
def test_servers_die_with_a_killed_parent(user: str) -> None:
    if user and os.geteuid() != 0:
        user = ""  # only root can become another user
    folder = early.FOLDER / f"killed-{user}"
    folder.mkdir(mode=0o711)
    parent = subprocess.Popen(
        [sys.executable, "-c", _PARENT, str(folder)],
        cwd=REPO,
        env={**os.environ, "WHATSAPP_POSTGRES_USER": user},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert parent.stdout is not None
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert len(pids) == 2
    assert all(map(is_alive, pids))
    parent.send_signal(signal.SIGKILL)
    parent.wait(10)
    deadline = time.monotonic() + 10
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(map(is_alive, pids))
