"""What a user sets for a conversation may change the badge on devices that are absent: they are looked at."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

import pytest

from delivery.absent import CHANGES_MS
from notifications.models import PushTarget
from notifications.senders.interface import PushApp
from notifications.shards import due_key, shard_of
from tests.accounts.conftest import Person
from tests.chats.conftest import open_direct
from tests.chats.test_flags import FOR_EVER, patch
from tests.groups.conftest import sign_in
from whatsapp.infra import hot_sync
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def hot(valkey_url: str, settings: Any) -> Any:
    settings.PUSH_APPS = {"test": PushApp("test", "fcm", {})}
    settings.HOT_URL = valkey_url
    with hot_sync.client(valkey_url) as client:
        yield client


def _due(hot: Any, person: Person) -> float | None:
    score = hot.zscore(due_key(shard_of(person.user_id)), person.user_id)
    assert score is None or isinstance(score, float)
    return score


def _reached(person: Person) -> None:
    token = person.device_id
    PushTarget.objects.create(
        device_id=token, app="test", token=token, token_hash=sha256(token.encode()).digest(), set_at=1
    )


@pytest.mark.parametrize("change", [{"mutedUntil": FOR_EVER}, {"archived": True}])
def test_who_mutes_or_archives_is_looked_at_in_a_moment(hot: Any, change: dict[str, Any]) -> None:
    ann, bob = sign_in(), sign_in()
    _reached(ann)
    _reached(bob)
    talk = open_direct(ann, bob)
    before = now_ms()
    patch(ann, talk, pinned=True)
    assert _due(hot, ann) is None
    patch(ann, talk, **change)
    due = _due(hot, ann)
    assert due is not None
    assert before + CHANGES_MS <= due <= now_ms() + CHANGES_MS
    assert _due(hot, bob) is None


def test_who_is_reached_by_nothing_is_not(hot: Any) -> None:
    ann, bob = sign_in(), sign_in()
    patch(ann, open_direct(ann, bob), archived=True)
    assert _due(hot, ann) is None


def test_a_hot_node_that_is_away_fails_no_request(hot: Any, settings: Any) -> None:
    ann, bob = sign_in(), sign_in()
    _reached(ann)
    talk = open_direct(ann, bob)
    settings.HOT_URL = "redis://127.0.0.1:1/0"
    assert patch(ann, talk, archived=True)["archived"] is True
    assert _due(hot, ann) is None
