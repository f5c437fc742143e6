"""The page on which somebody who is banned appeals: whom it lets in, once, and what it shows."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client

from accounts import appeals
from accounts.errors import Refused
from accounts.limits import DAY_MS
from accounts.models import Sanction
from accounts.services import sanctions
from tests.accounts.conftest import Person, assert_problem, sign_in
from tests.accounts.test_sanctions import impose

pytestmark = pytest.mark.django_db


def address(person: Person) -> str:
    """What the banned person is told."""
    told = assert_problem(person.api.get("/me"), "banned", 403)["details"]["appealUrl"]
    assert isinstance(told, str)
    return told


def get(path: str) -> Any:
    return Client().get(path)


def send(path: str, text: str, **extra: Any) -> Any:
    return Client(enforce_csrf_checks=True).post(path, {"text": text}, **extra)


def test_an_appeal_from_the_ban_to_the_decision() -> None:
    ann = sign_in()
    sanction = impose(ann)
    path = address(ann)
    page = get(path)
    assert page.status_code == 200
    assert page.headers["Cache-Control"] == "no-store"
    assert "script-src" not in page.headers["Content-Security-Policy"]
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    text = page.content.decode()
    assert "This account is suspended" in text
    assert "<textarea" in text
    assert ann.phone not in text
    assert ann.user_id not in text
    said = "I sent invitations to my wedding.\r\n<script>alert(1)</script>"
    sent = send(path, said)
    assert sent.status_code == 200
    assert "We have your appeal" in sent.content.decode()
    assert "<textarea" not in sent.content.decode()
    sanction.refresh_from_db()
    assert (sanction.appeal, sanction.appeal_text) == ("asked", said.replace("\r\n", "\n"))
    again = send(path, "and another thing")
    assert again.status_code == 409
    assert "already" in again.content.decode()
    sanction.refresh_from_db()
    assert sanction.appeal_text.startswith("I sent")
    sanctions.decide_appeal(sanction=sanction, by="mod", grant=True, reason="a wedding")
    assert "Your appeal was granted" in get(path).content.decode()
    assert ann.api.get("/me").status_code == 200


def test_an_appeal_that_is_not_granted() -> None:
    ann = sign_in()
    sanction = impose(ann, "permanent", None)
    path = address(ann)
    with pytest.raises(Refused):  # none was asked for
        sanctions.decide_appeal(sanction=sanction, by="mod", grant=True, reason="because")
    send(path, "please")
    sanctions.decide_appeal(sanction=sanction, by="mod", grant=False, reason="no")
    page = get(path).content.decode()
    assert "the decision stays" in page
    assert "for good" in page
    assert send(path, "once more").status_code == 409
    assert_problem(ann.api.get("/me"), "banned", 403)


@pytest.mark.parametrize("text", ["", "   \n ", "x" * 2_001, "nul \0 in it"], ids=repr)
def test_a_text_that_is_none_may_be_written_anew(text: str) -> None:
    ann = sign_in()
    impose(ann)
    path = address(ann)
    refused = send(path, text)
    assert refused.status_code == 400
    assert "<textarea" in refused.content.decode()
    assert send(path, "x" * 1_999 + "\r\n").status_code == 200


def test_what_is_over_cannot_be_appealed_against(clock: Callable[[int], None]) -> None:
    ann = sign_in()
    impose(ann)
    path = address(ann)
    clock(DAY_MS)
    assert "This is over: you can sign in again" in get(path).content.decode()
    assert send(path, "too late").status_code == 410
    impose(ann, "permanent", None)  # something else is not over
    text = get(path).content.decode()
    assert "This account was suspended" in text
    assert "This is over." in text
    assert "sign in again" not in text


def test_an_address_is_of_one_sanction_and_cannot_be_made_up() -> None:
    ann, bob = sign_in(), sign_in()
    impose(ann), impose(bob)
    path = address(ann)
    assert path != address(bob)
    signature = path.rpartition(":")[2]
    of_bob = Sanction.objects.get(account=bob.user_id).pk.hex
    for wrong in (
        f"/appeals/{of_bob}:{signature}",
        f"/appeals/{uuid.uuid4().hex}",
        path[:-1],
        path + "x",
        "/appeals/" + "x" * 4_000,
        f"/appeals/{of_bob}%00:{signature}",
    ):
        for answer in (get(wrong), send(wrong, "let me in")):
            assert answer.status_code == 404
    assert not Sanction.objects.filter(appeal="asked").exists()
    assert Client().put(path).status_code == 405


def test_attempts_from_one_address_are_counted(limits: Callable[..., None]) -> None:
    limits(appeals_per_address_hour=2)
    ann = sign_in()
    impose(ann)
    path = address(ann)
    for _ in range(2):
        assert send(path, "", REMOTE_ADDR="192.0.2.7").status_code == 400
    assert send(path, "now a good one", REMOTE_ADDR="192.0.2.7").status_code == 429
    assert send(path, "from elsewhere", REMOTE_ADDR="192.0.2.8").status_code == 200


def test_the_strictest_is_what_can_be_appealed_against() -> None:
    ann = sign_in()
    impose(ann, ms=DAY_MS)
    week = impose(ann, ms=7 * DAY_MS)
    impose(ann, "limit", DAY_MS)
    assert address(ann) == appeals.url(str(week.pk))


def test_an_operator_has_a_page_of_his_own(settings: Any) -> None:
    settings.APPEAL_URL = "https://appeal.test/"
    ann = sign_in()
    impose(ann)
    assert address(ann) == "https://appeal.test/"
    settings.APPEAL_URL, settings.PUBLIC_URL = "", "https://chat.test"
    assert address(ann).startswith("https://chat.test/appeals/")
