"""What needs a second person: never the same one, once, in time, and all of it or nothing."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User

from accounts.models import Account
from tests.accounts.conftest import new_number, parallel
from tests.staff.conftest import Staff
from whatsapp.infra.clock import now_ms
from whatsapp.staff import approvals, tasks
from whatsapp.staff.models import Approval

pytestmark = pytest.mark.usefixtures("db", "valkey_server")

Make = Callable[..., Staff]
MAY, LOOK = "accounts.change_account", "staff.view_approval"
REASON = "reported by three people"


class Deeds:
    """A kind of approvals that renames an account, and what was called."""

    def __init__(self) -> None:
        self.name = f"tests.rename-{uuid.uuid4()}"
        self.account = Account.objects.create(phone=new_number(), name="before")
        self.done: list[tuple[Any, str]] = []
        self.refused: list[Any] = []
        self.fails: Exception | None = None
        approvals.register(
            self.name, self.carry_out, MAY, title="Rename", details=lambda approval: [("New name", "after")],
            refused=lambda approval: self.refused.append((approval.pk, approval.state)),
        )  # fmt: skip

    def carry_out(self, approval: Approval, by: User) -> None:
        Account.objects.filter(pk=approval.subject).update(name=approval.payload["name"])
        self.done.append((approval.pk, by.username))
        if self.fails is not None:
            raise self.fails

    def ask(self, by: User, **options: Any) -> Approval:
        return approvals.ask(self.name, str(self.account.pk), {"name": "after"}, by, REASON, **options)

    def name_now(self) -> str:
        return Account.objects.get(pk=self.account.pk).name


@pytest.fixture
def deeds() -> Iterator[Deeds]:
    made = Deeds()
    yield made
    del approvals._kinds[made.name]


def test_another_one_approves_in_the_page_and_it_is_done_once(make_staff: Make, deeds: Deeds) -> None:
    asker, other = make_staff(MAY), make_staff(MAY)
    asked = deeds.ask(asker.user)
    assert (deeds.name_now(), deeds.done) == ("before", [])
    path = f"/admin/approvals/{asked.pk}/"
    # The one who asked is told so, and cannot, whatever is sent.
    assert "somebody else decides" in asker.page(path)
    asker.client.post(path, {"approve": "", "reason": REASON})
    assert (deeds.name_now(), deeds.done) == ("before", [])
    page = other.page(path)
    assert "New name" in page
    assert REASON in page
    other.client.post(path, {"approve": "", "reason": "no"})  # a reason is longer
    assert deeds.done == []
    assert other.client.post(path, {"approve": "", "reason": REASON}).url == "/admin/approvals/"
    other.client.post(path, {"approve": "", "reason": REASON})
    assert (deeds.name_now(), deeds.done) == ("after", [(asked.pk, other.user.username)])
    assert "approved" in other.page(path)
    assert deeds.refused == []


def test_a_superuser_does_not_decide_what_the_same_person_asked_for(superuser: Staff, deeds: Deeds) -> None:
    asked = deeds.ask(superuser.user)
    with pytest.raises(approvals.Refusal, match="somebody else"):
        approvals.decide(asked, superuser.user, True, REASON)
    # Under another name it is the same person.
    User.objects.filter(pk=superuser.user.pk).update(username="another-name")
    with pytest.raises(approvals.Refusal, match="somebody else"):
        approvals.decide(asked, User.objects.get(pk=superuser.user.pk), True, REASON)
    assert deeds.name_now() == "before"


def test_who_may_not_decide_this_kind_cannot(make_staff: Make, deeds: Deeds) -> None:
    asked = deeds.ask(make_staff(MAY, signed_in=False).user)
    looker, stranger = make_staff(LOOK), make_staff("accounts.view_device")
    path = f"/admin/approvals/{asked.pk}/"
    assert "Approve" not in looker.page(path)
    looker.client.post(path, {"approve": "", "reason": REASON})
    assert deeds.name_now() == "before"
    assert stranger.client.get(path).status_code == 403
    gone = make_staff(MAY, signed_in=False).user
    gone.is_active = False
    gone.save()
    with pytest.raises(approvals.Refusal, match="may not"):
        approvals.decide(asked, gone, True, REASON)
    assert Approval.objects.get(pk=asked.pk).state == "waiting"


def test_a_handler_that_fails_leaves_it_waiting_and_nothing_done(make_staff: Make, deeds: Deeds) -> None:
    asked, other = deeds.ask(make_staff(MAY, signed_in=False).user), make_staff(MAY)
    deeds.fails = approvals.Refusal("This account has ended.")
    path = f"/admin/approvals/{asked.pk}/"
    other.client.post(path, {"approve": "", "reason": REASON})
    assert "This account has ended." in other.page("/admin/approvals/")
    assert deeds.name_now() == "before"
    assert Approval.objects.get(pk=asked.pk).state == "waiting"
    deeds.fails = None
    other.client.post(path, {"approve": "", "reason": REASON})
    assert deeds.name_now() == "after"


def test_rejected_withdrawn_and_expired_end_it_without_the_deed(make_staff: Make, deeds: Deeds) -> None:
    asker, other = make_staff(MAY), make_staff(MAY)
    first = deeds.ask(asker.user)
    with pytest.raises(approvals.Refusal, match="already"):
        deeds.ask(other.user)  # the same is not asked twice
    other.client.post(f"/admin/approvals/{first.pk}/", {"reject": "", "reason": REASON})
    second = deeds.ask(asker.user)
    other.client.post(f"/admin/approvals/{second.pk}/", {"withdraw": "", "reason": REASON})
    assert Approval.objects.get(pk=second.pk).state == "waiting"  # not theirs to withdraw
    asker.client.post(f"/admin/approvals/{second.pk}/", {"withdraw": "", "reason": REASON})
    third = deeds.ask(asker.user)
    Approval.objects.filter(pk=third.pk).update(expires_at=now_ms() - 1)
    with pytest.raises(approvals.Refusal, match="expired"):
        approvals.decide(third, other.user, True, REASON)
    tasks.expire_approvals()
    assert deeds.refused == [(first.pk, "rejected"), (second.pk, "withdrawn"), (third.pk, "expired")]
    assert (deeds.name_now(), deeds.done) == ("before", [])
    # What has expired and was not swept yet is no obstacle.
    fourth = deeds.ask(asker.user)
    Approval.objects.filter(pk=fourth.pk).update(expires_at=now_ms() - 1)
    assert deeds.ask(asker.user).state == "waiting"


def test_the_number_in_the_navigation_is_what_waits_for_this_person(make_staff: Make, deeds: Deeds) -> None:
    asker, other, looker = make_staff(MAY), make_staff(MAY), make_staff(LOOK)

    def badge(staff: Staff) -> str:
        page = staff.page("/admin/")
        item = page.split("Second person", 1)[1].split("</a>", 1)[0]
        return "".join(letter for letter in item.split("<span", 1)[-1].split(">")[-2] if letter.isdigit())

    assert badge(other) == ""
    deeds.ask(asker.user)
    assert (badge(other), badge(asker), badge(looker)) == ("1", "", "")


def test_an_unknown_kind_can_be_looked_at_and_not_decided(superuser: Staff) -> None:
    asked = Approval.objects.create(
        kind="of.tomorrow", subject="x", reason=REASON, asked_name="colleague", asked_at=now_ms(),
        expires_at=now_ms() + 60_000,
    )  # fmt: skip
    path = f"/admin/approvals/{asked.pk}/"
    assert "Approve" not in superuser.page(path)
    with pytest.raises(approvals.Refusal, match="does not know"):
        approvals.decide(asked, superuser.user, True, REASON)


@pytest.mark.django_db(transaction=True)
def test_two_who_approve_at_once_do_it_once(make_staff: Make, deeds: Deeds) -> None:
    asked = deeds.ask(make_staff(MAY, signed_in=False).user)
    people = [make_staff(MAY, signed_in=False).user for _ in range(4)]

    def approve() -> str:
        try:
            return approvals.decide(asked, people.pop(), True, REASON).state
        except approvals.Refusal as refusal:
            return str(refusal)

    assert sorted(parallel(4, approve)) == ["This is approved already."] * 3 + ["approved"]
    assert len(deeds.done) == 1
