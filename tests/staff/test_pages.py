"""Every page opens for who may see it, for nobody else, in few queries, and shows nothing that staff must not know."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import URLPattern, URLResolver, reverse

from accounts.models import Account, Device
from delivery.models import Head
from tests.accounts.conftest import code_for, sign_in
from tests.staff.conftest import Staff
from tests.staff.world import SECRET, World, make_world
from whatsapp.infra.limits import LIMITS
from whatsapp.staff import counting
from whatsapp.staff.moderation import queue

#: Pages ask the hot node too.
pytestmark = pytest.mark.usefixtures("db", "valkey_server")

Make = Callable[..., Staff]


@pytest.fixture
def world() -> World:
    return make_world()


@pytest.mark.timeout(400)  # it opens them all
def test_every_page_opens_for_a_superuser_and_shows_no_contents_no_codes_no_tokens(
    superuser: Staff, world: World
) -> None:
    code = code_for(world.ann.phone)
    markup = "<script>alert(1)</script>"
    Account.objects.filter(pk=world.ann.user_id).update(name=markup, about=markup)
    Device.objects.filter(pk=world.ann.device_id).update(name=markup)
    password = superuser.user.password.split("$")[-1]
    hidden = [SECRET.decode(), SECRET.hex(), world.ann.token, world.ann.refresh_token, password, markup]
    for path in world.pages(superuser.user.pk):
        page = superuser.page(path)
        for text in hidden:
            assert text not in page, path
        assert code not in re.sub(r"<[^>]*>", " ", page).split(), path


def test_what_holds_secrets_has_no_page(superuser: Staff) -> None:
    for app, models in {
        "accounts": (
            "refreshtoken",
            "verificationcode",
            "limithit",
            "contact",
            "keptanswer",
            "installationban",
            "devicelink",
        ),
        "delivery": ("event", "outbox", "head", "pending"),
        "staff": ("authenticator", "backupcode"),
        "sessions": ("session",),
    }.items():
        for model in models:
            assert superuser.client.get(f"/admin/{app}/{model}/").status_code == 404, model


def test_the_list_of_pages_is_whole(superuser: Staff, world: World) -> None:
    """A model or page that is added must be added to the tests that open all of them."""
    tried = " ".join(world.pages(superuser.user.pk))
    for model in admin.site._registry:
        assert f"/admin/{model._meta.app_label}/{model._meta.model_name}/" in tried
    own = {
        "second_factor",
        "enrol",
        "search",
        "password_change_done",
        "logout",
        "login",
        "jsi18n",
        "view_on_site",
    }
    for pattern in admin.site.get_urls():
        if (
            isinstance(pattern, URLResolver)
            or not isinstance(pattern, URLPattern)
            or pattern.name in {*own, None}
        ):
            continue
        if pattern.name in ("autocomplete", "app_list"):
            continue
        path = re.sub(r"<[^>]+>", "", str(pattern.pattern)).split("/")[0]
        assert f"/admin/{path}" in tried, pattern


def test_no_page_for_strangers_and_for_sessions_without_a_second_factor(
    superuser: Staff, world: World
) -> None:
    pages = world.pages(superuser.user.pk)
    anonymous, half = Client(), Client()
    half.force_login(superuser.user)
    token = world.ann.token
    for path in pages:
        for answer in (
            anonymous.get(path),
            half.get(path),
            anonymous.get(path, headers={"Authorization": f"Bearer {token}"}),
            half.post(path, {"reason": "because I can", "days": "3"}),
        ):
            assert (answer.status_code, answer.headers["Location"].split("?")[0]) == (302, "/admin/login/"), (
                path
            )
    assert Account.objects.filter(banned_until__isnull=False).count() == 0


def test_staff_without_permissions_see_the_dashboard_and_no_more(make_staff: Make, world: World) -> None:
    staff = make_staff("sessions.view_session")  # some permission that opens no page
    page = staff.page("/admin/")
    assert "Jobs in trouble" not in page
    assert "What staff did last" not in page
    assert 'href="/admin/accounts/account/"' not in page
    own = {"/admin/", "/admin/security/", "/admin/password_change/"}
    for path in set(world.pages(staff.user.pk)) - own:
        assert "no permission" in staff.page(path, 403), path


_GATES = {
    "staff.view_moderation": "/admin/moderation/figures/",
    "accounts.view_account": "/admin/accounts/account/",
    "accounts.view_device": "/admin/accounts/device/",
    "accounts.view_sanction": "/admin/accounts/sanction/",
    "staff.view_conversation": "/admin/staff/conversation/",
    "staff.view_online": "/admin/online/",
    "staff.view_taskrun": "/admin/jobs/",
    "staff.view_pendingchange": "/admin/staff/pendingchange/",
    "media.view_media": "/admin/media/media/",
    "media.view_blockedcontent": "/admin/media/blockedcontent/",
    "staff.view_limits": "/admin/limits/",
    "accounts.view_smsprefix": "/admin/registrations/",
    "accounts.view_retentionday": "/admin/retention/",
    "auth.view_user": "/admin/auth/user/",
    "admin.view_logentry": "/admin/admin/logentry/",
    "django_celery_beat.view_periodictask": "/admin/schedules/",
    "staff.view_approval": "/admin/approvals/",
    "staff.view_auditrecord": "/admin/staff/auditrecord/",
    "staff.view_auditcheck": "/admin/audit/",
}


def test_a_permission_opens_its_page_and_no_other(make_staff: Make) -> None:
    """Alone it opens it, and all others together do not."""
    staff = make_staff(*_GATES)
    given = {
        f"{one.content_type.app_label}.{one.codename}": one
        for one in staff.user.user_permissions.select_related("content_type")
    }
    assert given.keys() == _GATES.keys()
    for permission, path in _GATES.items():
        staff.user.user_permissions.set([given[permission]])
        assert staff.client.get(path).status_code == 200, path
        staff.user.user_permissions.set(one for name, one in given.items() if name != permission)
        assert staff.client.get(path).status_code == 403, path


def test_looking_is_not_acting(make_staff: Make, world: World) -> None:
    staff = make_staff(*_GATES)
    user, device = world.ann.user_id, world.ann.device_id
    acts = [
        *(f"/admin/accounts/account/{user}/{act}/" for act in ("ban", "lift")),
        *(f"/admin/accounts/device/{device}/{act}/" for act in ("unlink", "end", "ban", "lift")),
        *(f"/admin/accounts/sanction/{world.sanction.pk}/{act}/" for act in ("lift", "grant", "uphold")),
        f"/admin/online/end/?device={device}",
        *(f"/admin/media/media/{world.photo.pk}/{act}/" for act in ("look", "retry", "block")),
        f"/admin/media/blockedcontent/{world.blocked.pk}/unblock/",
        f"/admin/jobs/{world.job.pk}/run/",
        f"/admin/django_celery_beat/periodictask/{world.job.pk}/change/",
        f"/admin/auth/user/{staff.user.pk}/change/",
        f"/admin/accounts/account/{user}/change/",
        f"/admin/staff/conversation/{world.conversation}/change/",
    ]
    for path in acts:
        answer = staff.client.post(path, {"reason": "I would like to", "days": 3, "is_superuser": "on"})
        assert answer.status_code == 403, path
    assert Account.objects.get(pk=user).banned_until is None
    assert Device.objects.get(pk=device).unlinked_at is None
    for model, action in (("account", "ban_chosen"), ("device", "unlink_chosen")):
        chosen = {
            "action": action,
            "_selected_action": [user],
            "confirmed": "1",
            "reason": "because",
            "days": 3,
        }
        staff.client.post(f"/admin/accounts/{model}/", chosen)
    assert Account.objects.get(pk=user).banned_until is None


def test_changing_staff_is_for_superusers_whatever_the_permissions(make_staff: Make) -> None:
    """With "change user" one could make oneself a superuser."""
    staff = make_staff(
        "auth.view_user", "auth.change_user", "auth.add_user", "auth.delete_user", "auth.change_group"
    )
    own = f"/admin/auth/user/{staff.user.pk}"
    fields = {"username": staff.user.username, "is_active": "on", "is_staff": "on", "is_superuser": "on"}
    for path in (f"{own}/change/", f"{own}/delete/", "/admin/auth/user/add/", "/admin/auth/group/add/"):
        assert staff.client.post(path, fields).status_code == 403, path
    other = make_staff(signed_in=False)
    page = staff.client.post(
        f"/admin/auth/user/{other.user.pk}/password/", {"password1": "x" * 20, "password2": "x" * 20}
    )
    assert page.status_code == 403
    assert not User.objects.get(pk=staff.user.pk).is_superuser


def test_who_may_not_is_told_so_in_a_page_and_what_is_not_there_too(superuser: Staff) -> None:
    assert "There is no such page" in superuser.page("/admin/nothing/here/", 404)
    assert "no such" in superuser.page(f"/admin/accounts/account/{uuid.uuid4()}/ban/", 404)
    assert "no such" in superuser.page("/admin/online/end/?device=x", 404)


def test_searching_by_number_and_ids(superuser: Staff, world: World) -> None:
    ann, bob = world.ann, world.bob

    def rows(path: str) -> set[str]:
        page = superuser.page(path)
        return {person.user_id for person in (ann, bob) if person.user_id in page.split("<table", 1)[-1]}

    digits = ann.phone.removeprefix("+")
    for text in (
        ann.phone.replace("+", "%2B"),
        digits,
        f"%2B1 ({digits[1:4]}) {digits[4:]}",
        ann.user_id,
        ann.user_id.upper(),
    ):
        assert rows(f"/admin/accounts/account/?q={text}") == {ann.user_id}, text
    for text in ("nobody", "%2B15559999999", "%27%20OR%201=1", str(uuid.uuid4())):
        assert rows(f"/admin/accounts/account/?q={text}") == set(), text
    assert rows(f"/admin/accounts/device/?q={digits}") == {ann.user_id}
    assert rows(f"/admin/accounts/device/?q={ann.device_id}") == {ann.user_id}
    for text in (digits, ann.user_id, str(world.conversation)):
        assert (
            str(world.conversation)
            in superuser.page(f"/admin/staff/conversation/?q={text}").split("<table", 1)[-1]
        )
    assert str(world.conversation) not in superuser.page(f"/admin/staff/conversation/?q={sign_in().user_id}")


def test_a_conversation_shows_its_numbers(superuser: Staff, world: World) -> None:
    page = superuser.page(f"/admin/staff/conversation/{world.conversation}/change/")
    assert f"the newest 2 events hold {2 * len(SECRET)} B of contents" in page
    assert "2 sent, 2 kept" in page
    assert page.count("from seq 0") == 2
    listed = superuser.page(f"/admin/staff/conversation/?q={world.conversation}")
    assert re.search(r"field-shown_members[^>]*>\s*2\s*<", listed)


#: How many queries a page may ask.
_MOST = {
    "/admin/": 16,
    "/admin/accounts/account/": 10,
    "/admin/accounts/device/": 10,
    "/admin/staff/conversation/": 10,
    "/admin/staff/taskrun/": 10,
    "/admin/staff/pendingchange/": 10,
    "/admin/media/media/": 10,
    "/admin/media/blockedcontent/": 10,
    "/admin/jobs/": 8,
    "/admin/auth/user/": 12,
    "/admin/admin/logentry/": 10,
    "/admin/online/": 6,
    "/admin/limits/": 6,
    "/admin/registrations/": 9,
    "/admin/moderation/": 16,
    "/admin/moderation/figures/": 10,
    "/admin/retention/": 7,
    "/admin/approvals/": 8,
    "/admin/staff/auditrecord/": 10,
    "/admin/audit/": 12,
}


def test_pages_ask_few_questions_however_many_rows(superuser: Staff, world: World) -> None:
    def queries(path: str) -> int:
        cache.clear()
        with CaptureQueriesContext(
            connection,
        ) as asked:
            superuser.page(path)
        return len(asked)

    for path in _MOST:
        queries(path)  # content types are remembered
    before = {path: queries(path) for path in _MOST}
    for _ in range(3):
        make_world()
    User.objects.bulk_create(User(username=f"more-{uuid.uuid4()}", is_staff=True) for _ in range(5))
    assert {path: queries(path) for path in _MOST} == before
    assert {path: count for path, count in before.items() if count > _MOST[path]} == {}


def test_large_tables_are_estimated_not_counted(
    superuser: Staff, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "EXACT", 3)
    monkeypatch.setattr(queue, "COUNTED", 3)
    monkeypatch.setattr(counting, "MAX_PAGES", 2)
    for number in range(6):
        Account.objects.create(phone=f"+49170000{number:04}{uuid.uuid4().int % 100:02}")
    monkeypatch.setattr(counting, "estimates", lambda tables: dict.fromkeys(tables, 12_345_678))
    with CaptureQueriesContext(connection) as asked:
        page = superuser.page("/admin/accounts/account/")
        dashboard = superuser.page("/admin/")
    assert "≈ 12,345,678" in page
    assert "these pages hold the first 100" in page
    assert "≈ 12,345,678" in dashboard
    for query in asked:
        text = query["sql"].lower()
        assert "count(*)" not in text or "limit 4" in text or "group by" in text or "pg_stat" in text, text
    assert superuser.client.get("/admin/accounts/account/?p=3").status_code == 302  # behind the last page


def test_a_retired_account_and_banned_ones_are_shown_as_such(superuser: Staff, world: World) -> None:
    Account.objects.filter(pk=world.ann.user_id).update(phone=None, retired_at=1)
    page = superuser.page(f"/admin/accounts/account/?q={world.ann.user_id}")
    assert "retired" in page
    Device.objects.filter(pk=world.bob.device_id).update(banned_until=2**60)
    assert (
        "banned"
        in superuser.page(f"/admin/accounts/device/{world.bob.device_id}/change/").split("<table")[0].lower()
    )


def test_limits_are_shown_with_what_they_mean_and_what_was_changed(
    superuser: Staff, limits: Callable[..., None]
) -> None:
    limits(messages_per_minute=123_456)
    page = superuser.page("/admin/limits/")
    assert "123,456" in page
    assert "staff-changed" in page
    assert "over all continued frames of one sync" in page
    assert all(f">{name}<" in page for name in LIMITS.__slots__)


def test_the_dashboard_says_what_is_down(superuser: Staff, settings: Any) -> None:
    settings.HOT_URL = settings.BROKER_URL = "redis://127.0.0.1:9/0"
    page = superuser.page("/admin/")
    assert "The hot node cannot be reached" in page
    assert page.count("down\n") >= 2


def test_heads_without_events_are_no_error(superuser: Staff) -> None:
    empty = uuid.uuid4()
    Head.objects.create(conversation=empty, created_at=1, kind="group")
    assert str(empty) in superuser.page("/admin/staff/conversation/")
    assert "no events" in superuser.page(f"/admin/staff/conversation/{empty}/change/")


@pytest.mark.parametrize("name", ["moderation_queue", "moderation_figures"])
def test_the_menu_marks_the_page_that_is_open_and_no_other(superuser: Staff, name: str) -> None:
    path = reverse(f"admin:{name}")
    groups = superuser.client.get(path).context["sidebar_navigation"]
    active = [str(item["link"]) for group in groups for item in group["items"] if item["active"]]
    assert active == [path]
