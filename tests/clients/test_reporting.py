"""``client.report``: what the server then has, whole."""

from __future__ import annotations

import secrets
from typing import Any

import pytest

from tests.clients.test_with_server import eventually, people
from whatsapp_client import NotFound, RestError

pytestmark = pytest.mark.needs_system


def about(stack: Any, report: str) -> tuple[str, str, str]:
    """Verdict, whose, which file."""
    said = "verdict || ' ' || coalesce(reported::text, '') || ' ' || coalesce(media::text, '')"
    found = stack.sql(f"SELECT {said} FROM accounts_report WHERE id = '{report}'").strip()
    verdict, user, media = f"{found}  ".split(" ")[:3]
    return verdict, user, media


async def test_a_franked_message_is_reported_and_its_sender_blocked(stack: Any) -> None:
    async with people(stack, count=3) as (conversation, (ann, bob, eve)):
        key = secrets.token_bytes(32)
        sent = bob.send_encrypted(conversation, "buy this", key)
        await eventually(lambda: ann.shown(conversation, sent.message_id) is not None)
        ann.read_encrypted(ann.shown(conversation, sent.message_id).entry, key)
        report = await ann.report(conversation, "spam", message_ids=[sent.message_id], block=True)
        assert bob.session.user_id in await ann.blocks()
        assert about(stack, report) == ("verified", bob.session.user_id, "")
        with pytest.raises(ValueError):
            await ann.report(conversation, "spam", message_ids=["nothing"])
        with pytest.raises(ValueError):
            await ann.report(conversation, "spam", message_ids=[sent.message_id] * 11)
        with pytest.raises(NotFound):
            await eve.report(conversation, "spam", kind="user", user_id=bob.session.user_id)
        with pytest.raises(RestError):
            await ann.report(conversation, "spam", kind="user", user_id=ann.session.user_id)


async def test_what_its_sender_took_back_is_reported_and_proven(stack: Any) -> None:
    """The abuser deletes first; what is to be seen once is gone when it was seen."""
    async with people(stack) as (conversation, (ann, bob)):
        key = secrets.token_bytes(32)
        deleted = bob.send_encrypted(conversation, "a threat", key)
        once = bob.send(conversation, "another", viewOnce=True)
        sealed = bob.send_encrypted(conversation, "a third", key, viewOnce=True)
        await eventually(lambda: ann.shown(conversation, sealed.message_id) is not None)
        ann.read_encrypted(ann.shown(conversation, deleted.message_id).entry, key)
        bob.delete(conversation, deleted.message_id)
        await eventually(lambda: ann.shown(conversation, deleted.message_id).deleted)
        assert ann.open_once(conversation, once.message_id) == b"another"
        with pytest.raises(ValueError):
            ann.open_once_encrypted(conversation, sealed.message_id, bytes(32))
        assert ann.open_once_encrypted(conversation, sealed.message_id, key) == b"a third"
        with pytest.raises(ValueError, match="nothing to open"):
            ann.open_once_encrypted(conversation, sealed.message_id, key)
        for sent in (deleted, once, sealed):
            assert ann.shown(conversation, sent.message_id).entry.content is None
            report = await ann.report(conversation, "violence", message_ids=[sent.message_id])
            assert about(stack, report) == ("verified", bob.session.user_id, "")


async def test_a_file_and_a_group_are_reported(stack: Any) -> None:
    async with people(stack, count=3) as (conversation, (ann, bob, eve)):
        text = await ann.send(conversation, "no file").sent()
        with pytest.raises(ValueError, match="has a file"):
            await ann.report(conversation, "hate", kind="media", message_ids=[text.message_id])
        sent = await bob.send_file(conversation, b"vile", seal=lambda about: about.to_bytes())
        await eventually(lambda: ann.shown(conversation, sent.message_id) is not None)
        media = str(sent.fields["mediaUrl"]).split("/")[2]
        report = await ann.report(
            conversation, "hate", kind="media", message_ids=[sent.message_id], block=True
        )
        assert about(stack, report) == ("verified", bob.session.user_id, media)
        assert bob.session.user_id in await ann.blocks()
        with pytest.raises(NotFound):
            await eve.report(conversation, "hate", kind="media", media_id=media)

        group = await eve.create_group("Fans", [ann.session.user_id])
        said = eve.send(group, "join us")
        await eventually(lambda: ann.shown(group, said.message_id) is not None)
        report = await ann.report(group, "hate", kind="group", message_ids=[said.message_id], leave=True)
        assert about(stack, report) == ("verified", "", "")
        await eventually(lambda: ann.chat(group).read_only == "left")
        assert await ann.report(group, "hate", kind="group")  # who left it still may
