"""What devices are told about keys, over real sockets: at once, and behind ``ready`` when they were away."""

from __future__ import annotations

from typing import Any

from tests.gateway.peer import Peer
from tests.gateway.phone import Phone, couple, link
from tests.support.signal_keys import IdentityPair, keys
from whatsapp.infra.limits import LIMITS
from whatsapp.wire import frames


async def put(phone: Phone, body: dict[str, Any]) -> None:
    answer = await phone.rest("POST", "/keys", body)
    assert answer.status_code == 204, answer.text


def changes(peer: Peer, user: str) -> list[Any]:
    told = [frame.data for frame in peer.log if isinstance(frame, frames.Notice)]
    return [data for data in told if data.get("userId") == user and "at" in data]


async def test_few_keys_are_told_to_their_device_at_once_and_again_at_connect(stack: Any, codec: str) -> None:
    ann, bob, _ = await couple(stack)
    laptop = await link(bob)
    pair = IdentityPair()
    await put(bob, keys(pair, classic=LIMITS.prekeys_low))
    one, two = (gateway["ws"] for gateway in stack.gateways.values())
    async with await Peer.open(one, bob, codec) as phone, await Peer.open(two, laptop, codec) as other:
        answer = await ann.rest("GET", f"/keys/{bob.user}")
        assert "preKey" in answer.json()["devices"][0]
        got = await phone.expect(frames.Notice, kind="prekeys_low")
        assert got.data == {"preKeys": LIMITS.prekeys_low - 1, "pqPreKeys": 0}
        await other.round_trip()
        assert not [frame for frame in other.log if isinstance(frame, frames.Notice)]
    async with await Peer.open(two, bob, codec) as phone:
        again = await phone.expect(frames.Notice, kind="prekeys_low")
        assert again.data == got.data


async def test_who_was_away_learns_of_another_identity_at_connect_and_who_is_there_at_once(
    stack: Any,
) -> None:
    ann, bob, _ = await couple(stack)
    laptop = await link(ann)
    await put(bob, keys(IdentityPair()))
    one, two = (gateway["ws"] for gateway in stack.gateways.values())
    async with await Peer.open(two, ann, "json") as phone:
        await put(bob, keys(IdentityPair()))
        live = await phone.expect(frames.Notice, kind="identity_changed")
        assert live.data["userId"] == bob.user
    for url in (one, two):  # told again until a socket has lived on behind it
        async with await Peer.open(url, laptop, "protobuf") as away:
            got = await away.expect(frames.Notice, kind="identity_changed")
            assert got.data == live.data
            assert len(changes(away, bob.user)) == 1
