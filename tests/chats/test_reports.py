"""POST /reports: what is stored of a report, and who may report what."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.db import connection

from accounts import evidence
from accounts.models import Case, Report
from tests.accounts.conftest import Person, assert_problem
from tests.chats.reporting import ask, made, say, verdicts
from tests.groups.conftest import make, sign_in
from whatsapp.infra.limits import LIMITS

pytestmark = pytest.mark.django_db(transaction=True)


# -- what is stored -------------------------------------------------------------------------------------------------------


def test_messages_are_reported_with_ones_own_copy_of_them(ann: Person, bob: Person, chat: str) -> None:
    first, own, last = say(bob, chat, b"one"), say(ann, chat, b"no"), say(bob, chat, b"two")
    copies = [each.copy() for each in (first, own, last)]
    report = made(ask(ann, chat, category="fraud", note="he tricks people", messages=copies))
    assert (report.kind, report.category, report.verdict) == ("message", "fraud", "verified")
    assert (str(report.reporter), str(report.reported)) == (ann.user_id, bob.user_id)
    assert evidence.note_of(report) == "he tricks people"
    rows = list(report.messages.order_by("position"))
    assert [evidence.content_of(row) for row in rows] == [b"one", b"no", b"two"]
    assert [str(row.sender) for row in rows] == [bob.user_id, ann.user_id, bob.user_id]
    case = Case.objects.get(subject=bob.user_id)
    assert (report.case, case.report_count, case.category, case.verified) == (case, 1, "fraud", True)


def test_what_is_kept_is_sealed(ann: Person, bob: Person, chat: str) -> None:
    words = b"a sentence that nobody else writes"
    report = made(ask(ann, chat, note=words.decode(), messages=[say(bob, chat, words).copy()]))
    with connection.cursor() as cursor:
        for table in ("accounts_report", "accounts_reportedmessage"):
            cursor.execute(f"SELECT count(*) FROM {table} t WHERE t::text LIKE %s", [f"%{words.decode()}%"])
            assert cursor.fetchone() == (0,)
            cursor.execute(f"SELECT count(*) FROM {table} t WHERE t::text LIKE %s", [f"%{words.hex()}%"])
            assert cursor.fetchone() == (0,)
    # Neither opens in another place.
    row = report.messages.get()
    row.position = 1
    assert evidence.content_of(row) is None
    other = Report(note=report.note)
    assert evidence.note_of(other) == ""


def test_a_user_a_group_and_a_message_of_a_group(ann: Person, bob: Person) -> None:
    eve = sign_in()
    group = make(bob, ann, eve)
    assert str(made(ask(ann, group, "user", userId=eve.user_id)).reported) == eve.user_id
    of_group = made(ask(ann, group, "group"))
    assert (of_group.reported, str(of_group.conversation)) == (None, group)
    assert Case.objects.get(subject=group).subject_kind == "group"
    said = [say(eve, group).copy(), say(bob, group).copy()]
    assert str(made(ask(ann, group, messages=said)).reported) == eve.user_id
    assert str(made(ask(ann, group, messages=said, userId=bob.user_id)).reported) == bob.user_id


@pytest.mark.parametrize(
    "address",
    ["\x00", " ", "\x85", " https://a.example/\x00b\n", "x" * 2_048],
    ids=["nul", "blank", "blank too", "nul within", "long"],
)
def test_no_address_makes_a_message_that_nobody_can_report(
    ann: Person, bob: Person, chat: str, address: str
) -> None:
    """Senders choose it, and their commitment covers it: a reporter has to give it as it is."""
    report = made(ask(ann, chat, messages=[say(bob, chat, media_url=address).copy()]))
    assert verdicts(report) == ["verified"]


@pytest.mark.parametrize("size", [0, LIMITS.content_bytes - 1, LIMITS.content_bytes])
def test_no_length_makes_a_message_that_nobody_can_report(
    ann: Person, bob: Person, chat: str, size: int
) -> None:
    sent = say(bob, chat, b"x " * (size // 2) + b"x" * (size % 2), encrypted=False)
    assert verdicts(made(ask(ann, chat, messages=[sent.copy(franked=False)]))) == ["verified"]


# -- who may --------------------------------------------------------------------------------------------------------------


def test_only_who_was_sent_it(ann: Person, bob: Person, chat: str) -> None:
    eve, sent = sign_in(), say(bob, chat)
    nothing = assert_problem(ask(eve, str(uuid.uuid4()), messages=[sent.copy()]), "bad_request", 400)
    assert "messages" in nothing["detail"] or nothing["details"]
    for kind, fields in (
        ("message", {"messages": [sent.copy()]}),
        ("user", {"userId": bob.user_id}),
        ("group", {}),
        ("media", {"mediaId": str(uuid.uuid4())}),
    ):
        known = ask(eve, chat, kind, **fields)
        assert_problem(known, "not_found", 404)
        fields.pop("messages", None)
        if kind != "message":
            unknown = ask(eve, str(uuid.uuid4()), kind, **fields)
            assert unknown.content == known.content, "one cannot tell theirs from none"
    assert not Report.objects.filter(reporter=eve.user_id).exists()


def test_only_users_whom_one_met_there(ann: Person, bob: Person, chat: str) -> None:
    eve = sign_in()
    assert_problem(ask(ann, chat, "user", userId=eve.user_id), "not_found", 404)
    assert_problem(ask(ann, chat, "user", userId=str(uuid.uuid4())), "not_found", 404)
    assert_problem(ask(ann, chat, "user"), "bad_request", 400)
    assert_problem(ask(ann, chat, "user", userId=ann.user_id), "bad_request", 400)
    assert_problem(ask(ann, chat, messages=[say(ann, chat).copy()]), "bad_request", 400)
    assert_problem(ask(ann, chat, messages=[]), "bad_request", 400)
    assert_problem(ask(ann, chat, "group"), "bad_request", 400)


def test_members_report_what_they_were_sent_and_nothing_of_before_or_after(ann: Person, bob: Person) -> None:
    group = make(bob, sign_in())
    before = say(bob, group)
    assert bob.api.put(f"/groups/{group}/members/{ann.user_id}", {}).status_code == 200
    during = say(bob, group)
    assert ann.api.delete(f"/groups/{group}/members/{ann.user_id}").status_code == 204
    after = say(bob, group)
    for other in (before, after):
        assert_problem(ask(ann, group, messages=[other.copy()]), "not_found", 404)
    assert verdicts(made(ask(ann, group, messages=[during.copy()]))) == ["verified"]  # who left still may
    made(ask(ann, group, "group"))


def test_what_was_withheld_from_one_is_not_ones_to_report(ann: Person, bob: Person, chat: str) -> None:
    assert ann.api.put(f"/blocks/{bob.user_id}").status_code == 204
    assert_problem(ask(ann, chat, messages=[say(bob, chat).copy()]), "not_found", 404)
    assert made(ask(ann, chat, "user", userId=bob.user_id))


def test_a_group_by_who_holds_an_invite(ann: Person, bob: Person) -> None:
    group, other = make(bob, sign_in()), make(bob, sign_in())
    code = bob.api.post(f"/groups/{group}/invites", {}).json()["code"]
    assert_problem(ask(ann, group, "group"), "not_found", 404)
    assert_problem(ask(ann, other, "group", inviteCode=code), "not_found", 404)
    assert_problem(ask(ann, group, "group", inviteCode="x" * 22), "not_found", 404)
    assert_problem(ask(ann, group, "user", userId=bob.user_id, inviteCode=code), "not_found", 404)
    assert_problem(ask(ann, group, "group", inviteCode=code, leave=True), "bad_request", 400)
    made(ask(ann, group, "group", inviteCode=code))
    assert bob.api.delete(f"/groups/{group}/invites/{code}").status_code == 204
    assert_problem(ask(ann, group, "group", inviteCode=code), "gone", 410)


def test_the_reported_are_told_nothing(ann: Person, bob: Person, chat: str, told: Any) -> None:
    read = told(bob.user_id)
    report = made(ask(ann, chat, messages=[say(bob, chat).copy()]))
    made(ask(ann, chat, "user", userId=bob.user_id))
    assert read() == []
    for path in ("/me", f"/users/{ann.user_id}", "/conversations", f"/conversations/{chat}/events"):
        assert str(report.pk) not in bob.api.get(path).content.decode()
