"""The audit log: in the transaction of the deed, in one chain, closed to everybody who would change it, and it is found out if
somebody with the powers of the database does it all the same."""

from __future__ import annotations

import hashlib
import threading
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction

from accounts.models import Account
from tests.accounts.conftest import at_once, new_number, parallel
from tests.staff.conftest import Staff
from whatsapp.infra import metrics
from whatsapp.infra.clock import now_ms
from whatsapp.staff import audit, chain, tasks
from whatsapp.staff.models import Approval, AuditCheck, AuditRecord

#: What commits, and what the database does then, is looked at.
pytestmark = pytest.mark.django_db(transaction=True)

Make = Callable[..., Staff]


@pytest.fixture
def clerk() -> User:
    return User.objects.create_user(f"clerk-{uuid.uuid4()}", is_staff=True)


@pytest.fixture
def account() -> Account:
    return Account.objects.create(phone=new_number())


@pytest.fixture
def ten(clerk: User, account: Account) -> list[AuditRecord]:
    for number in range(10):
        audit.record(by=clerk, on=account, message=f"Did {number}.", action="test.did")
    return list(AuditRecord.objects.order_by("seq"))


def sql(text: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(text, values)


def as_superuser(*statements: str) -> None:
    """Past the triggers, as somebody who owns the database can."""
    with transaction.atomic():
        sql("SET LOCAL session_replication_role = 'replica'")
        for statement in statements:
            sql(statement)


def finding() -> str:
    return chain.verify().finding


def links() -> None:
    """Every hash and ``previous`` anew, without the key: what a careful forger does."""
    before = chain.ZERO
    for row in AuditRecord.objects.order_by("seq"):
        new = hashlib.sha256(before + int(row.seq or 0).to_bytes(8, "big") + bytes(row.mac)).digest()
        as_superuser(
            f"UPDATE staff_auditrecord SET previous = '\\x{before.hex()}', hash = '\\x{new.hex()}' WHERE id = {row.pk}"
        )
        before = new


def test_records_are_one_chain_and_commit_with_their_deed(clerk: User, account: Account) -> None:
    with pytest.raises(RuntimeError), transaction.atomic():
        Account.objects.filter(pk=account.pk).update(name="x")
        audit.record(by=clerk, on=account, message="Never happened.")
        raise RuntimeError
    assert not AuditRecord.objects.exists()
    with transaction.atomic():
        audit.record(by=clerk, on=account, message="One.", action="test.one")
        audit.record(by=clerk, on=account, message="Two.")
    first, second = AuditRecord.objects.order_by("seq")
    assert (first.seq, second.seq) == (1, 2)
    assert bytes(second.previous or b"") == bytes(first.hash or b"")
    assert (first.action, first.by, first.object_type, first.object_id) == (
        "test.one", clerk.username, "accounts.account", str(account.pk),
    )  # fmt: skip
    assert LogEntry.objects.filter(object_id=str(account.pk)).count() == 2
    assert finding() == ""


def test_writers_at_once_are_one_after_the_other_in_the_chain(clerk: User) -> None:
    def deeds() -> None:
        account = Account.objects.create(phone=new_number())
        for _ in range(8):
            with transaction.atomic():
                audit.record(by=clerk, on=account, message="One.")
                audit.record(by=clerk, on=account, message="Two.")

    parallel(8, deeds)
    seqs = list(AuditRecord.objects.order_by("seq").values_list("seq", flat=True))
    assert seqs == list(range(1, 129))
    assert finding() == ""


@pytest.mark.parametrize("eager", [False, True])
def test_the_chain_makes_no_deadlock_with_locks_of_services(
    clerk: User, account: Account, eager: bool
) -> None:
    """One has locked an account and records, another one has recorded and wants that account. The twin locks the chain when it
    records."""
    locked, recorded = threading.Event(), threading.Event()

    def record() -> None:
        if eager:
            sql("SELECT pg_advisory_xact_lock(hashtextextended('staff_audit', 0))")
        audit.record(by=clerk, on=account, message="Did it.")

    def lock() -> None:
        Account.objects.select_for_update().get(pk=account.pk)

    def locks_first() -> str:
        with transaction.atomic():
            lock()
            locked.set()
            recorded.wait(30)
            record()
        return "done"

    def records_first() -> str:
        with transaction.atomic():
            locked.wait(30)
            record()
            recorded.set()
            lock()
        return "done"

    def outcome(deed: Callable[[], str]) -> str:
        try:
            return deed()
        except DatabaseError as error:
            return "deadlock" if "deadlock" in str(error) else str(error)

    found = at_once(lambda: outcome(locks_first), lambda: outcome(records_first))
    assert sorted(found) == (["deadlock", "done"] if eager else ["done", "done"])
    assert finding() == ""


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE staff_auditrecord SET message = 'x' WHERE seq = 3",
        "UPDATE staff_auditrecord SET seq = 99 WHERE seq = 3",
        "UPDATE staff_auditrecord SET mac = 'x' WHERE seq = 3",
        "UPDATE staff_auditrecord SET object_id = '' WHERE seq = 3",
        "DELETE FROM staff_auditrecord WHERE seq = 3",
        "DELETE FROM staff_auditrecord",
        "TRUNCATE staff_auditrecord",
        "UPDATE staff_auditanchor SET seq = 1",
        "DELETE FROM staff_auditanchor",
        "TRUNCATE staff_auditanchor",
        "INSERT INTO staff_auditrecord (seq, at, by, action, object_type, object_id, message, salt, details, mac, previous, hash)"
        " SELECT 11, at, by, action, object_type, object_id, message, salt, details, mac, hash, hash FROM staff_auditrecord"
        " WHERE seq = 10",
    ],
)
def test_the_database_refuses_every_change(ten: Any, statement: str) -> None:
    chain.anchor()
    with pytest.raises(DatabaseError, match="cannot be changed"), transaction.atomic():
        for table, trigger in (
            ("staff_auditrecord", "staff_audit_no_truncate"),
            ("staff_auditanchor", "staff_audit_anchor_no_truncate"),
        ):
            sql(f"ALTER TABLE {table} ENABLE TRIGGER {trigger}")  # off in tests, which empty all tables
        sql(statement)
    assert finding() == ""


@pytest.mark.parametrize(
    ("statements", "found"),
    [
        (["UPDATE staff_auditrecord SET message = 'Did nothing.' WHERE seq = 4"], "record 4"),
        (["UPDATE staff_auditrecord SET object_id = 'another' WHERE seq = 4"], "record 4"),
        (["UPDATE staff_auditrecord SET by = 'somebody' WHERE seq = 4"], "record 4"),
        (["UPDATE staff_auditrecord SET at = at - 1 WHERE seq = 4"], "record 4"),
        (["UPDATE staff_auditrecord SET action = 'test.not' WHERE seq = 4"], "record 4"),
        (["UPDATE staff_auditrecord SET mac = sha256('x') WHERE seq = 4"], "record 4"),
        (["UPDATE staff_auditrecord SET salt = '', message = '', object_id = '' WHERE seq = 4"], "record 4"),
        (["DELETE FROM staff_auditrecord WHERE seq = 4"], "4 is missing"),
        (["DELETE FROM staff_auditrecord WHERE seq = 1"], "1 is missing"),
        (
            [
                "UPDATE staff_auditrecord SET seq = -4 WHERE seq = 4",
                "UPDATE staff_auditrecord SET seq = 4 WHERE seq = 5",
                "UPDATE staff_auditrecord SET seq = 5 WHERE seq = -4",
            ],
            "record 4",
        ),
        (
            [
                "INSERT INTO staff_auditrecord (seq, at, by, action, object_type, object_id, message, salt, details, mac)"
                " SELECT NULL, at, by, action, object_type, object_id, message, salt, details, mac FROM staff_auditrecord"
                " WHERE seq = 4"
            ],
            "never got its place",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else str(len(value)),
)
def test_who_changes_it_past_the_triggers_is_found(ten: Any, statements: list[str], found: str) -> None:
    assert finding() == ""
    as_superuser(*statements)
    assert found in finding()
    with pytest.raises(CommandError, match="NOT WHOLE"):
        call_command("audit_verify")


@pytest.mark.parametrize("what", ["removed", "moved", "written twice"])
def test_who_computes_the_chain_anew_is_found_by_the_anchor(ten: Any, what: str) -> None:
    """SHA-256 has no key: without an anchor nobody could tell, which is the twin."""
    columns = "at, by, by_id, action, object_type, object_id, message, salt, details, mac"
    statements = {
        "removed": [
            "DELETE FROM staff_auditrecord WHERE seq = 4",
            *(f"UPDATE staff_auditrecord SET seq = {seq - 1} WHERE seq = {seq}" for seq in range(5, 11)),
        ],
        "moved": [
            "UPDATE staff_auditrecord SET seq = -4 WHERE seq = 4",
            "UPDATE staff_auditrecord SET seq = 4 WHERE seq = 5",
            "UPDATE staff_auditrecord SET seq = 5 WHERE seq = -4",
        ],
        "written twice": [
            f"INSERT INTO staff_auditrecord (seq, {columns}) SELECT 11, {columns} FROM staff_auditrecord WHERE seq = 4"
        ],
    }[what]
    kept = None
    if what != "written twice":
        kept = chain.anchor()
        assert kept is not None
    as_superuser(*statements)
    links()
    if kept is not None:
        assert finding() != ""
        as_superuser("DELETE FROM staff_auditanchor")
    assert finding() == ""  # without anchors: nothing to see
    if kept is not None:
        assert chain.verify(anchors=[kept]).finding != ""


def test_a_tail_that_was_cut_is_found_by_an_anchor_that_is_elsewhere(
    ten: Any, tmp_path: Path, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.AUDIT_ANCHORS = str(tmp_path / "anchors")
    with caplog.at_level("INFO", logger="whatsapp.staff.chain"):
        tasks.audit_check()
    (line,) = [text.getMessage() for text in caplog.records if "audit anchor" in text.getMessage()]
    assert chain.anchor() is None  # nothing is new
    as_superuser("DELETE FROM staff_auditrecord WHERE seq > 7")
    assert "ends at 7" in finding()
    as_superuser("DELETE FROM staff_auditanchor")
    assert finding() == ""
    with pytest.raises(CommandError, match="ends at 7"):
        call_command("audit_verify", anchors=tmp_path / "anchors")
    (tmp_path / "from-the-log").write_text(line)
    with pytest.raises(CommandError, match="ends at 7"):
        call_command("audit_verify", anchors=tmp_path / "from-the-log")
    (tmp_path / "forged").write_text(line.replace('"seq": 10', '"seq": 7'))
    with pytest.raises(CommandError, match="not made with our key"):
        call_command("audit_verify", anchors=tmp_path / "forged")
    (tmp_path / "odd").write_text("{}")
    with pytest.raises(CommandError, match="no anchor"):
        call_command("audit_verify", anchors=tmp_path / "odd")


@pytest.mark.parametrize("written", [3, 40])
def test_an_anchor_that_was_not_written_to_its_end_spoils_no_other(
    ten: Any, written: int, clerk: User, account: Account, tmp_path: Path, settings: Any
) -> None:
    """A disk without room, or a process that died there. The file takes nothing back, so nobody can mend it."""
    file = tmp_path / "anchors"
    settings.AUDIT_ANCHORS = str(file)
    chain.anchor()
    file.write_text(file.read_text() + file.read_text().strip()[:written])
    audit.record(by=clerk, on=account, message="Did more.", action="test.did")
    chain.anchor()
    kept = chain.read_anchors(file.read_text().splitlines())
    assert [anchor.good() for anchor in kept] == [True, True]
    call_command("audit_verify", anchors=file)


def test_a_check_writes_down_what_it_found_and_alarms(ten: Any) -> None:
    before = dict(metrics.AUDIT_CHECKS.values)
    tasks.audit_check_all()
    as_superuser("UPDATE staff_auditrecord SET message = 'Did nothing.' WHERE seq = 9")
    tasks.audit_check()
    good, bad = AuditCheck.objects.order_by("pk")
    assert (good.finding, good.first, good.last, good.whole) == ("", 1, 10, True)
    assert "record 9" in bad.finding
    for outcome in ("whole", "broken"):
        assert metrics.AUDIT_CHECKS.values[outcome,] == before.get((outcome,), 0) + 1


def test_the_newest_part_begins_at_an_anchor(ten: Any, clerk: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "NEWEST", 3)
    monkeypatch.setattr(chain, "_BATCH", 2)
    chain.anchor()
    for number in range(4):
        audit.record(by=clerk, on=clerk, message=f"More {number}.")
    result = chain.verify(whole=False)
    assert (result.first, result.last, result.finding) == (11, 14, "")
    as_superuser("UPDATE staff_auditrecord SET message = 'x' WHERE seq = 2")
    assert chain.verify(whole=False).finding == ""
    assert "record 2" in finding()


def test_another_secret_key_is_noticed_and_a_former_one_is_not(ten: Any, settings: Any) -> None:
    chain.anchor()
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another one of fifty characters, of which nobody knows"
    assert finding() == ""
    settings.SECRET_KEY_FALLBACKS = []
    assert "not made with our key" in finding()


def test_a_person_who_is_erased_is_forgotten_and_the_chain_holds(
    ten: Any, clerk: User, account: Account
) -> None:
    other = Account.objects.create(phone=new_number())
    audit.record(by=clerk, on=other, message=f"Compared with {account.pk}.")
    audit.record(by=clerk, on=other, message="Something else.")
    Approval.objects.create(
        kind="x", subject=str(account.pk), payload={"also": str(account.pk)}, reason="because", asked_name="x", asked_at=1,
        expires_at=2, state="approved",
    )  # fmt: skip
    while audit.forget([str(account.pk)]):
        pass
    with connection.cursor() as cursor:
        for table in ("staff_auditrecord", "django_admin_log", "staff_approval"):
            cursor.execute(f"SELECT count(*) FROM {table} t WHERE t::text LIKE %s", [f"%{account.pk}%"])
            assert cursor.fetchone() == (0,), table
    assert finding() == ""
    kept = AuditRecord.objects.get(seq=12)
    assert (kept.object_id, kept.message) == (str(other.pk), "Something else.")
    gone = AuditRecord.objects.get(seq=3)
    assert (gone.by, gone.action, gone.message) == (clerk.username, "test.did", "")
    # Somebody else who empties a record with the same rights says nothing of it.
    sql("UPDATE staff_auditrecord SET salt = '', object_id = '', message = '' WHERE seq = 12")
    assert "record 12: forgotten, and no record says so" in finding()


def test_retention_goes_by_a_checkpoint_and_never_into_the_last_year(
    ten: Any, clerk: User, account: Account
) -> None:
    with pytest.raises(CommandError, match="last year"):
        call_command("audit_checkpoint", days=30)
    call_command("audit_checkpoint", days=400)  # nothing is so old
    assert AuditRecord.objects.count() == 10
    past = now_ms() - 2 * chain.YEAR_MS
    as_superuser("DELETE FROM staff_auditrecord")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(audit, "now_ms", lambda: past)
        for number in range(6):
            audit.record(by=clerk, on=account, message=f"Old {number}.")
    audit.record(by=clerk, on=account, message="New.")
    with pytest.raises(DatabaseError, match="cannot be changed"), transaction.atomic():
        sql("DELETE FROM staff_auditrecord WHERE seq = 2")  # old, and no checkpoint
    call_command("audit_checkpoint", days=400)
    assert list(AuditRecord.objects.order_by("seq").values_list("seq", flat=True)) == [7, 8]
    assert finding() == ""
    audit.record(by=clerk, on=account, message="Later.")
    assert chain.verify().first == 7
    # A checkpoint that was not made with our key hides nothing.
    as_superuser("UPDATE staff_auditanchor SET seq = 8")
    assert "not made with our key" in finding()


@pytest.fixture(autouse=True)
def _hot(valkey_server: Any) -> None:
    """Services tell gateways."""
