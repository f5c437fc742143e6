"""Bans that need two people, and their ends, wherever in the admin somebody presses the button."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from accounts.models import Account, Case, Device, InstallationBan, Sanction
from accounts.services import recycling, sanctions
from tests.accounts.conftest import Person, assert_problem, sign_in, verify
from tests.staff.cases import report
from tests.staff.conftest import Staff
from whatsapp.infra.clock import now_ms
from whatsapp.staff import audit, banning
from whatsapp.staff.models import Approval, AuditRecord

pytestmark = pytest.mark.usefixtures("db", "valkey_server")

Make = Callable[..., Staff]
REASON = "looked at all of it"


@pytest.fixture
def two(make_staff: Make) -> tuple[Staff, Staff]:
    return make_staff(role="moderator"), make_staff(role="moderator")


def press(staff: Staff, path: str, **fields: Any) -> str:
    """What the page says then."""
    answer = staff.client.post(path, {"reason": REASON, **fields}, follow=True)
    assert answer.status_code == 200
    return str(answer.content.decode())


def decided(staff: Staff, *, approve: bool = True) -> Approval:
    """The one that waits, decided by this one."""
    (approval,) = Approval.objects.filter(state="waiting")
    press(staff, f"/admin/approvals/{approval.pk}/", **{"approve" if approve else "reject": "1"})
    approval.refresh_from_db()
    return approval


def is_banned(person: Person) -> bool:
    return Account.objects.get(pk=person.user_id).is_banned(now_ms())


def account(person: Person, act: str) -> str:
    return f"/admin/accounts/account/{person.user_id}/{act}/"


def test_a_month_is_banned_by_one_and_longer_by_two(two: tuple[Staff, Staff], settings: Any) -> None:
    one, other = two
    ann, bob = sign_in(), sign_in()
    assert "The user is banned." in press(one, account(ann, "ban"), days=30)
    assert is_banned(ann)
    assert "A second person" in press(one, account(bob, "ban"), days=31)
    assert not is_banned(bob)
    assert decided(one).state == "waiting"  # not by who asked
    assert not is_banned(bob)
    approval = decided(other)
    assert approval.state == "approved"
    assert is_banned(bob)
    (sanction,) = Sanction.objects.filter(account=bob.user_id)
    assert sanction.evidence == {"approval": str(approval.pk)}
    assert sanction.imposed_by == other.user.get_username()
    assert AuditRecord.objects.filter(action="account.banned", object_id=bob.user_id).count() == 1
    settings.STAFF_BAN_DAYS = 2
    carl = sign_in()
    assert "A second person" in press(one, account(carl, "ban"), days=3)


def test_what_is_turned_down_bans_nobody(two: tuple[Staff, Staff]) -> None:
    one, other = two
    ann = sign_in()
    press(one, account(ann, "ban"), days=3_650)
    assert "waits for a second person already" in press(other, account(ann, "ban"), days=400)
    assert decided(other, approve=False).state == "rejected"
    assert not is_banned(ann)


def test_many_at_once_are_no_way_around(two: tuple[Staff, Staff]) -> None:
    people = [sign_in(), sign_in()]
    chosen = [person.user_id for person in people]
    page = press(
        two[0],
        "/admin/accounts/account/",
        action="ban_chosen",
        _selected_action=chosen,
        confirmed="1",
        days=365,
    )
    assert "A second person" in page
    assert not any(map(is_banned, people))
    assert Approval.objects.filter(state="waiting", kind=banning.BAN).count() == 2


@pytest.mark.parametrize("act", ["account", "sanction", "many", "appeal"])
def test_what_two_have_decided_is_lifted_by_two(two: tuple[Staff, Staff], act: str) -> None:
    one, other = two
    ann = sign_in()
    press(one, account(ann, "ban"), days=365)
    decided(other)
    sanction = Sanction.objects.get(account=ann.user_id)
    path = f"/admin/accounts/sanction/{sanction.pk}"
    fields: dict[str, Any] = {}
    if act == "account":
        path = account(ann, "lift")
    elif act == "sanction":
        path = f"{path}/lift/"
    elif act == "many":
        path = "/admin/accounts/sanction/"
        fields = {"action": "lift_chosen", "_selected_action": [str(sanction.pk)], "confirmed": "1"}
    else:
        sanctions.ask_appeal(sanction_id=sanction.pk, text="It was my brother.")
        path = f"{path}/grant/"
    assert "A second person" in press(one, path, **fields)
    assert is_banned(ann)
    assert decided(other).state == "approved"
    assert not is_banned(ann)
    sanction.refresh_from_db()
    assert sanction.lifted_by == other.user.get_username()


def test_what_one_has_decided_is_lifted_by_one(two: tuple[Staff, Staff]) -> None:
    ann = sign_in()
    press(two[0], account(ann, "ban"), days=3)
    assert "The ban is lifted." in press(two[1], account(ann, "lift"))
    assert not is_banned(ann)


def test_a_ban_for_good_of_a_case_is_undone_by_two(two: tuple[Staff, Staff]) -> None:
    one, other = two
    ann = sign_in()
    case = report(ann, "fraud")
    page = f"/admin/moderation/cases/{case.pk}"
    press(one, f"{page}/claim/")
    press(one, f"{page}/decide/", action="permanent", reason="fraud", note="the third account")
    other.page(f"{page}/")
    press(other, f"{page}/second/", verdict="approve", note="I see the same")
    assert is_banned(ann)
    assert "Reopen and lift" in one.page(f"{page}/")
    assert "A second person" in press(one, f"{page}/undo/", note="wrong person")
    assert is_banned(ann)
    waits = one.page(f"{page}/")  # says so, and offers nothing more
    assert f'href="/admin/approvals/{Approval.objects.get(state="waiting").pk}/"' in waits
    assert "Reopen and lift" not in waits
    assert Case.objects.get(pk=case.pk).state == "closed"
    decided(other)
    assert not is_banned(ann)
    assert Case.objects.get(pk=case.pk).state == "open"


def test_devices_too(two: tuple[Staff, Staff]) -> None:
    one, other = two
    ann = sign_in()
    path = f"/admin/accounts/device/{ann.device_id}"

    def until() -> int | None:
        return Device.objects.get(pk=uuid.UUID(ann.device_id)).banned_until

    press(one, f"{path}/ban/", days=365)
    assert until() is None
    asked = f"/admin/approvals/{Approval.objects.get().pk}/"
    assert ann.user_id in other.page(asked)  # whose device it is
    decided(other)
    long = until()
    assert long is not None
    for act in ("ban", "lift"):  # neither shorter nor not at all
        assert "A second person" in press(one, f"{path}/{act}/", days=1)
        assert until() == long
        decided(other, approve=False)
    press(one, f"{path}/lift/")
    decided(other)
    assert until() is None
    press(one, f"{path}/ban/", days=1)  # what two decided is over
    assert until() is not None
    assert "The ban is lifted" in press(one, f"{path}/lift/")
    audit.forget([ann.device_id])  # as an erasure does
    assert "erased" in other.page(asked)


def _installed(person: Person, installation: bytes) -> Device:
    Device.objects.filter(pk=person.device_id).update(installation=installation)
    return Device.objects.get(pk=person.device_id)


@pytest.mark.parametrize("twin", [False, True], ids=["", "twin: only approvals remember"])
def test_an_installation_that_two_banned_is_let_in_by_two_when_the_account_is_gone(
    two: tuple[Staff, Staff], twin: bool
) -> None:
    """What was asked names a device of the account; behind its erasure it names nobody."""
    one, other = two
    ann, bob = sign_in(), sign_in()
    banned, device = _installed(ann, b"i" * 32), _installed(bob, b"i" * 32)
    press(one, f"/admin/accounts/device/{banned.pk}/ban/", days=365)
    decided(other)
    if twin:
        InstallationBan.objects.update(of_two=False)
    Account.objects.get(pk=ann.user_id).delete()
    audit.forget((ann.user_id, ann.device_id))
    said = press(one, f"/admin/accounts/device/{device.pk}/lift/")
    device.refresh_from_db()
    assert ("A second person" in said, device.banned_until is None) == (not twin, twin)


@pytest.mark.parametrize("older", [False, True], ids=["", "banned by an earlier version"])
def test_a_ban_of_two_is_not_made_shorter_by_way_of_an_unlinked_device(
    two: tuple[Staff, Staff], older: bool
) -> None:
    """It has no ban of its own, and leads to the same installation."""
    one, other = two
    unlinked, device = _installed(sign_in(), b"i" * 32), _installed(sign_in(), b"i" * 32)
    Device.objects.filter(pk=unlinked.pk).update(unlinked_at=now_ms())
    press(one, f"/admin/accounts/device/{device.pk}/ban/", days=365)
    decided(other)
    if older:
        InstallationBan.objects.update(of_two=False)
    assert "A second person" in press(one, f"/admin/accounts/device/{unlinked.pk}/ban/", days=1)
    device.refresh_from_db()
    assert device.banned_until is not None
    assert device.banned_until > now_ms() + 300 * 86_400_000
    assert InstallationBan.objects.get().until == device.banned_until


def test_a_ban_of_one_behind_one_of_two_is_of_one(two: tuple[Staff, Staff]) -> None:
    one, other = two
    device = _installed(sign_in(), b"i" * 32)
    press(one, f"/admin/accounts/device/{device.pk}/ban/", days=31)
    decided(other)
    Device.objects.filter(pk=device.pk).update(banned_until=now_ms() - 1)
    InstallationBan.objects.update(until=now_ms() - 1)
    Approval.objects.all().delete()
    press(one, f"/admin/accounts/device/{device.pk}/ban/", days=1)
    assert "The ban is lifted" in press(one, f"/admin/accounts/device/{device.pk}/lift/")


def test_what_two_decide_about_an_account_that_has_ended_is_lifted_by_two(two: tuple[Staff, Staff]) -> None:
    """The next account of the number has the ban, as one that two have decided."""
    one, other = two
    ann = sign_in()
    with transaction.atomic():
        recycling.retire(account=Account.objects.get(pk=ann.user_id), now=now_ms())
    press(one, account(ann, "ban"), days=365)
    decided(other)
    assert_problem(verify(ann.phone), "banned", 403)
    taken = Sanction.objects.get(account__phone=ann.phone)
    assert banning.of_two(taken)
    assert "A second person" in press(one, f"/admin/accounts/sanction/{taken.pk}/lift/")
