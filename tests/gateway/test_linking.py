"""A device that was let in by a code: it gets the agreed history and then all that comes; nobody else notices (C4, C5)."""

from __future__ import annotations

from typing import Any

from tests.gateway.peer import Peer, Stream, events_of, texts
from tests.gateway.phone import Phone, couple, link_by_code, new_id, sign_up
from tests.observability.manage import managed
from tests.support.patience import until
from whatsapp.wire import frames


async def receipts(system: Any, conversation: str) -> Any:
    """Stored receipts of a conversation, by member."""
    async with system.stored() as log:
        return await log.receipts(conversation)


def reached(stored: Any) -> list[tuple[int, int]]:
    """How far each member received and read."""
    return [(one.delivered, one.read) for one in stored.values()]


async def age(system: Any, conversation: str, through: int, days: int) -> None:
    """Events up to ``through`` were appended so long ago."""
    async with system.stored() as log:
        await log.age(conversation, days * 86_400_000, through)


async def state(phone: Phone, conversation: str) -> tuple[int, int]:
    """Unread messages of a conversation, and the badge."""
    items = (await phone.rest("GET", "/conversations")).json()["items"]
    (item,) = [item for item in items if item["conversationId"] == conversation]
    return item["unread"], (await phone.rest("GET", "/me/badge")).json()["badge"]


async def test_c4_a_device_gets_the_agreed_days_and_then_all_that_comes(stack: Any, codec: str) -> None:
    ann, bob, conversation = await couple(stack)
    first, second = [gateway["ws"] for gateway in stack.gateways.values()]
    async with (
        await Peer.open(first, ann, codec) as a,
        await Peer.open(second, bob, codec) as b,
    ):
        for text in ("old 1", "old 2", "old 3"):
            await a.say(conversation, text)
        await b.say(conversation, "young 1")
        secret = new_id()
        await a.say(conversation, "regretted", message_id=secret)
        await a.say(conversation, "young 2")
        answer = await a.ask(
            frames.DeleteMessage(
                message_id=new_id(), conversation_id=conversation, target_id=secret, timestamp=1
            )
        )
        assert isinstance(answer, frames.StatusUpdate), answer
        await b.take(lambda frame: getattr(frame, "seq", 0) == 7)
        await b.ack(conversation, 7)
        await a.expect(frames.StatusUpdate, status="delivered", up_to=7)
        await b.read(conversation, 3)
        await a.expect(frames.StatusUpdate, status="read", up_to=3)
        await age(stack, conversation, 3, 8)

        async def written() -> bool:
            return (7, 3) in reached(await receipts(stack, conversation))

        await until(written, "the receipts are written")
        before, unread = await receipts(stack, conversation), await state(bob, conversation)
        a.inbox.clear()
        none, week = await link_by_code(bob), await link_by_code(bob, days=7, name="week")
        notice = await b.expect(frames.Notice, kind="device_linked")
        assert (notice.data["deviceId"], notice.data["linkedBy"]) == (none.device, bob.device)
        async with (
            await Peer.open(first, none, codec, sync=False) as empty,
            await Peer.open(second, week, codec, sync=False) as c,
        ):
            assert await empty.sync() == []
            got = events_of(await c.sync())
            assert [event.seq for event in got] == [4, 5, 6, 7]
            assert [getattr(e, "deleted", None) for e in got] == [False, True, False, None]
            assert texts(got[:1] + got[2:3]) == ["young 1", "young 2"]
            assert await state(bob, conversation) == unread
            await a.say(conversation, "live")
            assert texts([await c.expect(frames.Message), await empty.expect(frames.Message)]) == ["live"] * 2
            await c.ack(conversation, 8)
            await a.expect(frames.StatusUpdate, status="delivered", up_to=8)
        # What was synced moved nobody's receipts; only what came then did.
        told = [
            frame for frame in a.log if isinstance(frame, frames.StatusUpdate) and frame.user_id == bob.user
        ]
        ups = [frame.up_to for frame in told if frame.status == "delivered"]
        assert max(ups) == 8
        assert {frame.up_to for frame in told if frame.status == "read"} == {3}

        async def written_again() -> bool:
            return reached(await receipts(stack, conversation)).count((8, 3)) == 1

        await until(written_again, "the receipts are written")
        assert reached(before).count((7, 3)) == 1


async def test_c5_a_device_without_history_says_of_nothing_that_it_was_delivered(
    stack: Any, codec: str
) -> None:
    """The phone is away: what was sent before the laptop came is not delivered by the laptop's coming."""
    ann, bob, conversation = await couple(stack)
    async with await Peer.open(stack.ws, ann, codec) as a:
        for text in ("1", "2"):
            await a.say(conversation, text)
        laptop = await link_by_code(bob)
        async with await Peer.open(stack.ws, laptop, codec, sync=False) as c:
            assert await c.sync() == []
            await c.round_trip()
            await a.round_trip()
            assert bob.user not in await receipts(stack, conversation)
            assert not [f for f in a.waiting(frames.StatusUpdate) if f.status == "delivered"]
        async with await Peer.open(stack.ws, bob, codec, sync=False) as b:
            # It was away when the laptop came.
            notice = await b.expect(frames.Notice, kind="device_linked")
            assert (notice.data["deviceId"], notice.data["linkedBy"]) == (laptop.device, bob.device)
            assert texts(events_of(await b.sync())) == ["1", "2"]
            await a.expect(frames.StatusUpdate, status="delivered", up_to=2)


async def test_c4_a_device_let_in_while_messages_stream_gets_each_once(stack: Any, codec: str) -> None:
    ann, bob, conversation = await couple(stack)
    first, second = [gateway["ws"] for gateway in stack.gateways.values()]
    async with (
        await Peer.open(first, ann, codec) as a,
        await Peer.open(first, bob, codec),
        Stream(a, conversation) as stream,
    ):
        for days in (30, 0):
            laptop = await link_by_code(bob, days=days)
            async with await Peer.open(second, laptop, codec, sync=False) as c:
                got = events_of(await c.sync())
                while len(got) < 40:
                    got += await c.messages(1)
                seqs = [message.seq for message in got]
                assert seqs == list(range(seqs[0], seqs[0] + len(seqs)))
                assert (seqs[0] == 1) == (days == 30)
        await stream.end()


async def test_the_long_history_of_a_new_device_comes_in_order(stack: Any) -> None:
    """More than the gateway reads by itself: the Celery task writes it."""
    ann, bob, conversation = await couple(stack)
    count = 700
    async with await Peer.open(stack.ws, ann, "protobuf") as a:
        for start in (1, count // 2 + 1):
            for number in range(start, start + count // 2):
                await a.send(a.message(conversation, str(number)))
            for _ in range(count // 2):
                await a.expect(frames.StatusUpdate, status="sent")
    laptop = await link_by_code(bob, days=1)
    async with await Peer.open(stack.ws, laptop, "protobuf", sync=False) as c:
        assert texts(events_of(await c.sync())) == [str(number) for number in range(1, count + 1)]


async def test_a_device_that_was_let_in_ends_like_any_other(stack: Any) -> None:
    """And the user's other devices hear of it."""
    bob = await sign_up(stack)
    laptop = await link_by_code(bob)
    async with await Peer.open(stack.ws, bob) as b, await Peer.open(stack.ws, laptop) as c:
        assert (await bob.rest("DELETE", f"/devices/{laptop.device}")).status_code == 204
        assert await c.closed(3.0) == 4410
        assert not c.waiting(frames.Notice)
        notice = await b.expect(frames.Notice, kind="device_removed")
        assert notice.data.pop("at")
        assert notice.data == {"deviceId": laptop.device, "name": "laptop", "reason": "removed"}


async def test_a_device_that_comes_back_too_late_is_told_that_it_is_unlinked(stack: Any) -> None:
    """It connects while the job runs and before it was seen: its socket ends 4410, the others hear why."""
    bob = await sign_up(stack)
    laptop = await link_by_code(bob)
    # In one transaction: the gateway, which has seen the device, must not write so in between.
    job = (
        "from django.db import transaction\n"
        "from accounts.models import Device\n"
        "from accounts.tasks import unlink_idle\n"
        "with transaction.atomic():\n"
        f"    Device.objects.filter(pk='{laptop.device}').update(last_seen_at=1, idle_told_at=2)\n"
        "    assert unlink_idle() == 1\n"
    )
    async with await Peer.open(stack.ws, bob) as b, await Peer.open(stack.ws, laptop) as c:
        await managed(stack, "shell", "-c", job)
        assert await c.closed() == 4410
        notice = await b.expect(frames.Notice, kind="device_removed")
        assert notice.data.pop("at")
        assert notice.data == {"deviceId": laptop.device, "name": "laptop", "reason": "idle"}
    async with stack.stored() as log:
        found = await log.store.devices([laptop.user])
    assert laptop.device not in [row.device for row in found.get(laptop.user, ())]
