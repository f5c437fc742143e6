"""Several devices of one user, sockets that take each other's place, devices that come and go (C3, C4)."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.gateway.peer import Peer, Stream, events_of, texts
from tests.gateway.phone import Phone, Runs, couple, link, new_id, rest, sign_up
from tests.support import early
from tests.support.patience import until
from whatsapp.wire import frames


async def test_c4_every_device_gets_everything(stack: Any, codec: str) -> None:
    """Three devices of the receiver on both gateways, one of them offline; and the sender's other device."""
    ann, bob, conversation = await couple(stack)
    laptop, tablet, desk = await link(bob), await link(bob), await link(ann)
    first, second = [gateway["ws"] for gateway in stack.gateways.values()]
    wanted = [str(number) for number in range(20)]
    async with (
        await Peer.open(first, ann, codec) as a,
        await Peer.open(second, desk, codec) as d,
        await Peer.open(first, bob, codec) as b,
        await Peer.open(second, laptop, codec) as c,
    ):
        for text in wanted:
            await a.say(conversation, text)
        for peer in (b, c, d):
            got = await peer.messages(20)
            assert texts(got) == wanted
            assert {m.sender_device_id for m in got} == {ann.device}
        await a.round_trip()
        assert not a.waiting(frames.Message)
    async with await Peer.open(first, tablet, codec, sync=False) as t:
        assert texts(events_of(await t.sync())) == wanted


async def test_c4_one_devices_ack_is_its_own(stack: Runs, codec: str) -> None:
    ann, bob, conversation = await couple(stack)
    laptop = await link(bob)
    async with await Peer.open(stack.ws, ann, codec) as a:
        async with await Peer.open(stack.ws, bob, codec) as b:
            await a.say(conversation, "for both")
            await b.expect(frames.Message)
            await b.ack(conversation, 1)
            await a.expect(frames.StatusUpdate, status="delivered", up_to=1)
        async with await Peer.open(stack.ws, laptop, codec, sync=False) as c:
            assert texts(events_of(await c.sync())) == ["for both"]


async def test_c4_a_new_device_is_owed_from_its_link_on(stack: Runs, codec: str) -> None:
    ann, bob, conversation = await couple(stack)
    async with await Peer.open(stack.ws, ann, codec) as a:
        for text in ("old 1", "old 2"):
            await a.say(conversation, text)
        laptop = await link(bob)
        for text in ("new 1", "new 2"):
            await a.say(conversation, text)
        async with await Peer.open(stack.ws, laptop, codec, sync=False) as c:
            assert texts(events_of(await c.sync())) == ["new 1", "new 2"]
            await a.say(conversation, "live")
            assert texts(await c.messages(1)) == ["live"]
        async with await Peer.open(stack.ws, laptop, codec, sync=False) as c:
            assert texts(events_of(await c.sync({conversation: 0})))[:2] == [
                "old 1",
                "old 2",
            ]  # asked for, allowed


async def test_c4_a_device_linked_while_messages_stream_misses_none(stack: Any, codec: str) -> None:
    """Whatever the gateways' device lists knew at the time: no hole behind the first message it gets."""
    ann, bob, conversation = await couple(stack)
    first, second = [gateway["ws"] for gateway in stack.gateways.values()]
    async with await Peer.open(first, ann, codec) as a, await Peer.open(first, bob, codec):
        async with Stream(a, conversation) as stream:
            laptop = await link(bob)
            async with await Peer.open(second, laptop, codec, sync=False) as c:
                got = events_of(await c.sync())
                while len(got) < 60:
                    got += await c.messages(1)
                await stream.end()
                while got[-1].seq < stream.sent:
                    got += await c.messages(1)
        start = got[0].seq
        assert [message.seq for message in got] == list(range(start, stream.sent + 1))


# -- one device, two sockets ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("apart", [False, True], ids=["same gateway", "other gateway"])
async def test_r20_a_newer_socket_replaces_the_older(stack: Any, codec: str, apart: bool) -> None:
    ann, bob, conversation = await couple(stack)
    urls = [gateway["ws"] for gateway in stack.gateways.values()]
    async with (
        await Peer.open(urls[0], ann, codec) as a,
        await Peer.open(urls[0], bob, codec) as old,
        await Peer.open(urls[int(apart)], bob, codec) as new,
    ):
        assert await old.closed(1.0) == 4409
        await a.say(conversation, "for the newer one")
        assert texts(await new.messages(1)) == ["for the newer one"]
        await new.say(conversation, "works")
        assert texts(await a.messages(1)) == ["works"]


async def test_r20_sockets_of_one_device_race(stack: Any, codec: str) -> None:
    """Opened at once on both gateways, again and again: one survives, the others hear 4409, and it gets everything."""
    ann, bob, conversation = await couple(stack)
    urls = [gateway["ws"] for gateway in stack.gateways.values()]
    async with await Peer.open(urls[0], ann, codec) as a:
        for turn in range(5):
            opened = await asyncio.gather(
                *[Peer.open(urls[i % 2], bob, codec, header=True, auth=False) for i in range(4)],
                return_exceptions=True,
            )
            peers = [peer for peer in opened if isinstance(peer, Peer)]
            # ``open`` fails where the socket was replaced before its sync ended.
            assert peers, opened
            await until(lambda p=peers: sum(not x.is_closed for x in p) == 1, "one survivor")
            (survivor,) = [peer for peer in peers if not peer.is_closed]
            assert {await peer.closed() for peer in peers if peer is not survivor} <= {4409}
            await a.say(conversation, f"turn {turn}")
            got = await survivor.expect(frames.Message)
            assert texts([got]) == [f"turn {turn}"]
            await survivor.ack(conversation, got.seq)
            await a.expect(frames.StatusUpdate, status="delivered", up_to=got.seq)
            await survivor.close()


async def test_c3_late_sends_of_a_replaced_socket_neither_reorder_nor_repeat(stack: Any, codec: str) -> None:
    ann, bob, conversation = await couple(stack)
    first, second = [gateway["ws"] for gateway in stack.gateways.values()]
    count = 200
    ids = {number: new_id() for number in range(1, count + 1)}
    async with await Peer.open(second, bob, codec) as b:
        old = await Peer.open(first, ann, codec)
        for number in range(1, count + 1):
            await old.send(old.message(conversation, str(number), message_id=ids[number], seq_num=number))
        async with await Peer.open(second, ann, codec) as new:  # while the old one's sends are on their way
            for number in range(1, count + 1):
                while True:
                    answer = await new.attempt(
                        conversation, str(number), message_id=ids[number], seq_num=number
                    )
                    if isinstance(answer, frames.StatusUpdate):
                        break
                    assert answer.code == "out_of_order", answer
            assert await old.closed() == 4409
            await new.say(conversation, "end", seq_num=count + 1)
            got = await b.messages(count + 1)
            assert texts(got) == [*[str(n) for n in range(1, count + 1)], "end"]
            assert [m.seq for m in got] == list(range(1, count + 2))
        await old.close()


# -- the end of a device -----------------------------------------------------------------------------------------------------


async def closes_within_a_second(peer: Peer) -> int:
    began = time.monotonic()
    code = await peer.closed(10.0)
    assert time.monotonic() - began < (4.0 if early.WORKER else 1.0)
    return code


async def test_a_revoked_device_is_closed_4410_within_a_second(stack: Any, codec: str) -> None:
    ann, bob, conversation = await couple(stack)
    laptop = await link(bob)
    first, second = [gateway["ws"] for gateway in stack.gateways.values()]
    async with (
        await Peer.open(first, ann, codec) as a,
        await Peer.open(first, bob, codec) as b,
        await Peer.open(second, laptop, codec) as c,
    ):
        answer = await bob.rest("DELETE", f"/devices/{laptop.device}")
        assert answer.status_code == 204
        assert await closes_within_a_second(c) == 4410
        await a.say(conversation, "still there")
        assert texts(await b.messages(1)) == ["still there"]
        async with await Peer.open(second, laptop, codec, auth=False) as again:
            await again.send(frames.Auth(laptop.token))
            assert await again.closed() == 4410
    async with stack.stored() as log:
        found = await log.store.devices([laptop.user])
    assert laptop.device not in [row.device for row in found.get(laptop.user, ())]


async def test_logout_closes_the_socket_4410(stack: Runs) -> None:
    bob = await sign_up(stack)
    async with await Peer.open(stack.ws, bob) as peer:
        assert (await bob.rest("POST", "/auth/logout")).status_code == 204
        assert await closes_within_a_second(peer) == 4410


async def test_a_refresh_token_used_twice_ends_the_socket(stack: Runs) -> None:
    bob = await sign_up(stack)
    async with await Peer.open(stack.ws, bob) as peer:
        body = {"refreshToken": bob.refresh_token}
        assert (await rest(stack.http, "POST", "/auth/refresh", body)).status_code == 200
        assert (await rest(stack.http, "POST", "/auth/refresh", body)).status_code == 401
        assert await closes_within_a_second(peer) == 4401


async def test_other_devices_hear_of_a_linked_one(stack: Runs, codec: str) -> None:
    bob = await sign_up(stack)
    async with await Peer.open(stack.ws, bob, codec) as peer:
        laptop: Phone = await link(bob, name="laptop")
        notice = await peer.expect(frames.Notice, kind="device_linked")
        assert notice.data["deviceId"] == laptop.device
