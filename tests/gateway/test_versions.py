"""Clients of older versions: what they do not know comes as something that they do, live, late and from a drained backlog."""

from __future__ import annotations

from typing import Any

import pytest

from tests.gateway.metrics import metric
from tests.gateway.peer import Peer, events_of, fill
from tests.gateway.phone import Phone, Runs, couple, link, saved
from tests.gateway.test_amendments import delete, done, edit, react
from whatsapp.wire import frames


async def older(url: str, phone: Phone, codec: str, version: str, **options: Any) -> Peer:
    return await Peer.open(url, phone, codec, subprotocols=[f"whatsapp.v{version}.{codec}"], **options)


def seen(events: list[Any]) -> list[tuple[Any, ...]]:
    return [
        (e.seq, e.kind, e.encrypted_content, e.reply_to is not None, e.expires_in, e.deleted)
        if isinstance(e, frames.Message)
        else (e.seq, e.kind, e.encrypted_content, e.data)
        for e in events
    ]


@pytest.mark.parametrize("version", ["3.0", "3.1"])
async def test_a_chat_of_everything(stack: Runs, codec: str, version: str) -> None:
    new = version == "3.1"
    ann, bob, conversation = await couple(stack)
    late = await link(bob)
    one, two = [gateway["ws"] for gateway in stack.gateways.values()]
    async with await Peer.open(one, ann, codec) as a, await older(two, bob, codec, version) as b:
        first = (await a.say(conversation, "hello")).message_id
        await a.say(conversation, "re", reply_to=first, expires_in=3_600)
        await a.say(conversation, "once", view_once=True)
        poll = (await a.say(conversation, b'{"question": "?"}', kind="poll")).message_id
        await done(a, react(conversation, first))
        await done(a, edit(conversation, first))
        gone = (await a.say(conversation, "oops")).message_id
        await done(a, delete(conversation, gone))
        assert poll
        live = [await b.take(lambda f: isinstance(f, frames.Message | frames.Event)) for _ in range(8)]
        vanishing = (2, "text", b"re", new, 3_600 if new else None, False)
        kept = [(3, "text", None, False, None, True), (4, "text", b'{"question": "?"}', False, None, False)]
        reacted = (5, "reaction", None, {"emoji": "👍"}) if new else (5, "info", None, {})
        assert seen(live) == [
            (1, "text", b"hello", False, None, False),
            vanishing,
            *kept,
            reacted,
            (6, "edit", b"edited", {}),
            (7, "text", b"oops", False, None, False),
            (8, "delete", None, {}),
        ]
        answered = await b.say(conversation, "older clients may use what they do not show", view_once=True)
        assert (await a.expect(frames.Message, message_id=answered.message_id)).view_once
    async with await older(one, late, codec, version, sync=False) as peer:
        read = events_of(await peer.sync({conversation: 0}))
        assert seen(read)[:4] == [(1, "text", b"edited", False, None, False), vanishing, *kept]
        assert seen(read)[4] == reacted


async def test_a_backlog_that_a_task_writes_is_in_the_version_of_its_reader(stack: Runs, codec: str) -> None:
    ann, bob, conversation = await couple(stack)
    url = stack.gateways["gateway-1"]["ws"]
    async with await Peer.open(url, ann, codec) as a:
        for _ in range(3):
            await a.say(conversation, "once", view_once=True)
        await fill(a, conversation, 700)
    parts = await metric(stack, "gateway-1", 'whatsapp_drains_total{kind="part"}')
    async with await older(url, bob, codec, "3.0", sync=False) as b:
        got = events_of(await b.sync())
        assert [event.seq for event in got] == list(range(1, 704))
        assert seen(got[:3]) == [(seq, "text", None, False, None, True) for seq in (1, 2, 3)]
    assert await metric(stack, "gateway-1", 'whatsapp_drains_total{kind="part"}') > parts
    await saved(stack, bob, conversation, 703)
