"""Content is blocked while the bucket hangs: at once for everybody, and its files go when the bucket is back, whoever died
meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from django.db import connection

from media import tasks
from media.models import BlockedContent, Media, State
from media.pipeline.process import process
from tests.media.conftest import assert_problem, direct, kept, sign_in
from tests.media.test_content import asked
from tests.media.test_erasure import in_bucket, own_s3  # noqa: F401 - a fixture
from tests.media.test_process import photo, sent
from tests.staff.conftest import Staff
from tests.support.patience import LONG, PATIENCE
from tests.support.s3 import S3
from whatsapp.staff.models import AuditRecord

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.needs_s3, pytest.mark.long]

LIST = "/admin/media/media/"
REASON = "reported by many"
#: Without any progress of the bucket.
PATIENCE_MS = 1_000


@pytest.fixture(autouse=True)
def _enqueued(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no broker here: what is to be done follows from rows."""
    monkeypatch.setattr("delivery.tasks.enqueue", lambda task, *args: None)
    monkeypatch.setattr("delivery.tasks.enqueue_soon", lambda task, *args: None)


def dropping(env: dict[str, str], postgres: Any) -> subprocess.Popen[str]:
    """A worker that deletes files of what is blocked."""
    database = postgres.url(connection.settings_dict["NAME"])
    return subprocess.Popen(
        [
            *(sys.executable, "manage.py", "shell", "--no-imports", "-c"),
            "from media import tasks; print('begins', flush=True); tasks.drop_blocked()",
        ],
        env={**os.environ, **env, "DATABASE_URL": database, "S3_TIMEOUT_MS": str(60_000)},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_it_is_blocked_at_once_and_its_files_go_when_the_bucket_is_back(
    superuser: Staff,
    own_s3: S3,  # noqa: F811
    settings: Any,
    postgres_server: Any,
) -> None:
    settings.S3_TIMEOUT_MS, settings.S3_BREAKER_OPEN_MS = PATIENCE_MS, 100
    env = {
        **own_s3.variables(),
        "S3_PREFIX": own_s3.new_prefix(),
        "S3_TIMEOUT_MS": str(PATIENCE_MS),
        "NO_PROXY": "127.0.0.1",
    }
    place = in_bucket(env, settings)
    data, ann, bob = photo(), sign_in(), sign_in()
    chat = direct(ann, bob)
    media, other = sent(ann, chat, data), sent(bob, chat, data)
    for one in (media, other):
        assert process(one) == State.READY
    own_s3.freeze()
    began = time.monotonic()
    answer = superuser.client.post(f"{LIST}{media}/block/", {"reason": REASON})
    assert answer.status_code == 302
    assert superuser.client.get(answer.url).status_code == 200
    assert time.monotonic() - began < PATIENCE
    for person, one in ((ann, media), (bob, other)):
        assert_problem(asked(person, one), "gone", 410)
    assert AuditRecord.objects.filter(action="content.blocked").count() == 1
    began = time.monotonic()
    assert tasks.drop_blocked() == 0
    assert time.monotonic() - began < PATIENCE
    worker = dropping(env, postgres_server)
    assert worker.stdout is not None
    assert worker.stdout.readline() == "begins\n"
    deadline = time.monotonic() + LONG
    while not _locked():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    began = time.monotonic()
    assert superuser.client.get(LIST).status_code == 200
    assert (
        superuser.client.post(
            f"/admin/media/blockedcontent/{Media.objects.get(pk=media).sha256}/unblock/", {"reason": REASON}
        ).status_code
        == 302
    )
    assert not BlockedContent.objects.exists()
    own_s3.thaw()
    deadline = time.monotonic() + LONG
    while kept(place.storage):
        assert time.monotonic() < deadline
        tasks.drop_blocked()
    for person, one in ((ann, media), (bob, other)):
        assert_problem(asked(person, one), "gone", 410)


def _locked() -> bool:
    """Somebody has the lock of an object, while it waits for the bucket."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted")
        return bool(cursor.fetchone()[0])
