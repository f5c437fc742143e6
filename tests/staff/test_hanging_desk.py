"""A process that hangs in the midst of what a moderator decides keeps the case from others for a while, not for ever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from django.db import DatabaseError, connection, transaction

from accounts.models import Case
from accounts.rest import problems
from accounts.services import cases
from devtools.paths import REPO
from tests.accounts.conftest import sign_in
from tests.staff.cases import report
from tests.staff.conftest import Staff
from tests.support.patience import LONG
from tests.support.waiting import Beside, until_it_waits_or_ends
from whatsapp.settings.databases import database
from whatsapp.staff.models import AuditRecord

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey_server")]

_HALF = """
from django.contrib.auth.models import User
from django.db import transaction
from accounts.models import Case
from accounts.services import cases
from whatsapp.staff import audit
user, case = User.objects.get(username={name!r}), Case.objects.get()
with transaction.atomic():
    audit.record(by=user, on=cases.claim(case, user.username), message="Claimed", action="case.claimed")
    print("half", flush=True)
    import time; time.sleep(1000)
"""


@contextmanager
def hanging(postgres: Any, staff: Staff, idle_ms: int) -> Iterator[subprocess.Popen[str]]:
    """A process that has claimed the case, has not committed, and is frozen."""
    url = postgres.url(connection.settings_dict["NAME"])
    options = quote(f"-c idle_in_transaction_session_timeout={idle_ms}")
    process = subprocess.Popen(
        [sys.executable, "manage.py", "shell", "--no-imports", "-c", _HALF.format(name=staff.user.username)],
        env={**os.environ, "DATABASE_URL": f"{url}?options={options}"},
        cwd=REPO,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "half\n"
        process.send_signal(signal.SIGSTOP)
        yield process
    finally:
        process.kill()
        process.wait()


def claiming(case: Case, staff: Staff) -> Beside:
    thread = Beside(lambda: cases.claim(case, staff.user.username).claimed_by)
    thread.start()
    until_it_waits_or_ends(thread)
    return thread


def test_another_gets_the_case_of_a_process_that_hangs(
    make_staff: Callable[..., Staff], postgres_server: Any
) -> None:
    one, other = make_staff(role="moderator", signed_in=False), make_staff(role="moderator", signed_in=False)
    case = report(sign_in())
    with hanging(postgres_server, one, 1_000):
        thread = claiming(case, other)
        thread.join(LONG)
        assert thread.answers == [other.user.username]
    assert not AuditRecord.objects.filter(by=one.user.username, action="case.claimed").exists()


def test_twin_without_an_end_it_is_waited_for_until_the_process_dies(
    make_staff: Callable[..., Staff], postgres_server: Any
) -> None:
    one, other = make_staff(role="moderator", signed_in=False), make_staff(role="moderator", signed_in=False)
    case = report(sign_in())
    with hanging(postgres_server, one, 0) as process:
        thread = claiming(case, other)
        thread.join(3)
        assert thread.answers == []
        process.kill()
        thread.join(LONG)
        assert thread.answers == [other.user.username]


def test_every_process_has_such_an_end() -> None:
    """Longer than a bucket may take to copy a file within a transaction."""
    from django.conf import settings

    options = database("postgresql://db/chat", pool=True)["OPTIONS"]["options"]
    with connection.cursor() as cursor:
        cursor.execute("SELECT setting FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'")
        (ms,) = cursor.fetchone()
    assert f"idle_in_transaction_session_timeout={ms}" in options
    assert settings.S3_FINISH_TIMEOUT_MS + 2 * settings.S3_TIMEOUT_MS < int(ms) <= 300_000


@pytest.mark.parametrize("at", ["the next statement", "the commit"])
def test_whose_transaction_was_ended_is_told_to_try_again(postgres_server: Any, at: str) -> None:
    """And has another connection then."""

    def ended(pid: int) -> bool:
        with psycopg.connect(postgres_server.url(connection.settings_dict["NAME"])) as beside:
            return beside.execute("SELECT 1 FROM pg_stat_activity WHERE pid = %s", [pid]).fetchone() is None

    with connection.cursor() as cursor:
        cursor.execute("SET idle_in_transaction_session_timeout = 100")
    with pytest.raises(DatabaseError) as raised, transaction.atomic():
        pid = asked("SELECT pg_backend_pid()")
        deadline = time.monotonic() + LONG
        while not ended(pid):
            assert time.monotonic() < deadline, "the server does not end it"
            time.sleep(0.05)
        if at == "the next statement":
            asked("SELECT 1")
    body, status, _ = problems.describe(raised.value)
    assert (status, body["code"], body["retryable"]) == (503, "unavailable", True)
    assert asked("SELECT pg_backend_pid()") != pid


def asked(sql: str) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone()[0]
