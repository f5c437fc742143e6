"""Sanctions in the admin: bans by hand are some, each is shown with its evidence, and staff take them back with a reason."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry

from accounts import appeals
from accounts.limits import DAY_MS
from accounts.models import Account, Sanction
from accounts.services import sanctions
from tests.accounts.conftest import Person, assert_problem, sign_in
from tests.staff.conftest import Staff
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.usefixtures("db", "valkey_server")

REASON = "looked at all of it"


def impose(person: Person, kind: str = "suspension", **fields: Any) -> Sanction:
    given = {"reason": "strangers_day", "evidence": {"strangers.24h": 61}, "by": "automatic", **fields}
    until = None if kind == "permanent" else now_ms() + DAY_MS
    return sanctions.impose(account_id=uuid.UUID(person.user_id), kind=kind, until=until, **given)


def page_of(sanction: Sanction, act: str = "change") -> str:
    return f"/admin/accounts/sanction/{sanction.pk}/{act}/"


def test_a_ban_by_hand_is_a_sanction_of_who_did_it(superuser: Staff) -> None:
    ann = sign_in()
    path = f"/admin/accounts/account/{ann.user_id}"
    assert superuser.client.post(f"{path}/ban/", {"days": 3, "reason": REASON}).status_code == 302
    (sanction,) = Sanction.objects.filter(account=ann.user_id)
    assert (sanction.kind, sanction.reason) == ("suspension", "by_hand")
    assert sanction.imposed_by == superuser.user.get_username()
    assert assert_problem(ann.api.get("/me"), "banned", 403)["details"]["appealUrl"].startswith("/appeals/")
    impose(ann)  # and a trigger, meanwhile
    assert superuser.client.post(f"{path}/lift/", {"reason": REASON}).status_code == 302
    assert ann.api.get("/me").status_code == 200
    assert {one.lifted_by for one in Sanction.objects.filter(account=ann.user_id)} == {sanction.imposed_by}
    history = superuser.page(f"{path}/change/")
    assert "by_hand" in history
    assert "strangers_day" in history


def test_one_is_lifted_and_the_other_stays(superuser: Staff) -> None:
    ann = sign_in()
    ban, limit = impose(ann), impose(ann, "limit")
    page = superuser.page(page_of(ban))
    for shown in ("strangers.24h", "61", "in force", "automatic", ann.user_id):
        assert shown in page
    assert ann.phone not in page
    assert superuser.client.post(page_of(ban, "lift"), {"reason": "x"}).status_code == 200  # the form again
    assert_problem(ann.api.get("/me"), "banned", 403)
    assert superuser.client.post(page_of(ban, "lift"), {"reason": REASON}).status_code == 302
    assert ann.api.get("/me").status_code == 200
    assert Account.objects.get(pk=ann.user_id).limit_class == "restricted"
    limit.refresh_from_db()
    assert limit.lifted_at is None
    entry = LogEntry.objects.filter(user=superuser.user).latest("pk")
    assert (entry.object_id, entry.get_change_message()) == (str(ban.pk), f"Lifted: {REASON}")
    superuser.client.post(page_of(ban, "lift"), {"reason": REASON})
    assert "It was lifted before." in superuser.page(page_of(ban))


@pytest.mark.parametrize(("act", "appeal", "status"), [("grant", "granted", 200), ("uphold", "upheld", 403)])
def test_an_appeal_is_decided(superuser: Staff, act: str, appeal: str, status: int) -> None:
    ann = sign_in()
    sanction = impose(ann, "suspension", by="mod", reason="fraud")
    superuser.client.post(page_of(sanction, act), {"reason": REASON})
    assert "No appeal is open." in superuser.page(page_of(sanction))
    sanctions.ask_appeal(sanction_id=sanction.pk, text="It was <b>not</b> me.\nSomebody had my phone.")
    page = superuser.page("/admin/accounts/sanction/?appeal__exact=asked")
    assert str(sanction.pk) in page
    said = superuser.page(page_of(sanction))
    assert "It was &lt;b&gt;not&lt;/b&gt; me." in said
    assert superuser.client.post(page_of(sanction, act), {"reason": REASON}).status_code == 302
    sanction.refresh_from_db()
    assert sanction.appeal == appeal
    assert ann.api.get("/me").status_code == status
    assert (
        LogEntry.objects.filter(object_id=str(sanction.pk), change_message__startswith="Appeal").count() == 1
    )


def test_many_of_one_trigger_are_taken_back(superuser: Staff) -> None:
    made = [impose(sign_in()) for _ in range(3)]
    chosen = {"action": "lift_chosen", "_selected_action": [str(one.pk) for one in made]}
    address = "/admin/accounts/sanction/"
    assert superuser.client.post(address, chosen).status_code == 200
    assert superuser.client.post(address, {**chosen, "confirmed": "1", "reason": REASON}).status_code == 302
    assert Sanction.objects.filter(pk__in=[one.pk for one in made], lifted_at=None).count() == 0


@pytest.mark.parametrize(
    ("kind", "standing"), [("slow_down", "slowed"), ("limit", "limited"), ("suspension", "banned")]
)
def test_a_users_standing_says_what_is_in_force(superuser: Staff, kind: str, standing: str) -> None:
    ann = sign_in()
    path = f"/admin/accounts/account/?q={ann.user_id}"

    def shown() -> str:
        row = superuser.page(path).split("field-state", 1)[1].split("</td>")[0]
        return re.sub(r"<[^>]*>", "", row.split(">", 1)[1]).strip()

    assert shown() == "good"
    sanction = impose(ann, kind)
    assert shown() == standing
    sanctions.lift(sanction=sanction, by="mod", reason=REASON)
    assert shown() == "good"


def test_only_what_can_still_be_done_is_offered(superuser: Staff) -> None:
    sanction = impose(sign_in())

    def offered() -> set[str]:
        page = superuser.page(page_of(sanction))
        return {act for act in ("lift", "grant", "uphold") if page_of(sanction, act) in page}

    assert offered() == {"lift"}
    sanctions.ask_appeal(sanction_id=sanction.pk, text="It was not me.")
    assert offered() == {"lift", "grant", "uphold"}
    sanctions.decide_appeal(sanction=sanction, by="mod", grant=True, reason=REASON)
    assert offered() == set()


def test_the_owner_reads_why(superuser: Staff) -> None:
    for reason, words in (
        ("strangers_day", "many people who did not know you"),
        ("made_up", "against the rules"),
    ):
        sanction = impose(sign_in(), reason=reason)
        page = superuser.client.get(f"/appeals/{appeals.token(str(sanction.pk))}").content.decode()
        assert words in page
        assert reason not in page
