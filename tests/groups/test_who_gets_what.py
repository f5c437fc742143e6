"""Exactly the members whose interval holds the seq, over sockets on two gateways, with twins whose protection is off (C4, R16,
R17): races of membership and sends, backlogs over the worker, and what somebody who has left can still learn."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.rig import Rig
from tests.gateway.peer import Peer, events_of
from tests.gateway.phone import Phone, link, rest, saved, sign_up
from tests.gateway.test_amendments import edit
from tests.groups.test_sockets import Room, change, got, make, owed, refused, room
from tests.support.patience import until
from tests.support.stack import System
from whatsapp.wire import frames

pytestmark = pytest.mark.needs_system

DRAIN_EVENTS = 20


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with System(
        fanout=True, env={"WHATSAPP_TEST_BUILD": "1"}, limits={"drain_events": DRAIN_EVENTS}
    ) as system:
        yield Rig(system)


async def talk(peer: Peer, group: str, count: int = 1) -> int:
    """``queued`` is a ✓ too; the last seq."""
    seq = 0
    for number in range(count):
        answer = await peer.attempt(group, str(number))
        assert isinstance(answer, frames.StatusUpdate), answer
        seq = answer.seq or 0
    return seq


# -- intervals and lists ---------------------------------------------------------------------------------------------------------


async def gone_and_back(rig: Rig, here: Room) -> None:
    """The lane stands still while Cat, who is connected, goes and comes back; then one pass has all of it."""
    await here.has(here.cats, [1, 2])
    rig.system.kill("fanout-1", signal.SIGSTOP)
    try:
        with rig.off("sweep"):  # it would make her gateway read her page meanwhile
            await talk(here.anns, here.group)  # 3
            await here.remove(here.cat)  # 4
            await talk(here.bobs, here.group, 3)  # 5, 6, 7
            await here.add(here.cat)  # 8
            assert await talk(here.anns, here.group) == 9
            rig.system.kill("fanout-1", signal.SIGCONT)
            await until(lambda: 9 in got(here.cats, here.group), "the lane goes on", 30)
    finally:
        rig.system.kill("fanout-1", signal.SIGCONT)


async def test_c4_nothing_of_the_gap_in_one_pass(rig: Rig) -> None:
    async with room(rig.system) as here:
        await gone_and_back(rig, here)
        assert got(here.cats, here.group) == [1, 2, 3, 4, 8, 9] == await here.owed(here.cat)


async def test_c4_twin_members_now_get_the_gap(rig: Rig) -> None:
    async with room(rig.system) as here:
        with rig.off("intervals"):
            await gone_and_back(rig, here)
            assert {5, 6, 7} <= set(got(here.cats, here.group))


async def removed_live(rig: Rig, here: Room) -> None:
    """The worker has read the members when Cat is removed, at 6; Ann writes on."""
    await talk(here.anns, here.group, 3)
    await here.has(here.cats, range(1, 6))
    await here.remove(here.cat)
    assert await talk(here.anns, here.group) == 7
    await here.has(here.bobs, range(1, 8))
    await here.cats.round_trip()


async def test_c4_nothing_behind_the_removal(rig: Rig) -> None:
    async with room(rig.system) as here:
        await removed_live(rig, here)
        assert got(here.cats, here.group) == [1, 2, 3, 4, 5, 6] == await here.owed(here.cat)


@pytest.mark.parametrize("protection", ["left", "list_head"])
async def test_c4_twin_who_was_removed_hears_on(rig: Rig, protection: str) -> None:
    """Without a look at where an interval ends, or by a list that is older than the event."""
    async with room(rig.system) as here:
        with rig.off(protection):
            await removed_live(rig, here)
            await until(lambda: 7 in got(here.cats, here.group), "she gets what she is not owed")


@pytest.mark.parametrize("worker", [True, False], ids=["drained", "paged"])
async def test_c4_a_long_backlog_over_several_intervals(rig: Rig, worker: bool) -> None:
    """Offline she is removed, added, removed: written by the worker into a stream, or read by the gateway alone."""
    async with room(rig.system) as here:
        await here.has(here.cats, [1, 2])
        await here.cats.ack(here.group, 2)
        await saved(rig.system, here.cat, here.group, 2)
        await here.cats.close()
        await talk(here.anns, here.group, 30)  # 3 … 32
        await here.remove(here.cat)  # 33
        await talk(here.bobs, here.group, 10)  # 34 … 43
        await here.add(here.cat)  # 44
        await talk(here.anns, here.group, 30)  # 45 … 74
        await here.remove(here.cat)  # 75
        assert await talk(here.bobs, here.group, 5) == 80
        wanted = [*range(3, 34), *range(44, 76)]
        assert await here.owed(here.cat) == [1, 2, *wanted]
        before = await drained(rig)
        if not worker:
            rig.system.kill("worker-1", signal.SIGSTOP)
        try:
            async with await Peer.open(here.urls[-1], here.cat, sync=False) as again:
                batches = await again.sync(limit=10)
                assert [event.seq for event in events_of(batches)] == wanted
                assert {(batch.head, batch.through <= 75) for batch in batches} == {(75, True)}
        finally:
            rig.system.kill("worker-1", signal.SIGCONT)
        assert (await drained(rig) > before) is worker


async def drained(rig: Rig) -> float:
    """What the worker's streams served, on all gateways."""
    total = 0.0
    for gateway in rig.system.gateways.values():
        text = (await rest(gateway["http"], "GET", "/metrics")).text
        total += sum(
            float(line.split()[-1])
            for line in text.splitlines()
            if line.startswith('whatsapp_drains_total{kind="part"')
        )
    return total


# -- who left --------------------------------------------------------------------------------------------------------------------


async def test_who_left_learns_nothing_of_what_goes_on(rig: Rig) -> None:
    """Not by a backlog, not by REST, not by probing where the server draws its lines."""
    async with room(rig.system) as here:
        await here.has(here.cats, [1, 2])
        await talk(here.cats, here.group)  # 3
        await here.remove(here.cat)  # 4
        await here.has(here.cats, [1, 2, 3, 4])
        await here.cats.ack(here.group, 4)
        await saved(rig.system, here.cat, here.group, 4)
        await talk(here.anns, here.group, 6)  # 5 … 10
        await here.has(here.bobs, range(1, 11))
        await here.bobs.ack(here.group, 10)
        await here.bobs.read(here.group, 10)
        await saved(rig.system, here.bob, here.group, 10)

        (listed,) = (await here.cat.rest("GET", "/conversations")).json()["items"]
        assert (listed["head"], listed["lastEvent"]["seq"], listed["memberCount"]) == (4, 4, None)
        path = f"/conversations/{here.group}/events"
        for query in ("", "?after=3", "?after=4", "?after=9", "?before=100"):
            body = (await here.cat.rest("GET", path + query)).json()
            assert (body["head"], body["through"]) == (4, 4), query
            assert all(item["seq"] <= 4 for item in body["items"])

        for url in here.urls:
            async with await Peer.open(url, here.cat, sync=False) as probe:
                batches = await probe.sync({here.group: 0})
                assert [event.seq for event in events_of(batches)] == [1, 2, 3, 4]
                assert {(batch.through, batch.head) for batch in batches} == {(4, 4)}
                # Receipts of others would say how far they are.
                assert all(u.up_to is None or u.up_to <= 4 for u in probe.waiting(frames.StatusUpdate))
                for above in (5, 10, 11, 1_000):
                    again = await probe.sync({here.group: above})
                    assert (await probe.error("reset")).details == {"conversationId": here.group}
                    assert (again[-1].through, again[-1].head) == (4, 4)
                    await probe.ack(here.group, above)
                    answer = await probe.ask(frames.StatusUpdate(here.group, "read", up_to=above))
                    assert (answer.code, answer.message) == (
                        "bad_request",
                        "read is above what this device acknowledged",
                    )
                await probe.read(here.group, 4)
                await probe.round_trip()
                assert not probe.waiting(frames.Error)
        async with rig.system.stored() as log:
            assert max(await log.acked(here.cat.device)) == 4


async def test_an_edit_behind_the_removal_is_not_shown(rig: Rig) -> None:
    """Offline she is removed; then a message that she is owed is edited. Its new text is not hers, its old one is gone."""
    async with room(rig.system) as here:
        await here.has(here.cats, [1, 2])
        await here.cats.close()
        texts = [here.anns.message(here.group, text) for text in ("kept", "before", "corrected before")]
        for message in texts:
            await here.anns.ask(message)  # 3, 4, 5
        first = await here.anns.ask(edit(here.group, texts[2].message_id, "corrected"))
        assert first.seq == 6
        await here.remove(here.cat)  # 7
        assert (await here.anns.ask(edit(here.group, texts[1].message_id, "said without her"))).seq == 8
        wanted = [(3, b"kept", False), (4, None, True), (5, b"corrected", False)]
        async with await Peer.open(here.urls[-1], here.cat, sync=False) as again:
            found = events_of(await again.sync({here.group: 2}))
            assert [
                (f.seq, f.encrypted_content, f.deleted) for f in found if isinstance(f, frames.Message)
            ] == wanted
            assert found[-1].seq == 7
        for query in ("after=2", "before=100"):
            answer = await here.cat.rest("GET", f"/conversations/{here.group}/events?{query}")
            assert "c2FpZCB3aXRob3V0IGhlcg" not in answer.text, "base64 of it"
            assert [
                item.get("edited", False) for item in answer.json()["items"] if item["seq"] in (4, 5)
            ] == [False, True]
        (body,) = [
            item
            for item in (await here.bob.rest("GET", f"/conversations/{here.group}/events")).json()["items"]
            if item["seq"] == 4
        ]
        assert body["encryptedContent"].startswith("c2FpZCB3aXRob3V0IGhlcg"), "a member has it"


async def test_receipts_of_who_left_count_for_what_was_owed(rig: Rig) -> None:
    """Cat reads after she was removed what she was sent before; Ann is told, and Cat's other device is."""
    async with room(rig.system) as here:
        laptop = await link(here.cat)
        async with await Peer.open(here.urls[0], laptop) as second:
            message = here.anns.message(here.group, "before")
            assert (await here.anns.ask(message)).seq == 3
            await here.has(here.cats, [1, 2, 3])
            await here.remove(here.cat)  # 4
            later = here.anns.message(here.group, "afterwards")
            assert (await here.anns.ask(later)).seq == 5
            await here.has(here.cats, [1, 2, 3, 4])
            await here.cats.ack(here.group, 4)
            await here.cats.read(here.group, 4)
            await here.anns.expect(frames.StatusUpdate, status="read", user_id=here.cat.user, up_to=4)
            await second.expect(frames.StatusUpdate, status="read", user_id=here.cat.user, up_to=4)
            path = f"/conversations/{here.group}/messages/"

            async def status() -> bool:
                items = (await here.ann.rest("GET", f"{path}{message.message_id}/receipts")).json()["items"]
                return {item["userId"]: item["status"] for item in items}[here.cat.user] == "read"

            await until(status, "it is written")
            items = (await here.ann.rest("GET", f"{path}{later.message_id}/receipts")).json()["items"]
            assert [item["userId"] for item in items] == [here.bob.user], "Cat is not owed it"
            # She hears of nobody else any more, once the lists are as old as they may be.
            answer = await here.cat.rest("GET", f"{path}{later.message_id}/receipts")
            assert answer.status_code == 404


# -- at once ---------------------------------------------------------------------------------------------------------------------


async def test_leaving_while_sending(rig: Rig) -> None:
    """Cat writes with two devices on two gateways while she leaves. What was stored everybody has; she is owed up to her leaving;
    soon neither gateway takes more."""
    async with room(rig.system) as here:
        laptop = await link(here.cat)
        async with await Peer.open(here.urls[0], laptop) as second:
            answers: list[Any] = []

            async def writes(peer: Peer) -> None:
                while not isinstance(answer := await peer.attempt(here.group), frames.Error):
                    answers.append(answer)
                assert answer.code == "not_member"

            writing = [asyncio.create_task(writes(peer)) for peer in (here.cats, second)]
            await until(lambda: len(answers) > 20, "she writes")
            await change(here.cat, "DELETE", here.member(here.cat))
            await asyncio.wait_for(asyncio.gather(*writing), 30)
            wanted = await here.owed(here.cat)
            head = await here.head()
            assert wanted == list(range(1, len(wanted) + 1))
            assert len({answer.seq for answer in answers}) == len(answers) == head - 3, (
                "all but the three events"
            )
            for peer in (here.anns, here.bobs):
                await until(lambda p=peer: len(got(p, here.group)) >= head, "all is here")
                assert got(peer, here.group) == list(range(1, head + 1))
            for peer in (here.cats, second):
                await peer.round_trip()
                others = {f.seq for f in peer.log if isinstance(f, frames.Message | frames.Event)}
                assert max(others) <= wanted[-1], "nothing behind her leaving, her other device's neither"


async def test_two_admins_who_remove_each_other(rig: Rig) -> None:
    """Over two gateways at once: one of them wins, and each gets what that says."""
    bases = [gateway["http"] for gateway in rig.system.gateways.values()]
    async with room(rig.system) as here:
        for _ in range(3):
            for phone in (here.bob, here.cat):
                await here.add(phone)
                await change(here.ann, "PATCH", here.member(phone), {"role": "admin"})
            answers = await asyncio.gather(
                here.bob.rest("DELETE", here.member(here.cat), base=bases[0]),
                here.cat.rest("DELETE", here.member(here.bob), base=bases[1]),
                talk(here.anns, here.group, 5),
            )
            assert sorted(answer.status_code for answer in answers[:2]) == [204, 404]
        head = await here.head()
        for peer, phone in ((here.anns, here.ann), (here.bobs, here.bob), (here.cats, here.cat)):
            wanted = await here.owed(phone)
            await until(
                lambda p=peer, n=len(wanted): len(got(p, here.group)) >= n, "all that is owed is here"
            )
            await peer.round_trip()
            assert sorted(got(peer, here.group)) == wanted
        assert len(await here.owed(here.ann)) == head
        # The removal itself is owed to who was removed: being owed the head says nothing.
        gone = here.cat if answers[0].status_code == 204 else here.bob
        assert head in await here.owed(here.bob if gone is here.cat else here.cat)
        await refused(here.cats if gone is here.cat else here.bobs, here.group, "not_member")


async def test_many_come_and_go_while_all_write(rig: Rig) -> None:
    """Random changes over both gateways, members who write while they are in, somebody who is offline: what each got, live or
    later, is what each is owed, in order, once."""
    chance = random.Random(6)
    phones: list[Phone] = list(await asyncio.gather(*[sign_up(rig.system) for _ in range(6)]))
    ann, *others = phones
    urls = [gateway["ws"] for gateway in rig.system.gateways.values()]
    bases = [gateway["http"] for gateway in rig.system.gateways.values()]
    peers = [await Peer.open(urls[number % 2], phone) for number, phone in enumerate(phones)]
    group = await make(ann, *others)
    away, offline = peers.pop(), phones[-1]
    await until(lambda: got(away, group) == [1, 2], "it has begun")
    await away.ack(group, 2)
    await saved(rig.system, offline, group, 2)
    await away.close()
    ended = asyncio.Event()

    async def writes(peer: Peer) -> None:
        while not ended.is_set():
            answer = await peer.attempt(group, "x")
            assert isinstance(answer, frames.StatusUpdate) or answer.code == "not_member", answer
            await asyncio.sleep(0.01 if isinstance(answer, frames.StatusUpdate) else 0.1)

    writing = [asyncio.create_task(writes(peer)) for peer in peers]
    try:
        for _ in range(40):
            phone = chance.choice(others)
            path = f"/groups/{group}/members/{phone.user}"
            answer = await ann.rest(chance.choice(["PUT", "DELETE"]), path, {}, base=chance.choice(bases))
            assert answer.status_code in (200, 204), answer.text
    finally:
        ended.set()
        await asyncio.gather(*writing)
    last = await talk(peers[0], group)
    peers.append(await Peer.open(urls[0], offline))
    for phone, peer in zip(phones, peers, strict=True):
        wanted = await owed(phone, group)
        if phone is offline:
            wanted = [seq for seq in wanted if seq > 2]
        own = {f.seq for f in peer.log if isinstance(f, frames.StatusUpdate) and f.message_id}
        # What somebody wrote in the five seconds after a removal is stored, and not owed to its writer.
        foreign = [seq for seq in wanted if seq not in own]
        await until(
            lambda p=peer, f=foreign: len(received(p)) >= len(f), f"{len(foreign)} events, up to {last}", 30
        )
        await peer.round_trip()
        assert received(peer) == foreign
        await peer.close()


def received(peer: Peer) -> list[int]:
    """Seqs of what came from others, in the order of arrival."""
    found = [item for f in peer.log for item in (events_of([f]) if isinstance(f, frames.SyncBatch) else [f])]
    return [
        item.seq
        for item in found
        if isinstance(item, frames.Event)
        or (isinstance(item, frames.Message) and item.sender_device_id != (peer.phone and peer.phone.device))
    ]
