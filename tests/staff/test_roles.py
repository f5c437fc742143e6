"""Roles: every page and everything that is pressed, for each of them; an auditor changes nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.db import connection
from django.template.response import SimpleTemplateResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext

from tests.staff.conftest import Staff
from tests.staff.world import World, make_world
from whatsapp.staff import roles

pytestmark = pytest.mark.usefixtures("db", "valkey_server")

Make = Callable[..., Staff]
STAFF, MODERATOR, OPERATOR, AUDITOR = "smoa"
NAMES: Final = {STAFF: "staff", MODERATOR: "moderator", OPERATOR: "operator", AUDITOR: "auditor"}

#: Address below /admin/ → roles for which it opens. The first that matches counts; what none matches is for superusers.
OPENS: Final = (
    (r"(security/|password_change/)?$", "smoa"),
    (r"accounts/account/[^/]+/(ban|lift)/$", "m"),
    (r"accounts/account/[^/]+/remove-pin/$", ""),
    (r"accounts/account/[^/]+/set-(limit|class)/$", "o"),
    (r"accounts/account/", "sma"),
    (r"accounts/device/[^/]+/(unlink|end|ban|lift)/$", "m"),
    (r"accounts/device/", "sma"),
    (r"accounts/sanction/[^/]+/(lift|grant|uphold)/$", "m"),
    (r"accounts/sanction/", "sma"),
    (r"accounts/limitoverride/(set-for-class|set-for-user|class-of-user|[^/]+/clear)/$", "o"),
    (r"accounts/limitoverride/", "oa"),
    (r"accounts/erasure/[^/]+/retry/$", "o"),
    (r"accounts/erasure/", "oa"),
    (r"accounts/legalhold/(place|[^/]+/(review|release))/", ""),
    (r"accounts/lawfulrequest/(ask|[^/]+/fetch)/", ""),
    (r"accounts/(legalhold|lawfulrequest|consent)/", "a"),
    (r"online/end/", "m"),
    (r"online/", "smoa"),
    (r"staff/conversation/", "moa"),
    (r"media/media/[^/]+/(look|block)/$", "m"),
    (r"media/media/[^/]+/retry/$", "o"),
    (r"media/media/", "moa"),
    (r"media/blockedcontent/[^/]+/unblock/$", "m"),
    (r"media/blockedcontent/", "ma"),
    (r"notifications/pushtarget/[^/]+/test/$", "smo"),
    (r"(notifications/pushtarget|push)/", "smoa"),
    (r"staff/(pendingchange|taskrun)/", "oa"),
    (r"jobs/[^/]+/run/$", "o"),
    (r"(jobs|schedules)/$", "oa"),
    (r"django_celery_beat/\w+/([^/]+/delete|add)/$", "o"),
    (r"django_celery_beat/", "oa"),
    (r"limits/", "smoa"),
    (r"registrations/switch/$", "o"),
    (r"registrations/", "oa"),
    (r"(retention|residency)/", "oa"),
    (r"staff/auditrecord/|audit/$", "a"),
    (r"moderation/settings/$", "m"),
    (r"moderation/", "ma"),
    (r"approvals/$", "ma"),
    (
        r"approvals/[^/]+/$",
        "a",
    ),  # that of the world is of no kind that a moderator decides: there is none for them
    (r"admin/logentry/", "a"),
    (r"auth/(user|group)/(add/$|[^/]+/password/$)", ""),
    (r"auth/(user|group)/", "a"),
)
#: What takes a POST alone. Whoever may not press it gets 403.
PRESSED: Final = (
    ("moderation/next/", "m"),
    ("moderation/rested/", "m"),
    *((f"moderation/cases/{{case}}/{act}/", "m") for act in ("claim", "release", "decide", "second", "undo")),
)
#: POSTs of one's own account, which everybody has.
OWN: Final = ("/admin/password_change/", "/admin/security/")


@pytest.fixture
def world() -> World:
    return make_world()


@pytest.fixture
def sign_in(make_staff: Make, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Staff]:
    """Somebody of a role. From then on pages are decided about, and not drawn, nor is the menu made that each has: that is most
    of their time, and ``test_pages`` does it."""

    def signed_in(role: str) -> Staff:
        staff = make_staff(role=role)
        monkeypatch.setattr(SimpleTemplateResponse, "rendered_content", "")
        monkeypatch.setattr(admin.site, "each_context", lambda request: {})
        return staff

    return signed_in


def opens(path: str) -> str:
    below = path.removeprefix("/admin/").split("?")[0]
    return next((who for pattern, who in OPENS if re.match(pattern, below)), "")


def addresses(world: World, staff: Staff) -> Iterator[tuple[str, bool, str]]:
    """(address, whether it is a page, roles)."""
    for path in dict.fromkeys(
        path for path in world.pages(staff.user.pk) if "?" not in path or "/end/" in path
    ):
        yield path, True, opens(path)
    for path, who in PRESSED:
        yield f"/admin/{path.format(case=world.case.pk)}", False, who


@pytest.mark.parametrize("role", NAMES, ids=NAMES.values())
def test_every_page_and_deed_is_for_the_roles_that_have_it(
    sign_in: Callable[[str], Staff], world: World, role: str
) -> None:
    staff = sign_in(NAMES[role])
    half = Client()
    half.force_login(staff.user)  # a password alone
    assert half.get("/admin/")["Location"].startswith("/admin/login/")
    for path, is_page, who in addresses(world, staff):
        wanted = role in who
        if is_page:
            assert staff.client.get(path).status_code in ((200,) if wanted else (403, 404)), path
        if not wanted:
            answer = staff.client.post(
                path, {"reason": "I would like to", "days": 3, "note": "I would like to"}
            )
            assert answer.status_code in (403, 404, 405), path
        elif not is_page:
            assert staff.client.post(path).status_code == 302, path
        if wanted and not is_page:
            assert half.post(path)["Location"].startswith("/admin/login/"), path


def test_an_auditor_can_press_nothing(sign_in: Callable[[str], Staff], world: World) -> None:
    """Whatever is posted anywhere, nothing is written: not to tables, not to the log of what staff did."""
    staff = sign_in("auditor")
    fields: dict[str, Any] = {
        "reason": "I would like to", "days": 3, "note": "I would like to", "approve": "1", "blur": "on", "break_after": 5,
        "action": "ban_chosen", "_selected_action": [world.ann.user_id], "confirmed": "1", "name": "changed", "enabled": "on",
    }  # fmt: skip
    for path, _, _ in addresses(world, staff):
        if path in OWN:
            continue
        with CaptureQueriesContext(connection) as asked:
            assert staff.client.post(path, fields).status_code in (200, 302, 403, 405), path
        written = [
            query["sql"] for query in asked if re.match(r"(INSERT|UPDATE|DELETE)", query["sql"]) and "session" not in query["sql"]
        ]  # fmt: skip
        assert written == [], path


def test_an_operator_makes_no_groups_and_a_moderator_no_staff(make_staff: Make, world: World) -> None:
    for role in ("operator", "moderator"):
        staff = make_staff(role=role)
        own = f"/admin/auth/user/{staff.user.pk}/change/"
        for path in ("/admin/auth/group/add/", "/admin/auth/user/add/", own):
            assert staff.client.post(path, {"name": "mine", "is_superuser": "on"}).status_code == 403, path


def test_roles_are_made_anew_and_what_was_added_by_hand_stays() -> None:
    """As after every migration: twice is as good as once."""
    staff, own = Group.objects.get(name="staff"), Group.objects.create(name="translators")
    given = Permission.objects.get(codename="view_session")
    staff.permissions.set([given])
    own.permissions.set([given])
    for _ in range(2):
        for app in apps.get_app_configs():
            roles.make(app.label, "default")
    assert {f"{one.content_type.app_label}.{one.codename}" for one in staff.permissions.all()} == {
        *roles.ROLES["staff"],
        "sessions.view_session",
    }
    assert list(own.permissions.all()) == [given]


def test_every_permission_of_a_role_is_there() -> None:
    known = {
        f"{one.content_type.app_label}.{one.codename}"
        for one in Permission.objects.select_related("content_type")
    }
    for role, names in roles.ROLES.items():
        assert set(names) <= known, role
    assert not any(
        name.startswith(("auth.change", "auth.add")) for names in roles.ROLES.values() for name in names
    )


def _migrated_from_nothing() -> dict[str, set[str]]:
    """Role → its permissions, after the first migration of an empty database."""
    call_command("flush", verbosity=0, interactive=False, allow_cascade=True, inhibit_post_migrate=False)
    return {
        role: {
            f"{one.content_type.app_label}.{one.codename}"
            for one in Group.objects.get(name=role).permissions.select_related("content_type")
        }
        for role in roles.ROLES
    }


@pytest.mark.django_db(transaction=True)
def test_the_first_migration_gives_roles_all_they_have() -> None:
    assert _migrated_from_nothing() == {role: set(names) for role, names in roles.ROLES.items()}


@pytest.mark.django_db(transaction=True)
def test_twin_without_making_permissions_first_they_have_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """Django's own receiver, which makes the permissions, comes behind ours."""
    monkeypatch.setattr(roles, "create_permissions", lambda *_, **__: None)
    assert set().union(*_migrated_from_nothing().values()) == set()
