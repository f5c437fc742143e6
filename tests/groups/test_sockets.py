"""Who gets what, over real sockets on two gateways with the lanes' worker: exactly the members whose interval holds the seq."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.gateway.peer import Peer, events_of
from tests.gateway.phone import Phone, Runs, saved, sign_up
from tests.support.patience import until
from whatsapp.wire import frames


async def make(creator: Phone, *members: Phone, **fields: Any) -> str:
    body = {"name": "Sailing", "members": [member.user for member in members], **fields}
    answer = await creator.rest("POST", "/groups", body)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["groupId"])


async def change(phone: Phone, method: str, path: str, body: Any = None) -> None:
    answer = await phone.rest(method, path, body)
    assert answer.status_code in (200, 204), answer.text


async def owed(phone: Phone, group: str) -> list[int]:
    """The seqs that this user is owed, by the store."""
    path = f"/conversations/{group}/events?limit=100"
    seqs: list[int] = []
    after = 0
    while True:
        answer = await phone.rest("GET", f"{path}&after={after}")
        if answer.status_code == 404:
            return []
        body = answer.json()
        seqs += [item["seq"] for item in body["items"]]
        if "next" not in body:
            return seqs
        after = int(body["next"])


class Room:
    """Ann, Bob and Cat; Ann's and Cat's sockets are on different gateways."""

    def __init__(self, system: Runs, phones: list[Phone], peers: list[Peer]) -> None:
        self.system = system
        self.ann, self.bob, self.cat = phones
        self.anns, self.bobs, self.cats = peers
        self.group = ""

    @property
    def urls(self) -> list[str]:
        return [gateway["ws"] for gateway in self.system.gateways.values()]

    def member(self, phone: Phone) -> str:
        return f"/groups/{self.group}/members/{phone.user}"

    async def add(self, phone: Phone) -> None:
        await change(self.ann, "PUT", self.member(phone), {})

    async def remove(self, phone: Phone) -> None:
        await change(self.ann, "DELETE", self.member(phone))

    async def head(self) -> int:
        items = (await self.ann.rest("GET", "/conversations")).json()["items"]
        return int(next(item["head"] for item in items if item["groupId"] == self.group))

    async def owed(self, phone: Phone) -> list[int]:
        return await owed(phone, self.group)

    async def has(self, peer: Peer, wanted: Iterable[int]) -> None:
        """These seqs are what this socket got, by whatever way, in this order, once each."""
        wanted = list(wanted)
        await until(lambda: len(got(peer, self.group)) >= len(wanted), f"{len(wanted)} events")
        assert got(peer, self.group) == wanted


def got(peer: Peer, group: str) -> list[int]:
    """Seqs of a conversation as they came, live and in batches; one's own messages by their ✓."""
    seqs = []
    for frame in peer.log:
        inside = events_of([frame]) if isinstance(frame, frames.SyncBatch) else [frame]
        for item in inside:
            if (
                isinstance(item, frames.Message | frames.Event)
                or (isinstance(item, frames.StatusUpdate) and item.seq is not None)
            ) and item.conversation_id == group:
                seqs.append(item.seq)
    return seqs


@asynccontextmanager
async def room(system: Runs, *, cat: bool = True, **fields: Any) -> AsyncIterator[Room]:
    phones = list(await asyncio.gather(*[sign_up(system) for _ in range(3)]))
    urls = [gateway["ws"] for gateway in system.gateways.values()]
    peers = [
        await Peer.open(url, phone) for url, phone in zip([urls[0], urls[0], urls[-1]], phones, strict=True)
    ]
    here = Room(system, phones, peers)
    try:
        here.group = await make(phones[0], *phones[1 : 3 if cat else 2], **fields)
        yield here
    finally:
        for peer in peers:
            await peer.close()


async def talk(peer: Peer, group: str, count: int) -> None:
    for number in range(count):
        await peer.say(group, str(number))


async def test_everybody_is_told_live_and_in_order(stack: Runs) -> None:
    async with room(stack) as here:
        for peer in (here.anns, here.bobs, here.cats):
            first = await peer.expect(frames.Event)
            second = await peer.expect(frames.Event)
            assert (first.seq, first.kind, first.actor_id) == (1, "member_added", here.ann.user)
            assert set(first.data["userIds"]) == {here.ann.user, here.bob.user, here.cat.user}
            assert (second.seq, second.kind, second.data["name"]) == (2, "info", "Sailing")
        await talk(here.anns, here.group, 3)
        await here.has(here.cats, range(1, 6))
        await change(here.bob, "PATCH", f"/groups/{here.group}", {"name": "Rowing"})
        event = await here.cats.expect(frames.Event, kind="info")
        assert (event.seq, event.actor_id, event.data) == (6, here.bob.user, {"name": "Rowing"})
        await change(here.ann, "PATCH", here.member(here.bob), {"role": "admin"})
        event = await here.cats.expect(frames.Event, kind="role")
        assert (event.user_id, event.data) == (here.bob.user, {"role": "admin"})


async def test_added_while_others_send(stack: Runs) -> None:
    async with room(stack, cat=False) as here:
        sending = [asyncio.create_task(talk(peer, here.group, 60)) for peer in (here.anns, here.bobs)]
        await until(lambda: len(got(here.bobs, here.group)) > 20, "the talk goes on")
        await here.add(here.cat)
        await asyncio.gather(*sending)
        owed = await here.owed(here.cat)
        head = await here.head()
        assert owed == list(range(owed[0], head + 1))
        assert 20 < owed[0] < head, "she came in the middle"
        await here.has(here.cats, owed)
        first = here.cats.waiting(frames.Event, frames.Message)[0]
        assert (first.kind, first.user_id) == ("member_added", here.cat.user)
        await until(lambda: sorted(got(here.bobs, here.group)) == list(range(1, head + 1)), "Bob has all")


async def test_removed_while_others_send(stack: Runs) -> None:
    async with room(stack) as here:
        sending = [asyncio.create_task(talk(peer, here.group, 60)) for peer in (here.anns, here.bobs)]
        await until(lambda: len(got(here.cats, here.group)) > 20, "the talk goes on")
        await here.remove(here.cat)
        await asyncio.gather(*sending)
        owed = await here.owed(here.cat)
        head = await here.head()
        assert owed == list(range(1, len(owed) + 1))
        assert 20 < len(owed) < head
        await until(lambda: sorted(got(here.bobs, here.group)) == list(range(1, head + 1)), "Bob has all")
        # The other gateway has had what comes after, and gave her none of it.
        await here.cats.round_trip()
        await here.has(here.cats, owed)
        assert here.cats.waiting(frames.Event)[-1].kind == "member_removed"


async def test_removed_while_offline(stack: Runs) -> None:
    async with room(stack) as here:
        await here.has(here.cats, [1, 2])
        await here.cats.ack(here.group, 2)
        await here.cats.close()
        await talk(here.anns, here.group, 2)  # 3, 4
        await here.remove(here.cat)  # 5
        await talk(here.anns, here.group, 2)
        for url in here.urls:
            async with await Peer.open(url, here.cat, sync=False) as again:
                batches = await again.sync({here.group: 2})
                assert [event.seq for event in events_of(batches)] == [3, 4, 5]
                assert (batches[-1].head, batches[-1].through) == (5, 5), "nothing of what came after"
        await saved(stack, here.cat, here.group, 5)
        async with await Peer.open(here.urls[-1], here.cat) as again:
            await talk(here.anns, here.group, 1)
            await here.has(here.bobs, range(1, 9))
            await again.round_trip()
            assert got(again, here.group) == []


@pytest.mark.parametrize("online", [True, False])
async def test_who_comes_back_gets_nothing_of_the_gap(stack: Runs, online: bool) -> None:
    async with room(stack) as here:
        await here.has(here.cats, [1, 2])
        await here.cats.ack(here.group, 2)
        await saved(stack, here.cat, here.group, 2)
        if not online:
            await here.cats.close()
        await talk(here.anns, here.group, 1)  # 3
        await here.remove(here.cat)  # 4
        await talk(here.anns, here.group, 3)  # 5, 6, 7
        await here.add(here.cat)  # 8
        await talk(here.bobs, here.group, 1)  # 9
        wanted = [3, 4, 8, 9]
        assert await here.owed(here.cat) == [1, 2, *wanted]
        if online:
            await here.has(here.cats, [1, 2, *wanted])
        else:
            async with await Peer.open(here.urls[0], here.cat) as again:
                await here.has(again, wanted)


async def refused(peer: Peer, group: str, code: str) -> None:
    """Until a send is refused with this code: within 5 s, whichever gateway it goes to."""

    async def attempt() -> bool:
        answer = await peer.attempt(group)
        assert isinstance(answer, frames.StatusUpdate) or answer.code == code, answer
        return isinstance(answer, frames.Error)

    await until(attempt, f"the send is refused: {code}", 50)


async def test_who_left_cannot_send_on_any_gateway(stack: Runs) -> None:
    async with room(stack) as here:
        for peer in (here.bobs, here.cats):  # both gateways have the list of members
            await peer.say(here.group)
        await change(here.bob, "DELETE", here.member(here.bob))
        await here.remove(here.cat)
        await asyncio.gather(
            refused(here.bobs, here.group, "not_member"), refused(here.cats, here.group, "not_member")
        )
        head = await here.head()
        for peer in (here.bobs, here.cats):
            assert (await peer.attempt(here.group)).code == "not_member"
        assert await here.head() == head
        async with await Peer.open(here.urls[-1], await sign_up(stack)) as eve:
            assert (await eve.attempt(here.group)).code == "not_found"


async def test_in_announcement_mode_admins_send(stack: Runs) -> None:
    async with room(stack, settings={"whoSends": "admins"}) as here:
        for peer in (here.bobs, here.cats):
            answer = await peer.attempt(here.group)
            assert (answer.code, answer.retryable) == ("forbidden", False)
        await here.anns.say(here.group)
        await here.has(here.cats, [1, 2, 3])
        await change(here.ann, "PATCH", here.member(here.cat), {"role": "admin"})

        async def sends() -> bool:
            return isinstance(await here.cats.attempt(here.group), frames.StatusUpdate)

        await until(sends, "an admin of now may send", 50)
        assert (await here.bobs.attempt(here.group)).code == "forbidden"


async def test_a_group_that_ends_says_so_and_is_over(stack: Runs) -> None:
    async with room(stack) as here:
        await here.has(here.cats, [1, 2])
        await change(here.ann, "DELETE", f"/groups/{here.group}")
        for peer in (here.anns, here.bobs, here.cats):
            await here.has(peer, [1, 2, 3])
            assert peer.waiting(frames.Event)[-1].data == {"dissolved": True}
        await refused(here.cats, here.group, "not_member")
