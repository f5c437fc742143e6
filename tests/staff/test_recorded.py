"""Whatever staff do in the admin is in the audit log: every page is sent forms, and what wrote anything has left a record."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import current_app
from django.contrib import admin
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Model
from django_celery_beat.models import IntervalSchedule

from tests.staff.conftest import PASSWORD, Staff
from tests.staff.world import World, make_world
from whatsapp.staff.admins.base import RecordedAdmin
from whatsapp.staff.models import AuditRecord

pytestmark = pytest.mark.usefixtures("db", "valkey_server")

Make = Callable[..., Staff]
REASON = "reported by three people"
#: Written by looking, or by the record itself.
_NO_DEED = {
    "django_session", "django_admin_log", "staff_auditrecord", "accounts_limithit", "staff_authenticator", "auth_user",
    "django_content_type",
}  # fmt: skip
#: Their other forms are below: what is sent to these depends on what is shown.
_FORM = {
    "confirmed": "1", "reason": REASON, "days": "3", "approve": "", "name": "another name", "every": "7",
    "period": "days", "minute": "9", "hour": "*", "day_of_month": "*", "month_of_year": "*", "day_of_week": "*",
    "timezone": "UTC", "clocked_time_0": "2030-01-01", "clocked_time_1": "00:00:00", "event": "sunrise", "latitude": "1",
    "longitude": "2", "post": "yes", "task": "tests.x", "regtask": "", "interval": "", "args": "[]", "kwargs": "{}",
    "headers": "{}", "username": "somebody-new", "password1": "a password that is long", "is_staff": "on",
    "password2": "a password that is long", "usable_password": "true", "periodictask_set-TOTAL_FORMS": "0",
    "periodictask_set-INITIAL_FORMS": "0", "devices-TOTAL_FORMS": "0", "devices-INITIAL_FORMS": "0",
}  # fmt: skip


@contextmanager
def written() -> Iterator[set[str]]:
    """Tables in which rows were really written."""
    tables: set[str] = set()

    def look(execute: Any, statement: str, values: Any, many: bool, context: Any) -> Any:
        answer = execute(statement, values, many, context)
        found = re.match(r'(?:INSERT INTO|UPDATE|DELETE FROM) "?(\w+)', statement)
        if found and context["cursor"].rowcount > 0 and found[1] not in _NO_DEED:
            tables.add(found[1])
        return answer

    with connection.execute_wrapper(look):
        yield tables


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    monkeypatch.setattr(current_app, "send_task", lambda *args, **options: None)
    return make_world()


def test_every_form_that_writes_something_leaves_a_record(superuser: Staff, world: World) -> None:
    interval = IntervalSchedule.objects.create(every=11, period="minutes")
    other = User.objects.create_user("colleague", is_staff=True)
    wrote: dict[str, set[str]] = {}
    for path in world.pages(other.pk):
        before = AuditRecord.objects.count()
        with written() as tables:
            superuser.client.post(path, {**_FORM, "interval": str(interval.pk)})
        if tables:
            wrote[path] = tables
            assert AuditRecord.objects.count() > before, (path, tables)
    assert len(wrote) > 14, sorted(wrote)  # or the forms are not what the pages want any more


def _chosen(model: type[Model]) -> str:
    return str(model._default_manager.order_by("pk").values_list("pk", flat=True)[0])


def test_every_action_of_a_list_that_writes_something_leaves_a_record(superuser: Staff, world: World) -> None:
    User.objects.create_user("colleague", is_staff=True)
    tried = 0
    request: Any = type("Request", (), {"user": superuser.user, "GET": {}})()
    for model, pages in sorted(admin.site._registry.items(), key=lambda item: item[0]._meta.label):
        if not model._default_manager.exists():
            continue
        for action in pages.get_actions(request):
            path = f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
            before = AuditRecord.objects.count()
            with written() as tables:
                superuser.client.post(path, {**_FORM, "action": action, "_selected_action": _chosen(model)})
            if tables:
                tried += 1
                assert AuditRecord.objects.count() > before, (path, action, tables)
    assert tried >= 8


def test_every_page_of_a_model_writes_djangos_log_into_the_chain() -> None:
    for model, pages in admin.site._registry.items():
        assert isinstance(pages, RecordedAdmin), model


def test_signing_in_and_out_and_ones_own_password_are_recorded(make_staff: Make) -> None:
    staff = make_staff("accounts.view_account")

    def actions() -> list[str]:
        mine = AuditRecord.objects.filter(by_id=staff.user.pk).order_by("pk")
        return list(mine.values_list("action", flat=True))

    assert actions() == ["factor.enrolled"]
    new = {
        "old_password": PASSWORD,
        "new_password1": "another long password",
        "new_password2": "another long password",
    }
    assert staff.client.post("/admin/password_change/", {**new, "old_password": "wrong"}).status_code == 200
    assert staff.client.post("/admin/password_change/", new).status_code == 302
    staff.client.post("/admin/logout/")
    assert actions() == ["factor.enrolled", "staff.password", "staff.signed_out"]
    assert staff.give_password("another long password").url == "/admin/second-factor/"
    staff.client.post("/admin/second-factor/", {"code": "000000"})
    assert actions()[3:] == ["staff.wrong_code"]
    for code in staff.codes()[1:]:
        staff.client.post("/admin/second-factor/", {"code": code})
    assert actions()[3:] == ["staff.wrong_code", "staff.signed_in"]
