"""Encrypted messages of the client library: what is written can be proved by who received it, what was not written cannot, and
what nobody could prove is not shown."""

from __future__ import annotations

import asyncio
import base64
import secrets
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from delivery import franking as server
from tests.clients.test_with_server import eventually, people
from tests.support.patience import PATIENCE
from whatsapp.infra.token_keys import parse
from whatsapp_client import Client, Database, Entry, NotFranked, Sealed, by_name, franking
from whatsapp_client.history import History

KEY = b"m" * 32  # of the messages; how each device comes by it is the program's business
texts = st.text(max_size=30)
contents = st.binary(max_size=200)
keys = st.binary(min_size=32, max_size=32)


@pytest.fixture(params=["json", "protobuf"])
def codec(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# -- what is computed ----------------------------------------------------------------------------------------------------


@given(keys, contents, texts, texts, texts)
def test_client_and_server_mean_the_same(key: bytes, content: bytes, kind: str, url: str, reply: str) -> None:
    made = franking.commitment(key, content, kind=kind, media_url=url, reply_to=reply)
    assert made == server.commitment(key, server.Said(content, kind, url, reply))


def test_the_vector_of_the_page() -> None:
    made = franking.commitment(bytes(range(32)), b"hello").hex()
    assert made in Path("docs/subsystems/franking.md").read_text()


@given(contents, keys, st.integers(0, 2**16))
def test_what_is_encrypted_opens_as_it_was_committed_to(content: bytes, key: bytes, at: int) -> None:
    franked = franking.frank(content, kind="image", media_url="u", reply_to="r")
    sealed = franking.encrypt(franked.body, key)
    opened, found = franking.unwrap(franking.decrypt(sealed, key))
    assert (opened, found) == (franked.key, content)
    context = {"kind": "image", "media_url": "u", "reply_to": "r"}
    assert franking.opens(franked.franking, opened, found, **context)
    for field in context:
        assert not franking.opens(franked.franking, opened, found, **{**context, field: "other"})
    at %= len(sealed)
    damaged = sealed[:at] + bytes((sealed[at] ^ 1,)) + sealed[at + 1 :]
    with pytest.raises(ValueError, match="changed"):
        franking.decrypt(damaged, key)


@given(st.binary(max_size=33))
def test_a_body_without_a_key_is_told(body: bytes) -> None:
    if body[:1] == b"\x01" and len(body) == 33:
        return
    with pytest.raises(NotFranked):
        franking.unwrap(body)


# -- a whole system ------------------------------------------------------------------------------------------------------


def verdict(system: Any, item: dict[str, Any], **other: Any) -> server.Verdict:
    """What the server says of an item of a report."""
    item = {**item, **other}

    def raw(name: str) -> bytes | None:
        return base64.b64decode(item[name]) if name in item else None

    said = server.Said(raw("content") or b"", item["kind"], item.get("mediaUrl", ""), item.get("replyTo", ""))
    place = server.Place(
        item["conversationId"],
        item["messageId"],
        item["senderId"],
        item["senderDeviceId"],
        item["serverTimestamp"],
    )
    proof = [raw(name) for name in ("frankingKey", "franking", "frankingTag")]
    return server.verify(parse(system.env["FRANKING_KEYS"]), said, place, *proof)


def entry(client: Client, conversation: str, message_id: str) -> Entry | None:
    return client.history[conversation].log.message(message_id)


async def here(client: Client, conversation: str, message_id: str, **state: Any) -> Entry:
    def found() -> bool:
        one = entry(client, conversation, message_id)
        return one is not None and all(getattr(one, name) == value for name, value in state.items())

    await eventually(found)
    one = entry(client, conversation, message_id)
    assert one is not None
    return one


async def test_a_reader_can_prove_what_was_written(stack: Any, codec: str) -> None:
    async with people(stack, codec=by_name(codec)) as (conversation, (ann, bob)):
        first = ann.send_encrypted(conversation, "hello", KEY)
        url = f"https://files.example/{secrets.token_hex(4)}"
        file = Sealed("0193b2a0-7c00-7a11-8b22-1d2c3b4a5f60", b"k" * 32, b"d" * 32, 7)
        second = ann.send_encrypted(
            conversation, file.to_bytes(), KEY, kind="image", mediaUrl=url, replyTo=first.message_id
        )
        await asyncio.gather(first.sent(), second.sent())
        got = await here(bob, conversation, first.message_id)
        assert b"hello" not in (got.content or b""), "the server has it encrypted"
        assert verdict(stack, bob.report_item(conversation, first.message_id)) is server.Verdict.UNVERIFIABLE
        for _ in range(2):
            got = await here(bob, conversation, first.message_id)
            assert bob.read_encrypted(got, KEY) == b"hello"
        answer = await here(bob, conversation, second.message_id)
        assert bob.read_encrypted(answer, KEY) == file.to_bytes()
        # In its database it is readable, with what proves it.
        item = bob.report_item(conversation, first.message_id)
        assert base64.b64decode(item["content"]) == b"hello"
        assert verdict(stack, item) is server.Verdict.VERIFIED
        picture = bob.report_item(conversation, second.message_id)
        assert (picture["mediaUrl"], picture["replyTo"]) == (url, first.message_id)
        assert verdict(stack, picture) is server.Verdict.VERIFIED
        # A reader who wants somebody banned for what was not written is found out, and one who changes the file's key too.
        salamander = Sealed(file.media_id, b"K" * 32, file.digest, file.size).to_bytes()
        for name, value in (
            ("content", base64.b64encode(b"I will find you").decode()), ("kind", "image"), ("replyTo", second.message_id),
            ("messageId", second.message_id), ("senderId", bob.session.user_id), ("serverTimestamp", 1),
            ("frankingKey", picture["frankingKey"]), ("franking", picture["franking"]), ("frankingTag", picture["frankingTag"]),
        ):  # fmt: skip
            assert verdict(stack, item, **{name: value}) is server.Verdict.FORGED
        content = base64.b64encode(salamander).decode()
        assert verdict(stack, picture, content=content) is server.Verdict.FORGED
        # Who wrote reads it again too, and needs no proof.
        own = await here(ann, conversation, first.message_id)
        assert ann.read_encrypted(own, KEY) == b"hello"
        own = await here(ann, conversation, first.message_id)
        assert ann.read_encrypted(own, KEY) == b"hello"


async def test_an_edit_is_proved_by_its_own_commitment(stack: Any, codec: str) -> None:
    async with people(stack, codec=by_name(codec)) as (conversation, (ann, bob)):
        sent = ann.send_encrypted(conversation, "hello", KEY)
        await sent.sent()
        got = await here(bob, conversation, sent.message_id)
        assert bob.read_encrypted(got, KEY) == b"hello"
        before = bob.report_item(conversation, sent.message_id)
        await ann.edit_encrypted(conversation, sent.message_id, "go away", KEY).sent()
        edited = await here(bob, conversation, sent.message_id, edited=True)
        assert bob.read_encrypted(edited, KEY) == b"go away"
        edited = await here(bob, conversation, sent.message_id, edited=True)
        assert bob.read_encrypted(edited, KEY) == b"go away"
        after = bob.report_item(conversation, sent.message_id)
        assert base64.b64decode(after["content"]) == b"go away"
        assert after["serverTimestamp"] >= before["serverTimestamp"]
        for item in (before, after):
            assert verdict(stack, item) is server.Verdict.VERIFIED
        assert verdict(stack, after, content=before["content"]) is server.Verdict.FORGED
        # A delete takes it from what is shown; who was sent it can report it all the same, while the program runs.
        await ann.delete(conversation, sent.message_id).sent()
        await here(bob, conversation, sent.message_id, deleted=True)
        taken_back = bob.report_item(conversation, sent.message_id)
        assert taken_back == after
        assert verdict(stack, taken_back) is server.Verdict.VERIFIED


async def test_what_its_sender_has_not_committed_to_is_not_shown(stack: Any, codec: str) -> None:
    """The attacks of a sender who wants to be read and not reported."""
    async with people(stack, codec=by_name(codec)) as (conversation, (ann, bob)):
        good = franking.frank(b"abuse")
        other = base64.b64encode(franking.frank(b"good morning").franking).decode()
        own = base64.b64encode(good.franking).decode()
        attacks = [
            ann.send(conversation, franking.encrypt(good.body, KEY)),  # commits to nothing
            ann.send(conversation, franking.encrypt(good.body, KEY), franking=other),  # to something else
            ann.send(conversation, franking.encrypt(b"abuse", KEY), franking=own),  # gives the reader no key
            ann.send(
                conversation, franking.encrypt(good.body, KEY), franking=own, kind="image"
            ),  # as another kind
        ]
        for attack in attacks:
            await attack.sent()
            got = await here(bob, conversation, attack.message_id)
            with pytest.raises(NotFranked):
                bob.read_encrypted(got, KEY)
            left = await here(bob, conversation, attack.message_id)
            assert left.content is None
            with pytest.raises(ValueError, match="no such message"):
                bob.report_item(conversation, attack.message_id)
        # The protection off: it is read, and the report proves nothing.
        lenient = ann.send(conversation, franking.encrypt(good.body, KEY))
        await lenient.sent()
        got = await here(bob, conversation, lenient.message_id)
        with pytest.raises(ValueError, match="another one"):
            bob.read_encrypted(got, b"x" * 32, required=False)
        assert bob.read_encrypted(got, KEY, required=False) == b"abuse"
        item = bob.report_item(conversation, lenient.message_id)
        assert verdict(stack, item) is server.Verdict.UNVERIFIABLE
        # An edit that is not committed to takes the place of what was, and is not shown either.
        sent = ann.send_encrypted(conversation, "hello", KEY)
        await sent.sent()
        bob.read_encrypted(await here(bob, conversation, sent.message_id), KEY)
        await ann.edit(conversation, sent.message_id, franking.encrypt(good.body, KEY), franking=other).sent()
        edited = await here(bob, conversation, sent.message_id, edited=True)
        with pytest.raises(NotFranked):
            bob.read_encrypted(edited, KEY)
        assert (await here(bob, conversation, sent.message_id)).content is None


async def test_what_proves_it_outlives_the_program(stack: Any, tmp_path: Path) -> None:
    async with people(stack) as (conversation, (ann, bob)):
        file = tmp_path / "bob.db"
        async with asyncio.timeout(PATIENCE):
            await bob.stop()
            bob.database.close()
            database = Database(str(file))
            async with Client(stack.http, bob.session, database=database) as again:
                await again.wait_online()
                sent = ann.send_encrypted(conversation, "hello", KEY)
                await sent.sent()
                got = await here(again, conversation, sent.message_id)
                again.read_encrypted(got, KEY)
            database.close()
        database = Database(str(file))
        client = Client(stack.http, bob.session, database=database)
        item = client.report_item(conversation, sent.message_id)
        assert verdict(stack, item) is server.Verdict.VERIFIED
        assert isinstance(client.history, History)
        # Deleted for this device: nothing of it is left in the file.
        client.hide(conversation, sent.message_id)
        client.flush()
        database.close()
        assert base64.b64decode(item["frankingKey"]) not in file.read_bytes()
        assert item["frankingKey"].encode() not in file.read_bytes()
