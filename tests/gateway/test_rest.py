"""What REST and the socket both tell must agree; health; who may open a socket at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from tests.gateway.metrics import metric
from tests.gateway.peer import Peer, events_of, fill
from tests.gateway.phone import Runs, couple, rest, saved, sign_up
from tests.support.cassandra import on_cassandra
from whatsapp.wire import frames
from whatsapp.wire.codec import JSON


def as_json(event: frames.Frame) -> Any:
    return json.loads(JSON.encode(event))


async def test_events_over_rest_are_those_of_the_socket(stack: Runs, codec: str) -> None:
    ann, bob, conversation = await couple(stack)
    async with await Peer.open(stack.ws, ann, codec) as a, await Peer.open(stack.ws, bob, codec) as b:
        await a.say(conversation, bytes(range(256)), kind="image", media_url="https://m/1", seq_num=1)
        await b.say(conversation, "two")
        await fill(a, conversation, 148)
        live = await b.messages(149)
    async with await Peer.open(stack.ws, bob, codec, sync=False) as b:
        synced = [as_json(e) for e in events_of(await b.sync({conversation: 0}))]
    found: list[Any] = []
    after = "0"
    while True:
        answer = await bob.rest("GET", f"/conversations/{conversation}/events?after={after}&limit=70")
        assert answer.status_code == 200
        body = answer.json()
        found += body["items"]
        if "next" not in body:
            break
        after = body["next"]
    assert found == synced
    assert [e for e in found if e["senderId"] == ann.user] == [as_json(e) for e in live]
    assert body["head"] == body["through"] == 150
    last = (await bob.rest("GET", f"/conversations/{conversation}/events?before=151&limit=1")).json()
    assert last["items"] == found[-1:]


async def test_an_outsider_reads_no_events(stack: Runs) -> None:
    _ann, _bob, conversation = await couple(stack)
    carl = await sign_up(stack)
    assert (await carl.rest("GET", f"/conversations/{conversation}/events")).status_code == 404


async def test_the_list_of_conversations_follows_the_socket(stack: Any, codec: str) -> None:
    ann, bob, conversation = await couple(stack)

    async def listed() -> Any:
        items = (await bob.rest("GET", "/conversations")).json()["items"]
        return next(item for item in items if item["conversationId"] == conversation)

    async with await Peer.open(stack.ws, ann, codec) as a:
        await fill(a, conversation, 3)
        assert ((await listed())["head"], (await listed())["unread"]) == (3, 3)
        async with await Peer.open(stack.ws, bob, codec) as b:
            await b.read(conversation, 2)
            await a.expect(frames.StatusUpdate, status="read", up_to=2)
        await saved(stack, bob, conversation, 3)
        item = await listed()
        assert (item["unread"], item["read"], item["delivered"], item["peerId"]) == (1, 2, 3, ann.user)
        assert item["lastEvent"]["seq"] == 3


@pytest.mark.parametrize("gateway", ["gateway-1", "gateway-2"])
async def test_health_and_metrics(stack: Runs, gateway: str) -> None:
    base = stack.gateways[gateway]["http"]
    live = await rest(base, "GET", "/health/live")
    assert (live.status_code, live.json()) == (200, {"status": "ok"})
    ready = await rest(base, "GET", "/health/ready")
    parts = {"database": True, "hot": True, **({"log": True} if on_cassandra() else {})}
    assert (ready.status_code, ready.json()) == (200, {"status": "ok", "parts": parts})
    assert (await rest(stack.http, "GET", "/metrics")).status_code == 404  # not on the public port
    phone = await sign_up(stack)
    opened = await metric(stack, gateway, 'whatsapp_sessions_total{kind="opened"}')
    async with await Peer.open(stack.gateways[gateway]["ws"], phone):
        assert await metric(stack, gateway, 'whatsapp_sessions_total{kind="opened"}') == opened + 1


async def test_the_schema_is_served(stack: Runs) -> None:
    answer = await rest(stack.http, "GET", "/schema/whatsapp.proto")
    assert answer.status_code == 200
    assert "message Frame" in answer.text


async def test_another_path_is_no_socket(stack: Runs) -> None:
    with pytest.raises(InvalidStatus) as refused:
        await Peer.open(stack.ws + "/other")
    assert refused.value.response.status_code == 404
