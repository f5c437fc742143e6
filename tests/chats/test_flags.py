"""PATCH /conversations/{id}: mute, pin, archive and drafts, the same on all devices of a user."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from accounts.models import Account
from accounts.services.recycling import retire
from delivery.store.sync import store
from delivery.store.values import ReceiptWrite
from tests.accounts.conftest import Api, Person, assert_problem, at_once
from tests.chats.conftest import listed, open_direct
from tests.groups.conftest import make, sign_in
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS

pytestmark = pytest.mark.django_db(transaction=True)

Told = Callable[[str], Callable[[], list[dict[str, Any]]]]
FOR_EVER = 2**53 - 1
NOTHING_SET = {"mutedUntil": None, "pinned": False, "archived": False, "draft": None, "flagsVersion": 0}


def draft(size: int) -> str:
    return base64.b64encode(b"x" * size).decode()


def patch(person: Person, conversation: str, **body: Any) -> dict[str, Any]:
    answer = person.api.patch(f"/conversations/{conversation}", body)
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def flags(item: dict[str, Any] | None) -> dict[str, Any]:
    assert item is not None
    return {key: item[key] for key in NOTHING_SET}


def test_what_is_set_is_answered_and_listed_and_what_is_not_given_stays() -> None:
    ann, bob = sign_in(), sign_in()
    talk = open_direct(ann, bob)
    assert patch(ann, talk) == {"conversationId": talk, **NOTHING_SET}
    wanted = dict(NOTHING_SET)
    for version, change in enumerate(
        [
            {"mutedUntil": FOR_EVER},
            {"pinned": True},
            {"archived": True},
            {"draft": "c2VjcmV0"},
            {"mutedUntil": None, "archived": False},
            {"draft": None, "pinned": False},
        ],
        1,
    ):
        wanted |= change | {"flagsVersion": version}
        assert patch(ann, talk, **change) == {"conversationId": talk, **wanted}
        assert flags(listed(ann, talk)) == wanted
    assert flags(listed(bob, talk)) == NOTHING_SET


def test_setting_what_is_set_changes_nothing_and_tells_nobody(told: Told) -> None:
    ann, bob = sign_in(), sign_in()
    talk = open_direct(ann, bob)
    patch(ann, talk, pinned=True, mutedUntil=FOR_EVER)
    read = told(ann.user_id)
    assert patch(ann, talk, pinned=True)["flagsVersion"] == 1
    assert read() == []


def test_the_other_devices_are_told_all_that_is_in_force(told: Told) -> None:
    ann, bob = sign_in(), sign_in()
    talk = open_direct(ann, bob)
    patch(ann, talk, draft="c2VjcmV0")
    hers, his = told(ann.user_id), told(bob.user_id)
    answer = patch(ann, talk, mutedUntil=FOR_EVER)
    assert hers() == [{"type": "notice", "kind": "flags", "data": answer, "but": ann.device_id}]
    assert his() == []


def test_who_is_not_in_it_is_told_nothing() -> None:
    ann, bob, eve = sign_in(), sign_in(), sign_in()
    talk = open_direct(ann, bob)
    real = assert_problem(eve.api.patch(f"/conversations/{talk}", {"pinned": True}), "not_found", 404)
    none = assert_problem(eve.api.patch(f"/conversations/{uuid.uuid4()}", {"pinned": True}), "not_found", 404)
    assert real == none
    assert_problem(Api().patch(f"/conversations/{talk}", {"pinned": True}), "unauthenticated", 401)
    assert flags(listed(ann, talk)) == NOTHING_SET


def test_who_left_a_group_may_still_archive_it() -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    assert bob.api.delete(f"/groups/{group}/members/{bob.user_id}").status_code == 204
    assert patch(bob, group, archived=True)["archived"] is True
    assert flags(listed(bob, group))["archived"] is True


def test_pins_are_few() -> None:
    ann = sign_in()
    talks = [open_direct(ann, sign_in()) for _ in range(LIMITS.pinned_conversations + 1)]
    for talk in talks[:-1]:
        patch(ann, talk, pinned=True)
    answer = ann.api.patch(f"/conversations/{talks[-1]}", {"pinned": True, "archived": True})
    problem = assert_problem(answer, "limit_exceeded", 409)
    assert problem["details"] == {"limit": LIMITS.pinned_conversations}
    assert flags(listed(ann, talks[-1])) == NOTHING_SET
    patch(ann, talks[0], pinned=False)
    patch(ann, talks[-1], pinned=True)


def test_two_devices_at_once_cannot_pin_one_too_many() -> None:
    ann = sign_in()
    talks = [open_direct(ann, sign_in()) for _ in range(LIMITS.pinned_conversations + 3)]
    calls = [lambda talk=talk: ann.api.patch(f"/conversations/{talk}", {"pinned": True}) for talk in talks]
    answers = at_once(*calls)
    assert sorted({answer.status_code for answer in answers}) == [200, 409]
    items = ann.api.get("/conversations").json()["items"]
    assert sum(item["pinned"] for item in items) == LIMITS.pinned_conversations


def test_two_devices_at_once_lose_no_change() -> None:
    ann, bob = sign_in(), sign_in()
    talk = open_direct(ann, bob)
    changes: list[dict[str, Any]] = [
        {"mutedUntil": 7},
        {"pinned": True},
        {"archived": True},
        {"draft": "eA=="},
    ]
    at_once(*[lambda change=change: patch(ann, talk, **change) for change in changes])
    assert flags(listed(ann, talk)) == {
        "mutedUntil": 7, "pinned": True, "archived": True, "draft": "eA==", "flagsVersion": 4,
    }  # fmt: skip


def test_drafts_are_bounded_each_and_together() -> None:
    ann = sign_in()
    talks = [open_direct(ann, sign_in()) for _ in range(5)]
    answer = ann.api.patch(f"/conversations/{talks[0]}", {"draft": draft(LIMITS.draft_bytes + 1)})
    assert assert_problem(answer, "bad_request", 400)["details"] == {"field": "draft"}
    for talk in talks[:4]:
        patch(ann, talk, draft=draft(LIMITS.draft_bytes))
    rest = LIMITS.drafts_bytes - 4 * LIMITS.draft_bytes
    answer = ann.api.patch(f"/conversations/{talks[4]}", {"draft": draft(rest + 1)})
    assert assert_problem(answer, "limit_exceeded", 409)["details"] == {"limit": LIMITS.drafts_bytes}
    patch(ann, talks[4], draft=draft(rest))
    patch(ann, talks[0], draft=None)
    patch(ann, talks[4], draft=draft(LIMITS.draft_bytes))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pinned", "yes"), ("pinned", 1), ("pinned", None), ("archived", "true"), ("mutedUntil", -1),
        ("mutedUntil", 2**53), ("mutedUntil", "1"), ("mutedUntil", 1.5), ("mutedUntil", True), ("draft", 7),
        ("draft", "a"), ("draft", "a==="), ("draft", "YQ=="[:-1]), ("draft", "YQ\n=="), ("draft", "ü==="), ("draft", ["YQ=="]),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(field: str, value: Any) -> None:
    ann, bob = sign_in(), sign_in()
    talk = open_direct(ann, bob)
    answer = ann.api.patch(f"/conversations/{talk}", {field: value})
    assert assert_problem(answer, "bad_request", 400)["details"]["field"] == field
    assert flags(listed(ann, talk)) == NOTHING_SET


def test_changes_are_limited_by_the_hour(limits: Any) -> None:
    ann, bob = sign_in(), sign_in()
    talk = open_direct(ann, bob)
    limits(conversation_changes_per_hour=2)
    patch(ann, talk, pinned=True)
    patch(ann, talk, pinned=False)
    answer = ann.api.patch(f"/conversations/{talk}", {"pinned": True})
    assert_problem(answer, "rate_limited", 429)
    assert int(answer.headers["Retry-After"]) > 0


# -- a device that was away ------------------------------------------------------------------------------------------------


def test_a_device_that_was_away_finds_what_was_set_and_read_meanwhile(clock: Callable[[int], None]) -> None:
    ann, bob = sign_in(), sign_in()
    talk, other = open_direct(ann, bob), open_direct(ann, sign_in())
    clock(60_000)
    since = now_ms() + 60_000
    assert listed(ann, talk, f"&since={since}") is None
    patch(ann, talk, mutedUntil=FOR_EVER)
    item = listed(ann, talk, f"&since={since}")
    assert item is not None
    assert item["mutedUntil"] == FOR_EVER
    assert listed(ann, other, f"&since={since}") is None
    assert listed(bob, talk, f"&since={since}") is None
    store.save([], [ReceiptWrite(other, ann.user_id, delivered=1, read=1)], now_ms() + 60_000)
    item = listed(ann, other, f"&since={since}")
    assert item is not None
    assert item["read"] == 1


def test_a_change_that_commits_late_is_not_passed_over(clock: Callable[[int], None]) -> None:
    """The list of a device may have been read between the time of a change and its commit."""
    ann, bob = sign_in(), sign_in()
    talk = open_direct(ann, bob)
    patch(ann, talk, pinned=True)
    assert listed(ann, talk, f"&since={now_ms() + 1_000}") is not None
    assert listed(ann, talk, f"&since={now_ms() + 60_000}") is None


def test_a_bus_that_is_away_fails_no_change(settings: Any) -> None:
    """What nobody could be told the list shows."""
    ann, bob = sign_in(), sign_in()
    talk = open_direct(ann, bob)
    settings.HOT_URL = "redis://127.0.0.1:1/0"
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "whatsapp.infra.layer.BusLayer"}}
    patch(ann, talk, pinned=True)
    assert flags(listed(ann, talk, f"&since={now_ms() - 1_000}"))["pinned"] is True


def test_a_retired_account_leaves_no_drafts() -> None:
    ann, bob = sign_in(), sign_in()
    talk = open_direct(ann, bob)
    patch(ann, talk, draft="c2VjcmV0")
    patch(bob, talk, pinned=True)
    with transaction.atomic():
        retire(account=Account.objects.get(pk=ann.user_id), now=now_ms())
    found = store.flags(ann.user_id, talk)
    assert found is not None
    assert found.flags.version == 0
    assert flags(listed(bob, talk))["pinned"] is True
