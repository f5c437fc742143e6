"""Where PostgreSQL is, from the environment to what libpq and Django are told."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from django.core.exceptions import ImproperlyConfigured

from devtools import external
from whatsapp.infra.postgres import open_pool, parameters
from whatsapp.settings.databases import IDLE_MS, database

SEVERAL = "postgresql://chat:p%40ss@db1:5432,db2:5433/chat"


def test_several_servers_are_one_address_and_only_who_takes_writes_will_do() -> None:
    entry = database(SEVERAL, pool=True)
    assert (entry["HOST"], entry["PORT"]) == ("db1,db2", "5432,5433")
    assert (entry["USER"], entry["PASSWORD"], entry["NAME"]) == ("chat", "p@ss", "chat")
    assert entry["OPTIONS"]["target_session_attrs"] == "read-write"
    assert "target_session_attrs=read-write" in open_pool(SEVERAL).conninfo
    assert external._malformed("DATABASE_URL", SEVERAL) is None


def test_one_address_is_held_to_the_same_and_the_url_has_the_last_word() -> None:
    assert parameters("postgresql://db/chat")["target_session_attrs"] == "read-write"
    assert parameters("postgresql://db/chat?target_session_attrs=any")["target_session_attrs"] == "any"


def test_a_replica_takes_no_writes() -> None:
    entry = database("postgresql://db2/chat", pool=True, name="REPLICA_URL", reads=True)
    assert "default_transaction_read_only=on" in entry["OPTIONS"]["options"]
    assert entry["OPTIONS"]["target_session_attrs"] == "prefer-standby"
    with pytest.raises(ImproperlyConfigured, match="REPLICA_URL must be"):
        database("mysql://x", pool=True, name="REPLICA_URL", reads=True)


def test_a_server_that_is_gone_without_a_word_is_noticed() -> None:
    options = database(SEVERAL, pool=True)["OPTIONS"]
    assert options["tcp_user_timeout"] <= 10_000
    assert options["keepalives_idle"] + options["keepalives_interval"] * options["keepalives_count"] <= 30


def test_requests_that_wait_for_a_new_primary_get_a_fresh_attempt_in_time() -> None:
    """The pool's attempts come at doubled pauses until it gives up; only then does the next request begin a new one."""
    pool = database(SEVERAL, pool=True)["OPTIONS"]["pool"]
    assert pool["reconnect_timeout"] < pool["timeout"]


def test_own_options_leave_the_end_of_what_hangs_and_have_the_last_word() -> None:
    ends = "-c idle_in_transaction_session_timeout="

    def told(own: str) -> str:
        return str(database(f"postgresql://db/chat?options={quote(own)}", pool=True)["OPTIONS"]["options"])

    assert told("-c search_path=chat") == f"{ends}{IDLE_MS} -c search_path=chat"
    assert told(f"{ends}7") == f"{ends}{IDLE_MS} {ends}7"


def test_behind_a_pooler_nothing_is_kept_in_a_session(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "options" in open_pool("postgresql://db/chat").kwargs
    monkeypatch.setenv("DATABASE_POOLER", "transaction")
    assert "options" not in open_pool("postgresql://db/chat").kwargs
    entry = database("postgresql://db/chat", pool=True)
    assert entry["DISABLE_SERVER_SIDE_CURSORS"]
    assert "options" not in entry["OPTIONS"]
