"""Abuse on a whole system: a spammer over real sockets climbs the ladder, who chats a lot does not, and Valkey is not needed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.gateway.peer import Peer
from tests.gateway.phone import Phone, sign_up
from tests.support import plain
from tests.support.patience import LONG, until
from whatsapp.wire import frames

#: Everybody here is new, for whom the numbers are halved: four strangers an hour.
TRIGGERS = {
    "strangers_hour": {"threshold": 8},
    "strangers_day": None,
    "unanswered": None,
    "messages": {"threshold": 200},
}
ENV = {
    "ABUSE_TRIGGERS": json.dumps(TRIGGERS),
    "ABUSE_FLUSH_MS": "100",
    "ABUSE_JUDGE_MS": "500",
    "ABUSE_WEIGHT": "1",
}

Make = Callable[..., Any]


def imposed(system: Any, phone: Phone) -> list[str]:
    """What was imposed on somebody, the first first."""
    found = system.sql(
        f"SELECT kind FROM accounts_sanction WHERE account_id = '{phone.user}' ORDER BY imposed_at, id"
    )
    return [line.strip() for line in found.splitlines() if line.strip()]


def class_of(system: Any, phone: Phone) -> str:
    return str(system.sql(f"SELECT limit_class FROM accounts_account WHERE id = '{phone.user}'")).strip()


async def spam(peer: Peer, conversations: list[str]) -> None:
    for conversation in conversations:
        await peer.attempt(conversation, "buy this")


async def strangers(system: Any, to: Phone, number: int) -> tuple[list[Phone], list[str]]:
    people = [await sign_up(system) for _ in range(number)]
    return people, [await to.direct(person, strangers=True) for person in people]


@pytest.mark.slow
async def test_a_spammer_climbs_the_ladder_and_who_chats_a_lot_does_not(own_stack: Make) -> None:
    system = own_stack(gateways=2, beat=True, env=ENV)
    one, two = (gateway["ws"] for gateway in system.gateways.values())
    eve, ann = await sign_up(system), await sign_up(system)
    people, chats = await strangers(system, eve, 5)
    body = {"name": "all", "members": [person.user for person in people]}
    group = (await ann.rest("POST", "/groups", body)).json()["groupId"]
    known = [await ann.direct(person) for person in people]
    async with await Peer.open(one, eve) as spammer, await Peer.open(two, ann) as chatty:
        for _ in range(8):
            assert isinstance(await chatty.attempt(group, "good morning"), frames.StatusUpdate)
            for conversation in known:
                await chatty.say(conversation, "and to you")
        await spam(spammer, chats[:3])  # three are too few
        await spam(spammer, chats)
        await until(lambda: imposed(system, eve) == ["slow_down"], "slowed down", LONG)
        assert class_of(system, eve) == "slowed"
        await spam(spammer, chats)
        await until(lambda: imposed(system, eve) == ["slow_down", "limit"], "limited", LONG)
        assert class_of(system, eve) == "restricted"
        assert not spammer.is_closed
        await spam(spammer, chats)
        refused = await spammer.expect(frames.Error, LONG, code="banned")
        assert await spammer.closed() == 4403
        assert imposed(system, eve) == ["slow_down", "limit", "suspension"]
        assert not chatty.is_closed
        assert isinstance(await chatty.attempt(group, "good night"), frames.StatusUpdate)
    assert refused.details is not None
    assert refused.details["until"] > 0
    # The same address from every door, and it works.
    again = await Peer.open(two, eve, auth=False)
    await again.send(frames.Auth(eve.token))
    told = await again.expect(frames.Error, code="banned")
    assert (told.details, await again.closed()) == (refused.details, 4403)
    answer = await eve.rest("GET", "/me")
    assert (answer.status_code, answer.json()["details"]) == (403, refused.details)
    async with plain.AsyncClient(base_url=system.http) as browser:
        page = await browser.get(refused.details["appealUrl"])
        assert (page.status_code, "This account is suspended" in page.text) == (200, True)
        sent = await browser.post(refused.details["appealUrl"], data={"text": "It was a wedding."})
        assert (sent.status_code, "We have your appeal" in sent.text) == (200, True)
    assert imposed(system, ann) == []
    assert class_of(system, ann) == ""


@pytest.mark.slow
async def test_replies_count_in_favour(own_stack: Make) -> None:
    """Who writes to as many strangers and is answered is none: his first contacts have become contacts."""
    system = own_stack(gateways=2, beat=True, env=ENV)
    one, two = (gateway["ws"] for gateway in system.gateways.values())
    ann, eve = await sign_up(system), await sign_up(system)
    people, chats = await strangers(system, ann, 5)
    others, spammed = await strangers(system, eve, 5)
    del others
    async with await Peer.open(one, ann) as a, await Peer.open(one, eve) as e:
        for person, conversation in zip(people, chats, strict=True):
            async with await Peer.open(two, person) as answering:
                await a.say(conversation, "hello, I am Ann from next door")
                await answering.expect(frames.Message)
                await answering.say(conversation, "welcome!")
                await a.expect(frames.Message)
        await spam(e, spammed)
        # What was counted before her has been judged when the spammer is.
        await until(lambda: imposed(system, eve) == ["slow_down"], "the spammer is slowed down", LONG)
    assert imposed(system, ann) == []


@pytest.mark.slow
async def test_without_valkey_messages_go_on_and_it_counts_again_when_it_is_back(own_stack: Make) -> None:
    system = own_stack(gateways=1, beat=True, env=ENV)
    eve = await sign_up(system)
    _, chats = await strangers(system, eve, 5)
    async with await Peer.open(system.ws, eve) as spammer:
        system.kill("valkey")
        sent = [await spammer.say(chats[number % 5], f"message {number}") for number in range(15)]
        assert [one.status for one in sent] == ["sent"] * 15
        assert imposed(system, eve) == []
        system.restart("valkey")

        async def again() -> bool:
            await spam(spammer, chats)
            await asyncio.sleep(0.2)
            return imposed(system, eve)[:1] == ["slow_down"]  # the next may have come meanwhile

        await until(again, "counted again", LONG)
    stored = system.sql("SELECT count(*) FROM delivery_event")
    assert int(stored.strip().splitlines()[-1]) >= 20
