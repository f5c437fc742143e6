"""``client.report``: what the server then has, whole."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from tests.clients.test_with_server import eventually, people
from whatsapp_client import NotFound, RestError

pytestmark = pytest.mark.needs_system


async def test_a_franked_message_is_reported_and_its_sender_blocked(stack: Any) -> None:
    async with people(stack, count=3) as (conversation, (ann, bob, eve)):
        key = secrets.token_bytes(32)
        sent = bob.send_encrypted(conversation, "buy this", key)
        await eventually(lambda: ann.shown(conversation, sent.message_id) is not None)
        ann.read_encrypted(ann.shown(conversation, sent.message_id).entry, key)
        report = await ann.report(conversation, "spam", message_ids=[sent.message_id], block=True)
        assert bob.session.user_id in await ann.blocks()
        rows = stack.sql(
            "SELECT r.verdict || ' ' || r.reported FROM accounts_report r WHERE r.id = '" + report + "'"
        )
        assert f"verified {bob.session.user_id}" in str(rows)
        with pytest.raises(ValueError):
            await ann.report(conversation, "spam", message_ids=["nothing"])
        with pytest.raises(ValueError):
            await ann.report(conversation, "spam", message_ids=[sent.message_id] * 11)
        with pytest.raises(NotFound):
            await eve.report(conversation, "spam", kind="user", user_id=bob.session.user_id)
        with pytest.raises(RestError):
            await ann.report(conversation, "spam", kind="user", user_id=ann.session.user_id)
