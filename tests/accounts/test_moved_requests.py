"""Where the log has moved, what this database still says of message requests is of long ago."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence

import pytest
from django.db import transaction

from accounts.visibility import visible
from delivery.store import chosen
from delivery.store.sync import store
from tests.accounts.conftest import sign_in
from whatsapp.infra.clock import now_ms

pytestmark = pytest.mark.django_db(transaction=True)


class Elsewhere:
    """The store that the log has moved to: who has not accepted whom there."""

    def __init__(self) -> None:
        self.strangers: set[tuple[str, str]] = set()

    async def unaccepted(self, pairs: Sequence[tuple[str, str]]) -> list[bool]:
        return [pair in self.strangers for pair in pairs]


@pytest.fixture
def pair() -> tuple[str, str]:
    """(user, viewer): the user had not accepted the viewer when the log was here."""
    ann, bob = sign_in().user_id, sign_in().user_id
    with transaction.atomic():
        conversation = store.ensure_direct(ann, bob, str(uuid.uuid4()), now_ms())
        store.request(conversation, [bob])
    return bob, ann


def test_the_store_alone_says_who_was_accepted(
    pair: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    there = Elsewhere()
    assert not visible([pair])[0].typing
    monkeypatch.setattr(chosen, "elsewhere", lambda: True)
    monkeypatch.setattr(chosen.background, "ask", lambda call: asyncio.run(call(there)))
    assert visible([pair])[0].typing, "accepted since"
    there.strangers.add(pair)
    assert not visible([pair])[0].typing
