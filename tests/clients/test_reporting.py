"""``client.report``: what the server then has, whole."""

from __future__ import annotations

import base64
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


async def test_what_it_said_before_an_edit_is_reported_and_proven(stack: Any) -> None:
    """Whoever threatens edits it into something harmless. Of what was not franked the log knows the last form alone."""
    async with people(stack) as (conversation, (ann, bob)):
        key = secrets.token_bytes(32)
        sealed = bob.send_encrypted(conversation, "a threat", key)
        plain = bob.send(conversation, "another")
        await eventually(lambda: ann.shown(conversation, plain.message_id) is not None)
        ann.read_encrypted(ann.shown(conversation, sealed.message_id).entry, key)
        read = [b"a threat"]
        for words in ("a poem", "good morning"):
            await bob.edit_encrypted(conversation, sealed.message_id, words, key).sent()
            await eventually(lambda: ann.shown(conversation, sealed.message_id).entry.content != read[-1])
            read.append(ann.read_encrypted(ann.shown(conversation, sealed.message_id).entry, key))
        await bob.edit(conversation, plain.message_id, "sorry").sent()
        await eventually(lambda: ann.shown(conversation, plain.message_id).entry.content == b"sorry")
        said = [base64.b64decode(one["content"]) for one in ann.report_items(conversation, sealed.message_id)]
        assert said == [b"a threat", b"a poem", b"good morning"]
        assert [one["content"] for one in bob.report_items(conversation, sealed.message_id)] == [
            bob.report_item(conversation, sealed.message_id)["content"]
        ], "own messages are context"
        report = await ann.report(conversation, "violence", message_ids=[sealed.message_id, plain.message_id])
        assert about(stack, report) == ("verified", bob.session.user_id, "")
        verdicts = stack.sql(
            f"SELECT string_agg(verdict, ' ' ORDER BY position) FROM accounts_reportedmessage WHERE report_id = '{report}'"
        )
        assert verdicts.split() == ["verified"] * 3 + ["unverifiable", "verified"]
        twice = ann.report_item(conversation, plain.message_id)
        with pytest.raises(RestError, match="twice"):
            await ann.report(conversation, "spam", copies=[twice, twice])


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
