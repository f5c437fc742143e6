"""Messages that carry a file: who may send it, and who may fetch it then."""

from __future__ import annotations

import base64
from typing import Any

import httpx
import psycopg
import pytest

from media.attaching import LOOKED_THROUGH
from tests.gateway.peer import Peer, talking
from tests.gateway.phone import Phone, Runs, new_id, sign_up
from tests.media.test_uploads import Uploads
from tests.support.patience import until
from whatsapp.wire import frames

pytestmark = [pytest.mark.needs_system, pytest.mark.parametrize("codec", ["json", "protobuf"])]


async def sealed(phone: Phone, conversation: str) -> str:
    """An encrypted file of a phone's that is ready; its id."""
    told = {"fileType": "image", "conversationId": conversation, "encrypted": "true"}
    metadata = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in told.items())
    tus = Uploads(phone)
    answer = await tus.ask(
        "POST",
        "/media/tus",
        b"sealed",
        Upload_Length="6",
        Upload_Metadata=metadata,
        Content_Type="application/offset+octet-stream",
    )
    assert answer.status_code == 201, answer.text
    media = answer.headers["Location"].rpartition("/")[2]

    async def ready() -> bool:
        return bool((await phone.rest("GET", f"/media/{media}")).json()["state"] == "ready")

    await until(ready, "it is ready", 60)
    return str(media)


async def fetched(phone: Phone, media: str, query: str = "") -> httpx.Response:
    """The file, or the refusal."""
    answer = await phone.rest("GET", f"/media/{media}/content{query}")
    if answer.status_code != 302:
        return answer
    return await phone.rest("GET", answer.headers["Location"])


async def carry(peer: Peer, conversation: str, media: str) -> Any:
    """Send a message with it: the ✓, or the error."""
    sent = peer.message(conversation, b"look", kind="image")
    sent.media_url = f"/media/{media}/content"
    return await peer.ask(sent)


async def test_who_is_sent_a_file_may_fetch_it(stack: Runs, codec: str) -> None:
    eve = await sign_up(stack)
    async with talking(stack, codec) as (ann, bob, conversation):
        assert ann.phone is not None
        assert bob.phone is not None
        media = await sealed(ann.phone, conversation)
        assert (await fetched(bob.phone, media)).status_code == 404, "it was not sent yet"
        assert (await fetched(ann.phone, media)).content == b"sealed"
        assert (await carry(ann, conversation, media)).status == "sent"
        got = await bob.expect(frames.Message)
        assert got.media_url == f"/media/{media}/content"
        assert (await fetched(bob.phone, media)).content == b"sealed"
        assert (await fetched(bob.phone, media, f"?conversationId={conversation}")).content == b"sealed"
        assert (await fetched(eve, media)).status_code == 404
        assert (await fetched(eve, media, f"?conversationId={conversation}")).status_code == 404


async def test_who_was_sent_it_sends_it_on(stack: Runs, codec: str) -> None:
    """And nobody else does, whatever they know of it."""
    async with talking(stack, codec) as (ann, bob, conversation), talking(stack, codec) as (eve, dan, other):
        assert ann.phone is not None
        assert bob.phone is not None
        assert dan.phone is not None
        media = await sealed(ann.phone, conversation)
        refused = await carry(bob, conversation, media)
        assert (refused.code, refused.retryable) == ("not_found", False), "it is not his yet"
        await carry(ann, conversation, media)
        refused = await carry(eve, other, media)
        assert refused.code == "not_found"
        assert (await fetched(dan.phone, media)).status_code == 404
        third = await bob.phone.direct(dan.phone)
        assert (await carry(bob, third, media)).status == "sent"
        assert (await fetched(dan.phone, media)).content == b"sealed"


async def test_a_deleted_message_gives_nothing(stack: Runs, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        assert ann.phone is not None
        assert bob.phone is not None
        media = await sealed(ann.phone, conversation)
        tick = await carry(ann, conversation, media)
        assert (await fetched(bob.phone, media)).content == b"sealed"
        deletion = frames.DeleteMessage(
            message_id=new_id(), conversation_id=conversation, target_id=tick.message_id, timestamp=1
        )
        assert (await ann.ask(deletion)).status == "sent"
        assert (await fetched(bob.phone, media)).status_code == 404

        await until(lambda: unnoted(stack, media), "no message carries it any more")


async def test_a_deletion_that_is_repeated_lets_the_file_go(stack: Runs, codec: str) -> None:
    """A gateway that is killed behind the deletion has not: whoever was sent the file could send it on for a month."""
    async with talking(stack, codec) as (ann, bob, conversation):
        assert ann.phone is not None
        media = await sealed(ann.phone, conversation)
        tick = await carry(ann, conversation, media)
        with psycopg.connect(stack.env["DATABASE_URL"]) as link:
            (noted,) = link.execute("SELECT * FROM media_reference WHERE media_id = %s", (media,)).fetchall()
        deletion = frames.DeleteMessage(
            message_id=new_id(), conversation_id=conversation, target_id=tick.message_id, timestamp=1
        )
        assert (await ann.ask(deletion)).status == "sent"
        await until(lambda: unnoted(stack, media), "no message carries it any more")
        with psycopg.connect(stack.env["DATABASE_URL"]) as link:  # as if that one had not come to it
            link.execute(f"INSERT INTO media_reference VALUES ({', '.join(['%s'] * len(noted))})", noted)
        assert (await ann.ask(deletion)).duplicate
        await until(lambda: unnoted(stack, media), "no message carries it any more")
        assert (await carry(bob, conversation, media)).code == "not_found"


async def unnoted(stack: Runs, media: str) -> bool:
    with psycopg.connect(stack.env["DATABASE_URL"]) as link:
        found = link.execute("SELECT count(*) FROM media_reference WHERE media_id = %s", (media,)).fetchone()
    return found == (0,)


async def test_messages_that_are_refused_bury_none(stack: Runs, codec: str) -> None:
    """What a refused message would have carried was noted before: as often as references are looked through."""
    async with talking(stack, codec) as (ann, bob, conversation):
        assert ann.phone is not None
        assert bob.phone is not None
        media = await sealed(ann.phone, conversation)
        await carry(ann, conversation, media)
        for _ in range(LOOKED_THROUGH):
            sent = bob.message(conversation, b"look", kind="image")
            sent.media_url, sent.seq_num = f"/media/{media}/content", 999
            assert (await bob.ask(sent)).code == "out_of_order"
        for query in ("", f"?conversationId={conversation}"):
            assert (await fetched(bob.phone, media, query)).content == b"sealed"


async def test_addresses_of_others_are_passed_on(stack: Runs, codec: str) -> None:
    async with talking(stack, codec) as (ann, bob, conversation):
        sent = ann.message(conversation, b"look", kind="image")
        sent.media_url = "https://example.org/media/1/content"
        assert (await ann.ask(sent)).status == "sent"
        assert (await bob.expect(frames.Message)).media_url == sent.media_url


async def test_who_ends_takes_along_what_nobody_was_sent(stack: Runs, codec: str) -> None:
    """A number that was silent for long is somebody else's now: the account of before ends. What it had sent stays with the
    message."""
    async with talking(stack, codec) as (ann, bob, conversation):
        assert ann.phone is not None
        assert bob.phone is not None
        media = await sealed(ann.phone, conversation)
        await carry(ann, conversation, media)
        assert (await fetched(bob.phone, media)).content == b"sealed"
        unsent = await sealed(ann.phone, conversation)
    with psycopg.connect(stack.env["DATABASE_URL"], autocommit=True) as link:
        link.execute("UPDATE accounts_account SET created_at = 0 WHERE id = %s", (ann.phone.user,))
        link.execute("UPDATE accounts_device SET last_seen_at = 0 WHERE user_id = %s", (ann.phone.user,))
    heir = await sign_up(stack, ann.phone.number)
    assert heir.user != ann.phone.user

    def gone() -> bool:
        with psycopg.connect(stack.env["DATABASE_URL"], autocommit=True) as link:
            row = link.execute("SELECT state FROM media_media WHERE id = %s", (unsent,)).fetchone()
        return row == ("gone",)

    await until(gone, "it is gone", 60)
    assert (await fetched(bob.phone, media)).content == b"sealed"
