"""What is told of a group and who is meant by ``@``, without a screen."""

from __future__ import annotations

import random

import pytest

from tests.clients.fake_backend import ANY_TIME, BOB, EVE, ME, FakeBackend
from whatsapp_client import Entry
from whatsapp_terminal import cells, membership, mentions
from whatsapp_terminal.bubbles import layout
from whatsapp_terminal.cells import View
from whatsapp_terminal.invite_screen import code_in, invitation, seconds, uses
from whatsapp_terminal.mentions import Person
from whatsapp_terminal.text import width

NAMES = {BOB: "Bob", EVE: "Eve", "x": "\x1b[31mMallory\n"}


def told(kind: str, actor: str, user: str = "", seq: int = 5, **data: object) -> str:
    fields = {"type": "event", "data": data} | ({"userId": user} if user else {})
    entry = Entry("g", seq, actor, type=kind, kind="event", fields=fields)
    return " | ".join(membership.sentences(entry, ME, lambda user: NAMES.get(user, f"user {user}")))


def test_every_kind_of_change_has_its_sentence():
    crowd = [BOB, *(f"u{n}" for n in range(20)), ME]
    assert told("member_added", BOB, userIds=crowd, creatorId=BOB) == (
        "Bob made the group with you, user u0, user u1 and 18 others"
    )
    assert told("member_added", ME, userIds=[EVE, BOB]) == "You added Eve and Bob"
    assert told("member_added", BOB, ME) == "Bob added you"
    assert told("member_added", ME, EVE, invitedBy=BOB) == "You let Eve in"
    assert told("member_added", EVE, EVE, invitedBy=BOB) == "Eve joined by a link"
    assert told("member_removed", BOB, ME) == "Bob removed you"
    assert told("member_removed", ME, ME) == "You left"
    assert told("role", BOB, ME, role="admin") == "Bob made you an admin"
    assert told("role", BOB, EVE, role="member") == "Bob made Eve a plain member"
    assert told("role", BOB, EVE, role="creator") == "Bob handed the group over to Eve"
    assert told("role", ME, ME, role="admin") == "You are an admin now"
    assert told("info", BOB, dissolved=True) == "Bob ended the group"
    assert told("info", BOB, name="N", description="") == (
        "Bob changed the name to “N” | Bob took the description away"
    )
    rules = {"whoSends": "admins", "whoEdits": "all", "whoAdds": "all"}
    assert told("info", BOB, settings=rules) == (
        "Bob changed the settings: all may edit the info and add members; only admins may write"
    )
    assert told("edit", BOB) == ""


def test_events_of_a_hostile_server_are_harmless():
    rng = random.Random(11)
    values: list[object] = [
        None,
        7,
        "",
        "x" * 9_000,
        [],
        [None, {}],
        {"a": 1},
        True,
        "\x1b]0;x\x07\u202e",
        [ME, 3],
    ]
    keys = [
        "userIds",
        "creatorId",
        "invitedBy",
        "role",
        "name",
        "description",
        "settings",
        "dissolved",
        "icon",
    ]
    for _ in range(400):
        kind = rng.choice(["member_added", "member_removed", "role", "info", "timer", "other"])
        data = {key: rng.choice(values) for key in rng.sample(keys, 4)}
        entry = Entry("g", rng.randint(1, 9), rng.choice(["x", ME, ""]), type=kind, kind="event")
        entry.fields = {"data": rng.choice([data, None, "x", data]), "userId": rng.choice(["x", "", None, 9])}
        for block in layout([entry], [], view(40)):
            for row in block.rows:
                line = "".join(span.text for span in row)
                assert width(line) <= 40
                assert not set(line) & {"\x1b", "\n", "\x07", "\u202e"}


def view(wide: int = 60) -> View:
    return View(
        width=wide, now=ANY_TIME, own_id=ME, receipt=lambda seq: "sent", name=lambda user: NAMES.get(user, "?"),
        called=lambda user: (NAMES[user],) if user in NAMES else (), group=True,
    )  # fmt: skip


PEOPLE = [
    Person("1", "Ann", "Mum"), Person("2", "Ann Lee", "Ann Lee"), Person("3", "bob", "Bob Carter"),
    Person("4", "Ann", "Other Ann"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "typed"),
    [
        ("@", ""), ("hi @an", "an"), ("(@an", "an"), ("a@b", None), ("@ an", None), ("no", None), ("@a @b", "b"),
        ("@" + "x" * 41, None), ("@ann lee", "ann lee"),
    ],
)  # fmt: skip
def test_a_name_is_begun_by_an_at_at_the_beginning_of_a_word(line: str, typed: str | None):
    assert mentions.begun(line) == typed


def test_offers_are_found_by_nickname_and_by_profile_and_by_later_words():
    assert [p.user_id for p in mentions.offers("mu", PEOPLE)] == ["1"]
    assert [p.user_id for p in mentions.offers("BO", PEOPLE)] == ["3"]
    assert [p.user_id for p in mentions.offers("carter", PEOPLE)] == ["3"]
    assert [p.user_id for p in mentions.offers("lee", PEOPLE)] == ["2"]
    assert len(mentions.offers("", PEOPLE * 9)) == mentions.OFFERED


def test_who_is_named_is_the_longest_name_that_stands_there():
    assert mentions.named("@Ann Lee and @bob!", PEOPLE) == ["2", "3"]
    assert mentions.named("@Ann, hello @Ann", PEOPLE) == ["1"]
    assert mentions.named("@Ann", PEOPLE, {"Ann": "4"}) == ["4"]
    assert mentions.named("@Annette mail@bob @bobby", PEOPLE) == []


def test_a_mention_of_me_is_marked_and_links_stay_links():
    entry = FakeBackend().entry("g", "@Bob see https://a.example/@Bob now", EVE, 1, ANY_TIME)
    entry.fields = {"mentions": [BOB, ME]}
    (block,) = [block for block in layout([entry], [], view()) if block.message]
    roles = [(span.text, span.role) for row in block.rows for span in row]
    assert ("@Bob", "other mention") in roles
    assert ("https://a.example/@Bob", "other link") in roles
    assert all(row[0] == cells.Span("▎", "mentioned") for row in block.rows if row)
    entry.fields = {"mentions": [EVE]}
    (block,) = [block for block in layout([entry], [], view()) if block.message]
    assert not any(span.role == "mentioned" for row in block.rows for span in row)


def test_how_long_and_how_often_a_link_works():
    assert [seconds(typed) for typed in ("", "12h", "7 d", "30m", "2w", "5", "3 days")] == [
        None, 43_200, 604_800, 1_800, 1_209_600, 18_000, 259_200,
    ]  # fmt: skip
    for nonsense in ("0h", "soon", "-1", "9999999w", "1.5h"):
        with pytest.raises(ValueError, match="12h, 7d"):
            seconds(nonsense)
    assert uses("") is None
    assert uses("10") == 10
    for nonsense in ("0", "x", "100001", "²"):
        with pytest.raises(ValueError, match="whole number"):
            uses(nonsense)


def test_a_code_is_found_in_the_invitation_that_one_copies():
    code = "mJ3v0qXb7TnRk2sYd9wLpA"
    assert code_in(invitation("A name_with-dashes", code)) == code
    assert code_in(f"  {code}\n") == code
    assert code_in(f"https://example.org/invites/{code}") == code
    assert code_in(code + "x") == ""
