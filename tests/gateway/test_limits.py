"""C7: everything is bounded, and a client that reaches a limit is told. On a gateway whose limits are low."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests.gateway.metrics import metric
from tests.gateway.peer import Peer, texts
from tests.gateway.phone import couple, link, new_id, sign_up
from tests.gateway.raw import BINARY, PING, PONG, TEXT, RawSocket, frame
from tests.support.patience import until
from tests.support.stack import System
from whatsapp.wire import frames
from whatsapp.wire.codec import CODECS

LOW = {
    "messages_per_minute": 30,
    "frames_per_second": 60,
    "flood_warnings": 5,
    "syncs_per_minute": 4,
    "typing_per_minute": 3,
    "presence_per_minute": 3,
    "have_per_sync": 600,
    "pending_sends": 5,
    "frame_bytes": 40_000,
    "content_bytes": 1_000,
    "connections": 10,
    "unauthenticated": 8,
    "unauthenticated_per_address": 4,
    "auth_ms": 1_500,
    "malformed_in_a_row": 2,
}


@pytest.fixture(scope="module")
def stack() -> Iterator[Any]:
    with System(gateways=1, worker=False, env={"TRUSTED_PROXIES": "127.0.0.0/8"}, limits=LOW) as system:
        yield system


async def nobody_is_connected(stack: Any) -> None:
    async def none() -> bool:
        return await metric(stack, "gateway-1", "whatsapp_connections") == 0

    await until(none, "no socket is open")


async def test_ready_tells_the_limits(stack: Any, codec: str) -> None:
    async with await Peer.open(stack.ws, await sign_up(stack), codec) as peer:
        assert peer.ready is not None
        assert peer.ready.limits == frames.Limits(40_000, 1_000, 30)


async def test_messages_per_minute(stack: Any, codec: str) -> None:
    """All devices of a user on a gateway share the rate; what was refused is stored when it is sent again."""
    ann, bob, conversation = await couple(stack)
    laptop = await link(ann)
    async with (
        await Peer.open(stack.ws, ann, codec) as a,
        await Peer.open(stack.ws, laptop, codec) as second,
        await Peer.open(stack.ws, bob, codec) as b,
    ):
        # Several at once: while a slow store answers one after the other, the rate gives back what they take.
        loop = asyncio.get_running_loop()
        began, taken, over = loop.time(), 0, {}
        while {a, second} - over.keys():
            asked = [(peer, peer.message(conversation)) for peer in (a, second) * 4]
            answers = await asyncio.gather(*[peer.ask(message) for peer, message in asked])
            for (peer, message), got in zip(asked, answers, strict=True):
                if isinstance(got, frames.Error):
                    assert (got.code, got.message_id, got.retryable) == (
                        "rate_limited",
                        message.message_id,
                        True,
                    )
                    assert 0 < got.retry_after_ms <= 2_000
                    over[peer] = (message, got, loop.time())
                else:
                    taken += 1
        assert 30 <= taken <= 31 + (loop.time() - began) / 2
        refused, answer, told_at = over[a]
        await b.say(conversation, "others may")
        await b.messages(taken)
        due = told_at + answer.retry_after_ms / 1000

        async def sent() -> bool:
            await asyncio.sleep(max(0.0, due - loop.time()))  # as it was told
            return isinstance(await a.ask(refused), frames.StatusUpdate)

        await until(sent, "the refused message is taken")
        assert [message.message_id for message in await b.messages(1)] == [refused.message_id]


async def test_a_flood_is_warned_then_closed_4429(stack: Any, codec: str) -> None:
    async with await Peer.open(stack.ws, await sign_up(stack), codec) as peer:
        with contextlib.suppress(Exception):
            for _ in range(300):
                await peer.send(frames.Ack({new_id(): 1}))
        assert await peer.closed() == 4429
        errors = peer.waiting(frames.Error)
        # A client whose frames come slowly has room in between, and more warnings; one burst has just these, below.
        assert len(errors) >= LOW["flood_warnings"]
        assert {error.code for error in errors} == {"rate_limited"}
        assert all(error.retryable and error.retry_after_ms > 0 for error in errors)


@pytest.mark.parametrize("opcode", [PING, PONG], ids=["ping", "pong"])
async def test_control_frames_count_as_frames(stack: Any, codec: str, opcode: int) -> None:
    """Before authentication too: a flood of pings is a flood."""
    async with await RawSocket.open(stack.ws, codec) as raw:
        raw.write(frame(opcode, b"x" * 125) * 300)
        code, before = await raw.until_closed()
        assert code == 4429
        errors = [CODECS[codec].decode_server(got.payload) for got in before if got.opcode in (TEXT, BINARY)]
        assert [error.code for error in errors] == ["rate_limited"] * 5
        pongs = [got for got in before if got.opcode == PONG]
        assert len(pongs) >= LOW["frames_per_second"] if opcode == PING else not pongs


async def test_a_client_that_heeds_the_warning_stays(stack: Any, codec: str) -> None:
    async with await Peer.open(stack.ws, await sign_up(stack), codec) as peer:
        for _ in range(2 * (LOW["flood_warnings"] + 1)):
            while True:
                await peer.send(frames.Auth("again"))  # answered at once, one way or the other
                error = await peer.expect(frames.Error)
                if error.code == "rate_limited":
                    break
            assert error.retry_after_ms
            await asyncio.sleep(error.retry_after_ms / 1000)  # as it was told
        await until(lambda: not peer.is_closed, "it lives")
        await peer.send(frames.Auth("again"))
        await peer.expect(frames.Error)


@pytest.mark.parametrize("what", ["sync", "typing", "presence"])
async def test_rates_of_other_frames(stack: Any, codec: str, what: str) -> None:
    ann, _bob, conversation = await couple(stack)
    async with await Peer.open(stack.ws, ann, codec, sync=False) as peer:
        made: dict[str, Any] = {
            "sync": lambda: frames.Sync(ref="x"),
            "typing": lambda: frames.Typing(conversation, True, ref="x"),
            "presence": lambda: frames.PresenceSubscribe([new_id()], ref="x"),
        }
        for _ in range(LOW[f"{what}s_per_minute" if what == "sync" else f"{what}_per_minute"]):
            await peer.send(made[what]())
        await peer.round_trip()
        assert not peer.waiting(frames.Error)
        await peer.send(made[what]())
        error = await peer.error("rate_limited")
        assert error.ref == "x"
        assert error.retry_after_ms
        await peer.round_trip()


async def test_frame_and_content_sizes(stack: Any, codec: str) -> None:
    ann, bob, conversation = await couple(stack)
    async with await Peer.open(stack.ws, ann, codec) as a, await Peer.open(stack.ws, bob, codec) as b:
        await a.say(conversation, b"x" * 1_000)
        assert (await a.attempt(conversation, b"x" * 1_001)).code == "too_large"
        await b.messages(1)
        await a.raw(b" " * 40_001)
        assert await a.closed() == 1009


async def test_have_over_all_frames_of_a_sync(stack: Any, codec: str) -> None:
    async with await Peer.open(stack.ws, await sign_up(stack), codec) as peer:
        await peer.send(frames.Sync({new_id(): 1 for _ in range(500)}, more=True))
        answer = await peer.ask(frames.Sync({new_id(): 1 for _ in range(101)}, more=True))
        assert answer.code == "too_large"
        assert isinstance(await peer.ask(frames.Sync()), frames.SyncComplete)


async def test_sends_that_wait_for_their_append(stack: Any, codec: str) -> None:
    ann, bob, conversation = await couple(stack)
    wire = CODECS[codec]
    async with (
        await RawSocket.open(stack.ws, codec, ann.token) as raw,
        await Peer.open(stack.ws, bob, codec) as b,
    ):
        await raw.receive()  # ready
        sends = [
            frames.SendMessage(
                message_id=new_id(), conversation_id=conversation, encrypted_content=b"%d" % n, timestamp=1
            )
            for n in range(20)
        ]
        kind = TEXT if wire.text else BINARY
        raw.write(b"".join(frame(kind, wire.encode(send)) for send in sends))
        answers = {}
        while len(answers) < 20:
            got = await raw.receive()
            assert got is not None
            answer = wire.decode_server(got.payload)
            answers[answer.message_id] = answer
        refused = [a for a in answers.values() if isinstance(a, frames.Error)]
        stored = [send for send in sends if isinstance(answers[send.message_id], frames.StatusUpdate)]
        assert refused
        assert all((e.code, e.retryable, e.retry_after_ms) == ("unavailable", True, 1_000) for e in refused)
        assert stored[:5] == sends[:5]
        assert texts(await b.messages(len(stored))) == [s.encrypted_content.decode() for s in stored]


async def test_malformed_in_a_row(stack: Any, codec: str) -> None:
    async with await Peer.open(stack.ws, await sign_up(stack), codec) as peer:
        await peer.raw(b"\x00")
        await peer.raw(b"\x00")
        assert await peer.closed() == 4400


async def test_without_auth_the_socket_is_closed_4408(stack: Any, codec: str) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with (
        await Peer.open(stack.ws, codec=codec) as silent,
        await Peer.open(stack.ws, codec=codec) as busy,
    ):
        assert await silent.closed() == 4408
        assert loop.time() - began > 1.4
        assert await busy.closed() == 4408


async def test_unauthenticated_sockets_of_one_address(stack: Any) -> None:
    await nobody_is_connected(stack)
    phone = await sign_up(stack)
    async with contextlib.AsyncExitStack() as opened:
        waiting = [await opened.enter_async_context(await Peer.open(stack.ws)) for _ in range(4)]
        over = await opened.enter_async_context(await Peer.open(stack.ws))
        told = await over.expect(frames.Reconnect)
        assert told.after_ms > 0
        assert told.reason
        assert await over.closed() == 1013
        await waiting[0].send(frames.Auth(phone.token))  # no longer one of them
        await waiting[0].expect(frames.Ready)
        late = await opened.enter_async_context(await Peer.open(stack.ws, phone, auth=False))
        await late.send(frames.Auth(phone.token))
        await late.expect(frames.Ready)


async def test_who_brings_a_token_is_not_kept_out_by_those_who_bring_none(stack: Any, codec: str) -> None:
    """Of the same address, and of the gateway."""
    await nobody_is_connected(stack)
    phone = await sign_up(stack)
    header = {"Authorization": f"Bearer {phone.token}"}
    async with contextlib.AsyncExitStack() as opened:
        for number in range(8):
            forwarded = {"X-Forwarded-For": f"198.51.100.{number // 4}"}
            await opened.enter_async_context(await Peer.open(stack.ws, codec=codec, headers=forwarded))
        for last in ("0", "9"):
            headers = {**header, "X-Forwarded-For": f"198.51.100.{last}"}
            async with await Peer.open(stack.ws, codec=codec, headers=headers) as peer:
                await peer.expect(frames.Ready)


async def test_who_has_owed_its_token_for_longest_makes_room(stack: Any, codec: str) -> None:
    """Honest clients send it at once: those who do not must not keep them out until their time is over."""
    await nobody_is_connected(stack)
    phone, other = await sign_up(stack), await sign_up(stack)  # before the time of the silent ones begins
    async with contextlib.AsyncExitStack() as opened:
        silent = []
        for number in range(8):
            forwarded = {"X-Forwarded-For": f"198.51.100.{number}"}
            peer = await Peer.open(stack.ws, codec=codec, headers=forwarded)
            silent.append(await opened.enter_async_context(peer))
        late = await opened.enter_async_context(await Peer.open(stack.ws, codec=codec))
        told = await silent[0].expect(frames.Reconnect)
        assert told.reason == "overloaded"
        assert await silent[0].closed() == 1013
        await late.send(frames.Auth(phone.token))
        await late.expect(frames.Ready)
        await silent[1].send(frames.Auth(other.token))
        await silent[1].expect(frames.Ready)


async def test_behind_a_trusted_proxy_each_client_has_its_own_address(stack: Any) -> None:
    """The rightmost address that no trusted proxy has; what stands to the left of it is the client's invention."""
    await nobody_is_connected(stack)

    async def via(forwarded: str) -> Peer:
        return await Peer.open(stack.ws, headers={"X-Forwarded-For": forwarded})

    async with contextlib.AsyncExitStack() as opened:
        for number in range(4):
            await opened.enter_async_context(await via(f"203.0.113.{number}, 198.51.100.7, 127.0.0.2"))
        over = await opened.enter_async_context(await via("203.0.113.9, 198.51.100.7"))
        assert await over.closed() == 1013
        other = await opened.enter_async_context(await via("198.51.100.7, 198.51.100.8"))
        await other.round_trip()
        await (await opened.enter_async_context(await Peer.open(stack.ws))).round_trip()


async def test_connections_of_a_gateway(stack: Any) -> None:
    await nobody_is_connected(stack)
    phones = [await sign_up(stack) for _ in range(11)]
    async with contextlib.AsyncExitStack() as opened:
        for phone in phones[:10]:
            await opened.enter_async_context(await Peer.open(stack.ws, phone, header=True))
        over = await opened.enter_async_context(await Peer.open(stack.ws))
        assert (await over.expect(frames.Reconnect)).after_ms > 0
        assert await over.closed() == 1013
    await nobody_is_connected(stack)
    async with await Peer.open(stack.ws, phones[10]) as peer:
        await peer.round_trip()
