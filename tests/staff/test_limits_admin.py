"""Limits in the admin: who may set which, what is refused, what is written down, and what then holds."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest
from django.contrib.admin.models import LogEntry

from accounts.limits import limit_for
from accounts.models import Account, LimitOverride
from accounts.services import limit_overrides
from tests.staff.conftest import Staff
from tests.staff.world import World, make_world
from whatsapp.infra.limits import LIMITS

pytestmark = pytest.mark.django_db

VIEW, CHANGE, LOOK = "accounts.view_limitoverride", "accounts.change_limitoverride", "accounts.view_account"


@pytest.fixture
def world() -> World:
    return make_world()


def account(world: World) -> Account:
    return Account.objects.get(pk=world.bob.user_id)


def set_limit(staff: Staff, world: World, **fields: object) -> str:
    path = f"/admin/accounts/account/{world.bob.user_id}/set-limit/"
    values = {"name": "groups_per_hour", "value": 3, "days": "", "reason": "A trial of ours", **fields}
    return staff.client.post(path, values, follow=True).content.decode()


def said(model: str) -> str:
    entry = LogEntry.objects.filter(content_type__model=model).latest("pk")
    return str(entry.change_message)


def test_a_limit_of_a_user_is_set_and_cleared_with_a_reason(superuser: Staff, world: World) -> None:
    assert "The limit is set." in set_limit(superuser, world, days=2)
    assert limit_for(account(world), "groups_per_hour") == 3
    row = LimitOverride.objects.get(subject=world.bob.user_id)
    assert (row.reason, row.made_by) == ("A trial of ours", superuser.user.username)
    assert row.until is not None
    assert 0 <= row.created_at + 2 * 86_400_000 - row.until < 60_000
    assert said("account").startswith("Limit groups_per_hour set to 3 until ")
    assert said("account").endswith(": A trial of ours")
    assert "groups_per_hour 3" in superuser.page(f"/admin/accounts/account/{world.bob.user_id}/change/")
    listed = superuser.page(f"/admin/accounts/limitoverride/?q={world.bob.user_id}")
    assert "A trial of ours" in listed
    superuser.client.post(f"/admin/accounts/limitoverride/{row.pk}/clear/", {"reason": "It is over"})
    assert limit_for(account(world), "groups_per_hour") == LIMITS.groups_per_hour
    assert (
        said("limitoverride")
        == f"Limit groups_per_hour of user {world.bob.user_id} cleared, was 3: It is over"
    )


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"name": "otp_sends_per_hour"}, "Select a valid choice"),
        ({"value": 10_001}, "is between 0 and 10000"),
        ({"value": -1}, "greater than or equal to 0"),
        ({"days": 0}, "greater than or equal to 1"),
        ({"reason": ""}, "required"),
    ],
)
def test_what_makes_no_sense_is_said_at_its_field(
    superuser: Staff, world: World, fields: dict[str, object], complaint: str
) -> None:
    assert complaint in set_limit(superuser, world, **fields)
    assert not LimitOverride.objects.filter(subject=world.bob.user_id).exists()


def test_a_class_is_given_and_taken(superuser: Staff, world: World) -> None:
    path = f"/admin/accounts/account/{world.bob.user_id}/set-class/"
    superuser.client.post(path, {"limit_class": "restricted", "reason": "Complaints"})
    assert limit_for(account(world), "groups_per_hour") == 0
    assert said("account") == "Class of limits restricted, before none: Complaints"
    again = superuser.client.post(path, {"limit_class": "restricted", "reason": "Complaints"}, follow=True)
    assert "The user is of this class." in again.content.decode()
    superuser.client.post(path, {"limit_class": "", "reason": "Sorted out"})
    assert limit_for(account(world), "groups_per_hour") == LIMITS.groups_per_hour


def test_a_limit_of_a_class_holds_for_all_who_are_of_it(superuser: Staff, world: World) -> None:
    limit_overrides.set_class(account=account(world), limit_class="restricted", by="ann")
    superuser.client.post(
        "/admin/accounts/limitoverride/set-for-class/",
        {"limit_class": "restricted", "name": "groups_per_hour", "value": 2, "reason": "Too hard"},
    )
    assert LimitOverride.objects.get(subject="restricted").value == 2
    assert said("limitoverride") == "Limit groups_per_hour of class restricted set to 2: Too hard"
    page = superuser.client.post(
        "/admin/accounts/limitoverride/set-for-class/",
        {"limit_class": "Not a name", "name": "groups_per_hour", "value": 2, "reason": "Too hard"},
    )
    assert page.status_code == 200
    assert not LimitOverride.objects.filter(subject="Not a name").exists()


def test_who_sees_no_users_sets_limits_by_their_ids(make_staff: Callable[..., Staff], world: World) -> None:
    operator = make_staff(role="operator")
    path = "/admin/accounts/limitoverride/set-for-user/"
    values = {"user": world.bob.user_id, "name": "groups_per_hour", "value": 3, "reason": "A trial of ours"}
    assert "It is set." in operator.client.post(path, values, follow=True).content.decode()
    assert limit_for(account(world), "groups_per_hour") == 3
    assert said("account") == "Limit groups_per_hour set to 3: A trial of ours"
    nobody = operator.client.post(path, {**values, "user": str(uuid.uuid4())})
    assert "There is no such user." in nobody.content.decode()
    path = "/admin/accounts/limitoverride/class-of-user/"
    values = {"user": world.bob.user_id, "limit_class": "restricted", "reason": "Complaints"}
    assert "It is set." in operator.client.post(path, values, follow=True).content.decode()
    assert account(world).limit_class == "restricted"


def test_looking_is_not_setting(make_staff: Callable[..., Staff], world: World) -> None:
    staff = make_staff(VIEW, LOOK)
    assert staff.client.get("/admin/accounts/limitoverride/").status_code == 200
    pages = (
        f"/admin/accounts/account/{world.bob.user_id}/set-limit/",
        f"/admin/accounts/account/{world.bob.user_id}/set-class/",
        "/admin/accounts/limitoverride/set-for-class/",
        "/admin/accounts/limitoverride/set-for-user/",
        "/admin/accounts/limitoverride/class-of-user/",
        f"/admin/accounts/limitoverride/{world.override.pk}/clear/",
    )
    values = {"name": "groups_per_hour", "value": 3, "reason": "I would like to", "limit_class": "slowed"}
    for path in pages:
        assert staff.client.post(path, values).status_code == 403, path
    assert account(world).own_limits is None
    assert account(world).limit_class == ""
    assert LimitOverride.objects.filter(pk=world.override.pk).exists()


def test_the_table_is_filtered_by_words_by_group_and_by_what_may_be_set(superuser: Staff) -> None:
    page = superuser.page("/admin/limits/?q=GCRA+session")
    assert ">frames_per_second<" in page
    assert ">groups_per_hour<" not in page
    page = superuser.page("/admin/limits/?group=push+notifications")
    assert ">push_targets_per_hour<" in page
    assert ">frames_per_second<" not in page
    page = superuser.page("/admin/limits/?own=1")
    assert ">groups_per_hour<" in page
    assert ">otp_sends_per_hour<" not in page
    assert "No limit is like this" in superuser.page("/admin/limits/?q=zebra")


def test_the_table_says_how_many_have_another_value_to_who_may_know(
    make_staff: Callable[..., Staff], superuser: Staff, world: World
) -> None:
    assert "1 set" in superuser.page("/admin/limits/")
    assert "restricted, a class" in superuser.page("/admin/limits/")
    staff = make_staff("staff.view_limits")
    assert "1 set" not in staff.page("/admin/limits/")
    assert "restricted, a class" not in staff.page("/admin/limits/")
