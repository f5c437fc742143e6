"""From the upgrade to ``ready``: codecs and versions, authentication, what is sent before and what is not."""

from __future__ import annotations

import time

import pytest

from tests.gateway.peer import Peer, texts
from tests.gateway.phone import Phone, Runs, couple, new_id, sign_up
from tests.gateway.raw import BINARY, TEXT, RawSocket, frame
from tests.gateway.tokens import token
from whatsapp.wire import frames
from whatsapp.wire.codec import CODECS

HEADER = "X-WhatsApp-Protocol-Version"


@pytest.fixture
async def phone(stack: Runs) -> Phone:
    return await sign_up(stack)


@pytest.mark.parametrize("header", [False, True], ids=["by frame", "by header"])
async def test_ready_after_auth(stack: Runs, phone: Phone, codec: str, header: bool) -> None:
    before = time.time_ns() // 1_000_000
    async with await Peer.open(stack.ws, phone, codec, header=header, sync=False) as peer:
        ready = peer.ready
        assert ready is not None
        assert (ready.user_id, ready.device_id) == (phone.user, phone.device)
        assert ready.protocol == "3.2"
        assert before <= ready.server_time <= time.time_ns() // 1_000_000
        assert ready.epoch
        assert ready.pending == 0
        assert ready.ping_ms == 30_000
        assert (ready.limits.frame, ready.limits.content) == (131_072, 65_536)
        assert ready.limits.per_minute > 0


async def test_ready_carries_the_ref_of_auth(stack: Runs, phone: Phone, codec: str) -> None:
    async with await Peer.open(stack.ws, phone, codec, auth=False) as peer:
        answer = await peer.ask(frames.Auth(phone.token))
        assert isinstance(answer, frames.Ready)


async def test_pending_counts_conversations_with_something_new(stack: Runs, codec: str) -> None:
    ann, bob, conversation = await couple(stack)
    carl = await sign_up(stack)
    other = await carl.direct(bob)
    async with await Peer.open(stack.ws, bob, codec):
        pass  # from here on his marks are kept
    async with await Peer.open(stack.ws, ann, codec) as a, await Peer.open(stack.ws, carl, codec) as c:
        await a.say(conversation)
        await a.say(conversation)
        await c.say(other)
        async with await Peer.open(stack.ws, bob, codec) as b:
            assert b.ready is not None
            assert b.ready.pending == 2


BAD_TOKENS = {
    "no token": lambda phone: "nonsense",
    "empty": lambda phone: "",
    "expired": lambda phone: token(phone, lives_ms=-1),
    "another secret": lambda phone: token(phone, secret="x" * 48),
    "no device in it": lambda phone: token(phone, dev=None),
    "huge times": lambda phone: token(phone, exp=1e308),
    "the refresh token": lambda phone: phone.refresh_token,
}


@pytest.mark.parametrize("kind", BAD_TOKENS)
async def test_a_bad_token_in_auth_is_4401(stack: Runs, phone: Phone, codec: str, kind: str) -> None:
    async with await Peer.open(stack.ws, codec=codec) as peer:
        await peer.send(frames.Auth(BAD_TOKENS[kind](phone), ref="mine"))
        error = await peer.error("unauthenticated")
        assert error.ref == "mine"
        assert not error.retryable
        assert await peer.closed() == 4401
        assert not peer.waiting(frames.Ready)


@pytest.mark.parametrize("kind", [kind for kind in BAD_TOKENS if kind != "empty"])
async def test_a_bad_token_in_the_header_is_4401(stack: Runs, phone: Phone, kind: str) -> None:
    """The upgrade is accepted first, so that a browser sees the code."""
    async with await Peer.open(
        stack.ws, headers={"Authorization": f"Bearer {BAD_TOKENS[kind](phone)}"}
    ) as peer:
        await peer.error("unauthenticated")
        assert await peer.closed() == 4401


async def test_a_device_that_does_not_exist_is_4410(stack: Runs, phone: Phone) -> None:
    async with await Peer.open(stack.ws, auth=False) as peer:
        await peer.send(frames.Auth(token(phone, dev=new_id())))
        await peer.error("unauthenticated")
        assert await peer.closed() == 4410


async def test_a_device_of_somebody_else_is_not_served(stack: Runs, phone: Phone) -> None:
    other = await sign_up(stack)
    async with await Peer.open(stack.ws, auth=False) as peer:
        await peer.send(frames.Auth(token(phone, dev=other.device)))
        await peer.error("unauthenticated")
        assert await peer.closed() == 4410


async def test_a_live_socket_outlives_its_token(stack: Runs, codec: str) -> None:
    ann, _bob, conversation = await couple(stack)
    ann.token = token(ann, lives_ms=700)
    ends = time.monotonic() + 0.8
    async with await Peer.open(stack.ws, ann, codec) as peer:
        seq = 0
        while time.monotonic() < ends:
            seq = (await peer.say(conversation)).seq or 0
        assert (await peer.say(conversation)).seq == seq + 1
        async with await Peer.open(stack.ws, auth=False) as late:
            await late.send(frames.Auth(ann.token))
            assert await late.closed() == 4401


async def test_auth_twice_is_a_bad_request_and_the_socket_lives(
    stack: Runs, phone: Phone, codec: str
) -> None:
    async with await Peer.open(stack.ws, phone, codec) as peer:
        answer = await peer.ask(frames.Auth(phone.token))
        assert isinstance(answer, frames.Error)
        assert answer.code == "bad_request"
        await peer.round_trip()


async def test_frames_before_auth_are_refused(stack: Runs, phone: Phone, codec: str) -> None:
    ann, _bob, conversation = await couple(stack)
    async with await Peer.open(stack.ws, ann, codec, auth=False) as peer:
        answer = await peer.attempt(conversation)
        assert answer.code == "unauthenticated"
        answer = await peer.ask(frames.Sync())
        assert answer.code == "unauthenticated"
        await peer.send(frames.Auth(ann.token))
        await peer.expect(frames.Ready)
        assert (await peer.say(conversation)).seq == 1  # the refused one was not stored


async def test_frames_behind_auth_wait_for_ready(stack: Runs, codec: str) -> None:
    ann, _bob, conversation = await couple(stack)
    async with await Peer.open(stack.ws, ann, codec, auth=False) as peer:
        await peer.send(frames.Auth(ann.token))
        for number in range(1, 6):
            await peer.send(peer.message(conversation, str(number), seq_num=number, ref=str(number)))
        await peer.send(frames.Sync())
        await peer.expect(frames.SyncComplete)
        assert isinstance(peer.log[0], frames.Ready)
        sent = [f for f in peer.log if isinstance(f, frames.StatusUpdate) and f.status == "sent"]
        while len(sent) < 5:
            sent.append(await peer.expect(frames.StatusUpdate, status="sent"))
            sent = [f for f in peer.log if isinstance(f, frames.StatusUpdate) and f.status == "sent"]
        assert [(f.ref, f.seq) for f in sent] == [(str(n), n) for n in range(1, 6)]


async def test_more_early_frames_than_kept_are_told_to_wait(stack: Runs, codec: str) -> None:
    """C7: what waits for ``ready`` is bounded, and none of it is dropped in silence."""
    ann, _bob, conversation = await couple(stack)
    raw = await RawSocket.open(stack.ws, codec)
    async with raw:
        wire = CODECS[codec]
        kind = TEXT if wire.text else BINARY
        data = frame(kind, wire.encode(frames.Auth(ann.token)))
        refs = [f"r{number}" for number in range(70)]
        for ref in refs:
            send = frames.SendMessage(
                message_id=new_id(),
                conversation_id=conversation,
                encrypted_content=b"x",
                timestamp=1,
                ref=ref,
            )
            data += frame(kind, wire.encode(send))
        raw.write(data)  # one segment: nothing can be answered in between
        answered: dict[str, str] = {}
        while len(answered) < 70:
            got = await raw.receive()
            assert got is not None
            answer = wire.decode_server(got.payload)
            if answer.ref:
                answered[answer.ref] = getattr(answer, "code", None) or answer.status
        assert [answered[ref] for ref in refs[:64]] == ["sent"] * 64
        assert [answered[ref] for ref in refs[64:]] == ["rate_limited"] * 6


# -- protocols and versions ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "spoken", "version"),
    [
        (["whatsapp.v3.2.json"], "whatsapp.v3.2.json", "3.2"),
        (["whatsapp.v3.2.protobuf"], "whatsapp.v3.2.protobuf", "3.2"),
        (["whatsapp.v3.1.json"], "whatsapp.v3.1.json", "3.1"),
        (["whatsapp.v3.0.protobuf"], "whatsapp.v3.0.protobuf", "3.0"),
        (["whatsapp.v3.2.protobuf", "whatsapp.v3.2.json"], "whatsapp.v3.2.protobuf", "3.2"),
        (["whatsapp.v9.0.json", "whatsapp.v3.1.json"], "whatsapp.v3.1.json", "3.1"),
        (["whatsapp.v2.9.json", "whatsapp.v3.0.json"], "whatsapp.v3.0.json", "3.0"),
        (["mqtt", "whatsapp.v3.2.json"], "whatsapp.v3.2.json", "3.2"),
        ([], None, "3.2"),
    ],
)
async def test_subprotocol(
    stack: Runs, phone: Phone, offered: list[str], spoken: str | None, version: str
) -> None:
    name = "protobuf" if spoken is not None and spoken.endswith("protobuf") else "json"
    async with await Peer.open(stack.ws, phone, name, subprotocols=offered) as peer:
        assert peer.socket.subprotocol == spoken
        assert peer.ready is not None
        assert peer.ready.protocol == version


@pytest.mark.parametrize(
    ("asked", "echoed"), [("3.2", "3.2"), ("3.0", "3.0"), ("3.7", "3.2"), ("4.0", "3.2")]
)
async def test_the_version_header_is_echoed(stack: Runs, phone: Phone, asked: str, echoed: str) -> None:
    async with await Peer.open(stack.ws, phone, subprotocols=[], headers={HEADER: asked}) as peer:
        response = peer.socket.response
        assert response is not None
        assert response.headers[HEADER] == echoed
        assert peer.ready is not None
        assert peer.ready.protocol == echoed


@pytest.mark.parametrize(
    ("offered", "header"),
    [(["whatsapp.v2.9.json"], None), (["whatsapp.v1.0.protobuf"], None), ([], "2.9"), ([], "2")],
)
async def test_a_version_below_3_0_is_4426(stack: Runs, offered: list[str], header: str | None) -> None:
    headers = {HEADER: header} if header else {}
    async with await Peer.open(stack.ws, subprotocols=offered, headers=headers) as peer:
        assert await peer.closed() == 4426


async def test_the_old_name_sync_offline_is_sync(stack: Runs) -> None:
    ann, bob, conversation = await couple(stack)
    async with await Peer.open(stack.ws, ann) as a:
        await a.say(conversation, "while away")
        async with await Peer.open(stack.ws, bob, sync=False) as b:
            await b.raw(b'{"type":"sync_offline"}')
            batch = await b.expect(frames.SyncBatch)
            assert texts(batch.events) == ["while away"]
