"""Lists of any length: what is filtered or searched for is read from an index in its order, nothing else is sorted,
and numbers that nobody knows are not told as if somebody did."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import Account, Erasure, Sanction
from notifications.models import PushTarget
from tests.accounts.conftest import sign_in
from tests.staff.conftest import Staff
from tests.staff.world import make_world
from whatsapp.infra.clock import now_ms
from whatsapp.staff import counting
from whatsapp.staff.admins import filters
from whatsapp.staff.models import AuditRecord

pytestmark = pytest.mark.usefixtures("db", "valkey_server")

Make = Callable[..., Staff]
ROWS = 600
#: Of so many rows each rare one is found.
EACH = 200
SUBJECT = str(uuid.UUID(int=7))


def _rows() -> None:
    now, user, kind = (
        now_ms(),
        User.objects.create_user("colleague"),
        ContentType.objects.get_for_model(Account),
    )
    account = Account.objects.create(phone="+15550001")
    numbers = range(ROWS)
    Sanction.objects.bulk_create(
        Sanction(
            account=account, kind="permanent" if n % EACH == 0 else "slow_down", reason="spam", imposed_at=now,
            imposed_by="automatic", appeal="asked" if n % EACH == 0 else "",
        )
        for n in numbers
    )  # fmt: skip
    Erasure.objects.bulk_create(
        Erasure(
            user=uuid.uuid4(), user_hash=uuid.uuid4().bytes, state="held" if n % EACH == 0 else "done", asked_at=now,
            erase_at=now, due_at=now, next_at=now,
        )
        for n in numbers
    )  # fmt: skip
    AuditRecord.objects.bulk_create(
        AuditRecord(
            at=now, by="colleague", action="job.run" if n % EACH == 0 else "case.looked", object_type="accounts.case",
            object_id=SUBJECT if n % EACH == 0 else str(uuid.uuid4()), message="Looked", salt=b"s", details=b"d", mac=b"m",
        )
        for n in numbers
    )  # fmt: skip
    other = User.objects.create_user("rarely")
    LogEntry.objects.bulk_create(
        LogEntry(
            user=other if n % EACH == 0 else user, content_type=kind, object_id=SUBJECT if n % EACH == 0 else str(uuid.uuid4()),
            object_repr="x", action_flag=2, change_message="Looked",
        )
        for n in numbers
    )  # fmt: skip
    with connection.cursor() as cursor:
        for table in ("accounts_sanction", "accounts_erasure", "staff_auditrecord", "django_admin_log"):
            cursor.execute(f"ANALYZE {table}")


def test_what_is_filtered_is_read_from_its_index(superuser: Staff) -> None:
    """Of few rows the planner may prefer to read all of them."""
    _rows()
    rarely = User.objects.get(username="rarely").pk
    pages = {
        "accounts/sanction/?kind__exact=permanent": ("accounts_sanction", "accounts_sanction_kind"),
        "accounts/sanction/?appeal__exact=asked": ("accounts_sanction", "accounts_sanction_"),
        "accounts/erasure/?state__exact=held": ("accounts_erasure", "accounts_erasure_state"),
        "staff/auditrecord/?action=job.run": ("staff_auditrecord", "staff_audit_action"),
        f"staff/auditrecord/?q={SUBJECT}": ("staff_auditrecord", "staff_audit_object"),
        f"admin/logentry/?user={rarely}": (
            "django_admin_log",
            r"staff_log_user|django_admin_log_user_id",
        ),  # to count, one or the other
        f"admin/logentry/?q={SUBJECT}": ("django_admin_log", "staff_log_object"),
    }
    with connection.cursor() as cursor:
        for way in ("sort", "seqscan", "bitmapscan", "incremental_sort"):
            cursor.execute(f"SET LOCAL enable_{way} = off")
    for path, (table, index) in pages.items():
        with CaptureQueriesContext(connection) as asked:
            superuser.page(f"/admin/{path}")
        said = [query["sql"] for query in asked if f'FROM "{table}"' in query["sql"]]
        wanted = [sql for sql in said if " WHERE " in sql and "RECURSIVE" not in sql]
        assert len(wanted) >= 2, path  # the rows, and how many there are
        for sql in wanted:
            with connection.cursor() as cursor:
                cursor.execute(f"EXPLAIN (FORMAT JSON) {sql.replace('%', '%%')}", [])
                plan = json.dumps(cursor.fetchone()[0])
            assert re.search(index, plan), (path, sql, plan)
            for word in ("Seq Scan", '"Sort"'):
                assert word not in plan, (path, sql, plan)


def test_an_order_that_no_heading_offers_is_none(superuser: Staff) -> None:
    make_world()
    columns = {"accounts/sanction": 9, "staff/auditrecord": 8, "admin/logentry": 6}
    for path, number in columns.items():
        for column in range(1, number):
            with CaptureQueriesContext(connection) as asked:
                superuser.page(f"/admin/{path}/?o={column}")
            table = {"admin/logentry": "django_admin_log"}.get(path, path.replace("/", "_"))
            said = [query["sql"] for query in asked if f'FROM "{table}"' in query["sql"]]
            lists = [sql for sql in said if " ORDER BY " in sql and "RECURSIVE" not in sql]
            assert lists, path
            for sql in lists:
                assert sql.split(" ORDER BY ")[-1].split(".")[-1].startswith('"id"'), sql


def test_more_than_can_be_counted_is_told_as_more(superuser: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "EXACT", 3)
    monkeypatch.setattr(counting, "estimates", lambda tables: dict.fromkeys(tables, 12_345))
    account = Account.objects.create(phone="+15550001")
    for _ in range(5):
        Sanction.objects.create(
            account=account, kind="limit", reason="spam", imposed_at=1, imposed_by="automatic"
        )
    assert "more than 3 sanctions" in superuser.page("/admin/accounts/sanction/?kind__exact=limit")
    assert "≈ 12,345 sanctions" in superuser.page("/admin/accounts/sanction/")


def test_a_filter_offers_what_there_is(superuser: Staff, monkeypatch: pytest.MonkeyPatch) -> None:
    for action in ("b.two", "a.one", "b.two", "c.three"):
        AuditRecord.objects.create(
            at=1,
            by="x",
            action=action,
            object_type="x",
            object_id="x",
            message="",
            salt=b"",
            details=b"",
            mac=b"",
        )
    actions = set(AuditRecord.objects.values_list("action", flat=True))
    assert filters.values_of(AuditRecord, "action") == sorted(actions)
    monkeypatch.setattr(filters, "MOST", 2)
    assert filters.values_of(AuditRecord, "action") == sorted(actions)[:2]


@pytest.mark.parametrize("wanted", ["x", "-1", "9" * 30, "٣", "0"])
def test_nobody_of_the_staff_did_nothing(superuser: Staff, wanted: str) -> None:
    page = superuser.page(f"/admin/admin/logentry/?user={wanted}")
    assert f"?user={superuser.user.pk}" in page, "the filter offers them"
    assert "field-what_on" not in page


def test_where_a_user_is_notified_is_found_by_device_user_and_number(superuser: Staff) -> None:
    world, other = make_world(), sign_in()
    path = "/admin/notifications/pushtarget/?q="
    for wanted in (world.ann.user_id, world.ann.device_id, world.ann.phone.replace("+", "%2B")):
        page = superuser.page(path + wanted)
        assert f"pushtarget/{world.ann.device_id}/" in page, wanted
        assert f"pushtarget/{world.bob.device_id}/" not in page, wanted
    assert PushTarget.objects.count() == 2
    assert "pushtarget/" + world.ann.device_id not in superuser.page(path + other.user_id)


@pytest.mark.parametrize(
    ("path", "title"),
    [
        ("accounts/limitoverride/", "Other limits"),
        ("accounts/lawfulrequest/", "For authorities"),
        ("staff/auditrecord/", "Audit chain"),
        ("accounts/erasure/", "Erasures"),
    ],
)
def test_a_list_is_called_as_the_menu_calls_it(superuser: Staff, path: str, title: str) -> None:
    page = superuser.page(f"/admin/{path}")
    assert re.findall(r'truncate tracking-tight">\s*([^<]*?)\s*</', page) == [title]


def test_a_page_says_of_which_list_it_is(superuser: Staff) -> None:
    override = make_world().override
    page = superuser.page(f"/admin/accounts/limitoverride/{override.pk}/change/")
    crumbs = re.findall(r'truncate tracking-tight[^"]*">\s*([^<]*?)\s*</', page)
    assert crumbs == ["Other limits", f"messages_per_minute of user …{str(override.subject)[-8:]}"]
