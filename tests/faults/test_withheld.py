"""Blocks, hidden read receipts and message requests while parts die: what is withheld is not revealed by any repair, and nothing
else is lost."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from tests.faults.rig import Rig, grow_up, stays
from tests.gateway.peer import Peer
from tests.gateway.phone import Phone, couple, link, saved, sign_up
from tests.gateway.test_blocks import block
from tests.support.patience import until
from whatsapp.wire import frames

pytestmark = pytest.mark.needs_system

LIMITS = {"session_check_ms": 1_000}


class Stage:
    """Ann writes at the first gateway; Bob has a phone at the second and a laptop that is offline."""

    def __init__(self, ann: Peer, bob: Peer, laptop: Phone, conversation: str) -> None:
        self.ann, self.bob, self.laptop, self.conversation = ann, bob, laptop, conversation
        assert ann.phone is not None
        assert bob.phone is not None
        self.people = (bob.phone, ann.phone)

    def contents(self, peer: Peer | None = None) -> list[bytes]:
        """What came to Bob's phone, live or in batches."""
        found = []
        for frame in (peer or self.bob).log:
            events = frame.events if isinstance(frame, frames.SyncBatch) else [frame]
            found += [e.encrypted_content or b"" for e in events if isinstance(e, frames.Message)]
        return found

    async def late(self, url: str) -> list[bytes]:
        async with await Peer.open(url, self.laptop) as laptop:
            return self.contents(laptop)


@asynccontextmanager
async def stage(rig: Rig) -> AsyncIterator[Stage]:
    ann, bob, conversation = await couple(rig.system)
    laptop = await link(bob)
    await grow_up(rig, [ann.user, bob.user])
    async with AsyncExitStack() as stack:
        stack.push_async_callback(rig.repair)
        a = await stack.enter_async_context(await Peer.open(rig.one, ann))
        b = await stack.enter_async_context(await Peer.open(rig.two, bob))
        async with await Peer.open(rig.two, laptop) as once:
            await a.say(conversation, "before")
            for peer in (b, once):
                await peer.expect(frames.Message)
                await peer.ack(conversation, 1)
            await saved(rig.system, laptop, conversation, 1)
        yield Stage(a, b, laptop, conversation)


def marks(rig: Rig, phone: Phone) -> dict[Any, Any]:
    return dict(rig.hot.zrange(f"{{{phone.user}}}:dirty:{phone.device}", 0, -1, withscores=True))


@pytest.mark.parametrize("point", ["append-ack", "before-mark", "mark-push"])
async def test_a_gateway_killed_while_it_withholds(rig: Rig, point: str) -> None:
    async with stage(rig) as at:
        await block(*at.people)
        rig.arm(point)
        await at.ann.send(at.ann.message(at.conversation, "withheld"))
        await rig.died("gateway-1")
        rig.forget_heartbeats()
        await until(lambda: _swept(rig, at.conversation), "the sweep has done the row")
        assert marks(rig, at.laptop).get(at.conversation.encode(), 0) <= 1, "no mark above what is owed"
        assert await at.late(rig.two) == []
        await rig.run("gateway-1")
        async with await Peer.open(rig.one, at.people[1]) as again:
            await again.say(at.conversation, "withheld too")
            await block(*at.people, on=False)
            await again.say(at.conversation, "after")
            await until(lambda: b"after" in at.contents(), "what is not withheld comes")
            assert at.contents() == [b"before", b"after"]
            assert await at.late(rig.two) == [b"after"]


async def _swept(rig: Rig, conversation: str) -> bool:
    """Whether every row of this conversation is done by its writer's watermark."""
    async with rig.system.stored() as log:
        return all(one.done for one in await log.announced(conversation))


async def test_valkey_flushed_while_it_withholds(rig: Rig) -> None:
    async with stage(rig) as at:
        await block(*at.people)
        await at.ann.say(at.conversation, "withheld")
        rig.hot.flushall()
        await at.ann.say(at.conversation, "and this")
        async with await Peer.open(rig.one, at.laptop) as laptop:
            assert at.contents(laptop) == []
        await block(*at.people, on=False)
        await at.ann.say(at.conversation, "after")
        await until(lambda: b"after" in at.contents(), "what is not withheld comes")
        assert at.contents() == [b"before", b"after"]


async def test_twin_fanned_out_all_the_same(rig: Rig) -> None:
    async with stage(rig) as at:
        await block(*at.people)
        with rig.off("withheld"):
            await at.ann.say(at.conversation, "withheld")
            await until(lambda: b"withheld" in at.contents(), "it comes live")


async def _told_after(rig: Rig, at: Stage, acks: range) -> int | None:
    """Bob acknowledges one message after the other: behind which of them Ann is told nothing any more."""
    third = await sign_up(rig.system)
    assert at.ann.phone is not None
    fence = await at.ann.phone.direct(third)
    async with await Peer.open(rig.two, third) as other:
        for count, seq in enumerate(acks, 1):
            await at.bob.ack(at.conversation, seq)
            await at.bob.round_trip()
            await at.ann.say(fence)
            await other.expect(frames.Message)
            await other.ack(fence, count)
            await at.ann.expect(frames.StatusUpdate, conversation_id=fence, up_to=count)
            if not any(
                isinstance(f, frames.StatusUpdate)
                and (f.conversation_id, f.up_to, f.user_id) == (at.conversation, seq, at.people[0].user)
                for f in at.ann.log
            ):
                return seq
            await stays(lambda: True, "", 0.1)
    return None


async def test_a_block_of_which_no_gateway_was_told(rig: Rig) -> None:
    """Receipts are held back by what a session knows; the check of all sessions finds what it does not."""
    async with stage(rig) as at:
        for n in range(40):
            await at.ann.say(at.conversation, str(n))
        await at.bob.messages(40)
        bob, ann = at.people
        async with rig.system.stored() as log:
            await log.store.withhold(bob.user, ann.user, True, 1)
        assert await _told_after(rig, at, range(2, 42)) is not None


async def test_twin_receipts_are_told_all_the_same(rig: Rig) -> None:
    async with stage(rig) as at:
        for n in range(3):
            await at.ann.say(at.conversation, str(n))
        await at.bob.messages(3)
        await block(*at.people)
        with rig.off("silent"):
            assert await _told_after(rig, at, range(2, 4)) is None
        assert await _told_after(rig, at, range(4, 5)) == 4


# -- what was read, where it is hidden ---------------------------------------------------------------------------------------


def _hide(rig: Rig, phone: Phone) -> None:
    """Not over the accounts, so that no gateway is told."""
    rig.system.sql(
        f"""INSERT INTO accounts_privacy (account_id, last_seen, online, photo, about, read_receipts)
            VALUES ('{phone.user}', 0, 0, 0, 0, 2) ON CONFLICT (account_id) DO UPDATE SET read_receipts = 2"""
    )


def _reads(peer: Peer, conversation: str) -> list[int | None]:
    return [
        f.up_to
        for f in peer.log
        if isinstance(f, frames.StatusUpdate) and f.status == "read" and f.conversation_id == conversation
    ]


@pytest.mark.parametrize("who", ["reader", "writer"])
async def test_hidden_reads_of_which_no_gateway_was_told(rig: Rig, who: str) -> None:
    """The check of all sessions finds it, at the gateway of who hides it: what is read then is not told."""
    async with stage(rig) as at:
        bob, ann = at.people
        for n in range(40):
            await at.ann.say(at.conversation, str(n))
        await at.bob.messages(40)
        await at.bob.ack(at.conversation, 41)
        await at.ann.expect(frames.StatusUpdate, status="delivered", up_to=41)
        _hide(rig, bob if who == "reader" else ann)
        for seq in range(2, 42):
            await at.bob.read(at.conversation, seq)
            await at.bob.round_trip()
            await stays(lambda: True, "", 0.1)
            if seq not in _reads(at.ann, at.conversation):
                break
        else:
            raise AssertionError("all of it was told")
        # A sync and REST ask anew, so they never told.
        async with await Peer.open(rig.two, ann) as again:
            await again.round_trip()
            assert _reads(again, at.conversation) == []


async def test_twin_reads_are_told_whoever_hides_them(rig: Rig) -> None:
    async with stage(rig) as at:
        bob, _ = at.people
        assert (await bob.rest("PATCH", "/me/privacy", {"readReceipts": "nobody"})).status_code == 200
        with rig.off("reads"):
            await at.bob.read(at.conversation, 1)
            await at.ann.expect(frames.StatusUpdate, status="read", up_to=1)


# -- message requests --------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def strangers(rig: Rig) -> AsyncIterator[tuple[Peer, Peer, str]]:
    """Ann, whom Bob does not know, has written one message, which Bob has read. Ann knows Bob, so nothing else is unusual."""
    ann, bob = await sign_up(rig.system), await sign_up(rig.system)
    assert (await ann.rest("PUT", f"/contacts/{bob.user}", {})).status_code == 200
    conversation = await ann.direct(bob, strangers=True)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(rig.repair)
        a = await stack.enter_async_context(await Peer.open(rig.one, ann))
        b = await stack.enter_async_context(await Peer.open(rig.two, bob))
        await a.say(conversation, "hello?")
        await b.expect(frames.Message)
        yield a, b, conversation


async def _unaccepted(rig: Rig, conversation: str) -> bool:
    async with rig.system.stored() as log:
        return bool((await log.store.conversations([conversation]))[conversation].unaccepted)


async def test_a_gateway_killed_behind_the_answer(rig: Rig) -> None:
    """The answer and the acceptance are one statement: nobody needs to be told for it to hold."""
    async with strangers(rig) as (a, b, conversation):
        assert b.phone is not None
        assert a.phone is not None
        await b.ack(conversation, 1)
        await saved(rig.system, b.phone, conversation, 1)
        assert await _unaccepted(rig, conversation)
        rig.arm("append-ack")
        await b.send(b.message(conversation, "hello"))
        await rig.died("gateway-2")
        rig.forget_heartbeats()
        assert not await _unaccepted(rig, conversation)
        async with await Peer.open(rig.one, await link(a.phone)) as late:
            await late.expect(frames.StatusUpdate, user_id=b.phone.user, status="delivered", up_to=1)


async def test_an_acceptance_of_which_no_gateway_was_told(rig: Rig) -> None:
    """A list that says that somebody has not accepted is 5 s old at most."""
    async with strangers(rig) as (a, b, conversation):
        assert b.phone is not None
        async with rig.system.stored() as log:
            await log.store.accept(b.phone.user, 1, conversations=[conversation])
        for n in range(2, 60):
            await a.say(conversation, str(n))
            await b.expect(frames.Message, seq=n)
            await b.ack(conversation, n)
            await stays(lambda: True, "", 0.25)
            if any(isinstance(f, frames.StatusUpdate) and f.user_id == b.phone.user for f in a.log):
                break
        else:
            raise AssertionError("the list was believed for ever")


async def test_twin_strangers_are_told_receipts(rig: Rig) -> None:
    async with strangers(rig) as (a, b, conversation):
        assert b.phone is not None
        with rig.off("requests"):
            await b.ack(conversation, 1)
            await a.expect(frames.StatusUpdate, user_id=b.phone.user, status="delivered", up_to=1)
