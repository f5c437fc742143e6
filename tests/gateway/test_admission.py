"""Who is admitted while the accounts are slow, and what a device hears that is ended while its socket opens."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.gateway.peer import Peer
from tests.gateway.phone import link, sign_up
from tests.support.hot import server_of
from tests.support.patience import until
from tests.support.stack import System
from whatsapp.wire import frames

AUTH_S = 0.5
APPEAL_URL = "https://appeal.test/"


@pytest.fixture(scope="module")
def stack() -> Iterator[Any]:
    limits = {"auth_ms": round(AUTH_S * 1000)}
    with System(worker=False, env={"APPEAL_URL": APPEAL_URL}, limits=limits) as system:
        yield system


async def test_the_banned_are_told_until_when_and_where_to_appeal(stack: Any, codec: str) -> None:
    phone = await sign_up(stack)
    stack.sql(f"UPDATE accounts_account SET banned_until = {2**52} WHERE id = '{phone.user}'")
    async with await Peer.open(stack.ws, codec=codec) as peer:
        answer = await peer.ask(frames.Auth(phone.token))
        assert (answer.code, answer.retryable) == ("banned", False)
        assert answer.details == {"until": 2**52, "appealUrl": APPEAL_URL}
        assert await peer.closed() == 4403


async def test_an_auth_that_came_in_time_is_not_a_timeout(stack: Any, codec: str) -> None:
    """The accounts are slow: the client waits, and is ready when they answer."""
    phone = await sign_up(stack)
    loop = asyncio.get_running_loop()
    async with await psycopg.AsyncConnection.connect(stack.database_url) as blocker:
        await blocker.execute("LOCK TABLE accounts_device IN ACCESS EXCLUSIVE MODE")
        began = loop.time()
        async with await Peer.open(stack.ws, codec=codec) as peer:
            await peer.send(frames.Auth(phone.token))
            await until(lambda: loop.time() > began + 1.5 * AUTH_S, "auth_ms are over")
            assert not peer.is_closed
            await blocker.rollback()
            await peer.expect(frames.Ready)


@pytest.mark.parametrize("how", ["unlinked", "banned"])
async def test_a_device_that_is_ended_while_it_opens_is_not_served(stack: Any, codec: str, how: str) -> None:
    """Its record is not there yet when the word goes out, so no gateway is told: it asks again itself."""
    bob = await sign_up(stack)
    laptop = await link(bob)
    async with await Peer.open(stack.ws, laptop):
        pass
    async with server_of(stack.hot_url, bob.user) as hot:
        await until(lambda: _is_gone(hot, bob.user), "the record of the socket before is gone")

        async def waiting() -> bool:
            return int((await hot.info("clients"))["blocked_clients"]) > before

        before = int((await hot.info("clients"))["blocked_clients"])
        await hot.execute_command("CLIENT", "PAUSE", 2_000, "WRITE")  # registrations wait, reads do not
        async with await Peer.open(stack.ws, codec=codec) as peer:
            try:
                await peer.send(frames.Auth(laptop.token))
                await until(waiting, "the registration waits")
                if how == "unlinked":
                    answer = await bob.rest("DELETE", f"/devices/{laptop.device}")
                    assert answer.status_code == 204
                else:
                    stack.sql(f"UPDATE accounts_account SET banned_until = {2**52} WHERE id = '{bob.user}'")
            finally:
                await hot.execute_command("CLIENT", "UNPAUSE")
            assert await peer.closed() == (4410 if how == "unlinked" else 4403)
            assert not peer.waiting(frames.Ready)
        await until(lambda: _is_gone(hot, bob.user), "no record is left")
        if how == "unlinked":
            assert await hot.keys(f"*{laptop.device}*") == []


async def _is_gone(hot: Any, user: str) -> bool:
    return not await hot.exists(f"{{{user}}}:sessions")
