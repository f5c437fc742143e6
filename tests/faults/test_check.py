"""R8: once in a while each session is compared with the hot node and the accounts, so that a lost publish, a lost record or a
revocation that nobody heard of costs no more than that while (60 s; here 1)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager

import pytest

from delivery.inbox import dirty_key
from tests.faults.history import LOST
from tests.faults.rig import Cast, Rig, meeting, stays
from tests.support.patience import until
from whatsapp.infra.directory import sessions_key

pytestmark = pytest.mark.needs_system

LIMITS = {"session_check_ms": 1_000}
CHECKS_S = 2.2


@asynccontextmanager
async def unchecked(rig: Rig) -> AsyncIterator[tuple[Cast, Callable[[], None]]]:
    """A meeting without the check, and what switches it on. It is off before anybody connects: a check that has begun then still
    ends, but knows none of these sessions."""
    with ExitStack() as off:
        off.enter_context(rig.off("check"))
        async with meeting(rig) as cast:
            yield cast, off.close


async def test_h12_lost_publish_is_found(rig: Rig) -> None:
    async with meeting(rig) as cast:
        with rig.off("publish"):
            await cast.say(3)
            await cast.all_here(cast.phone)


async def test_h12_twin_without_check(rig: Rig) -> None:
    async with unchecked(rig) as (cast, _):
        with rig.off("publish"):
            await cast.say()
            await stays(lambda: cast.history.missing(cast.phone.id), "the phone heard of it", CHECKS_S)
        assert cast.history.kinds(cast.phone.id) == {LOST}
        # The next event makes the gateway read what is between.
        await cast.say()
        await cast.all_here(cast.phone)


async def test_r9_lost_publish_is_found_by_the_next_event(rig: Rig) -> None:
    async with unchecked(rig) as (cast, _):
        with rig.off("publish"):
            await cast.say(150)
        await cast.say()
        await cast.all_here(cast.phone)


async def test_r8_marks_below_the_position_go(rig: Rig) -> None:
    async with meeting(rig) as cast:
        await until(lambda: not cast.marks(rig, cast.phone), "the phone's own acks have emptied its set")
        rig.hot.zadd(dirty_key(cast.phone.phone.user, cast.phone.id), {cast.conversation: 2})
        await until(lambda: not cast.marks(rig, cast.phone), "the mark is gone")
        await cast.all_here(cast.phone)


async def test_r8_twin_marks_stay_without_check(rig: Rig) -> None:
    """The phone's last acks may be on their way and take a mark with them, once; a check would take each."""
    async with unchecked(rig) as (cast, _):
        for last in (False, False, True):
            rig.hot.zadd(dirty_key(cast.phone.phone.user, cast.phone.id), {cast.conversation: 2})
            try:
                await stays(lambda: cast.marks(rig, cast.phone), "the mark is gone", CHECKS_S)
                break
            except AssertionError:
                if last:
                    raise


async def test_v8_lost_record_is_made_again(rig: Rig) -> None:
    """Without its record nobody publishes to the session."""
    async with meeting(rig) as cast:
        key = sessions_key(cast.phone.phone.user)
        rig.hot.delete(key)
        await until(lambda: rig.hot.exists(key), "the session is registered again")
        await cast.say()
        await cast.all_here(cast.phone)


async def test_v8_twin_without_check(rig: Rig) -> None:
    async with unchecked(rig) as (cast, check):
        rig.hot.delete(sessions_key(cast.phone.phone.user))
        await cast.say()
        await stays(lambda: cast.history.missing(cast.phone.id), "the phone heard of it", CHECKS_S)
        check()
        await cast.all_here(cast.phone)


async def test_revocation_while_the_bus_is_away(rig: Rig) -> None:
    """Unlinking succeeds, nobody can be told, the check closes the socket with 4410; and not without the check."""
    async with unchecked(rig) as (cast, check):
        await cast.laptop.online()
        rig.system.kill("valkey")
        answer = await cast.phone.phone.rest("DELETE", f"/devices/{cast.laptop.id}")
        assert answer.status_code == 204, answer.text
        await stays(lambda: cast.laptop.alive, "the socket was closed", CHECKS_S)
        check()
        await until(lambda: not cast.laptop.alive, "the socket is closed")
        await until(lambda: 4410 in cast.laptop.closes, "with 4410")
        assert cast.phone.alive
        await rig.run("valkey")
        await cast.say()
        await cast.all_here(cast.phone)
