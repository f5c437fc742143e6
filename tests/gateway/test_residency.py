"""Two regions, each with an installation of its own: neither takes what is the other's."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from delivery.ids import conversation_id, region_of
from tests.gateway.peer import Peer
from tests.gateway.phone import Phone, new_id, rest, sign_up
from whatsapp.infra.clock import now_ms
from whatsapp.wire import frames

ADDRESS = {1: "https://eu.chat.example", 2: "https://us.chat.example"}
REGIONS = {
    "1": {"name": "Frankfurt", "jurisdiction": "eu", "url": ADDRESS[1]},
    "2": {"name": "Virginia", "jurisdiction": "us", "url": ADDRESS[2]},
}
#: Numbers of people whose home is each region.
NUMBERS = {1: "+15551", 2: "+15552"}


def environment(region: int) -> dict[str, str]:
    return {
        "REGIONS": json.dumps(REGIONS),
        "JURISDICTIONS": "eu,us",
        "REGION_OF_NUMBERS": json.dumps({"15551": 1, "15552": 2, "*": 1}),
        "HOME_REGION": str(region),
    }


def about(error: Any, region: int) -> bool:
    details = error.details
    return error.code == "wrong_region" and (details["region"], details["url"]) == (region, ADDRESS[region])


@pytest.mark.timeout(600)
async def test_two_regions_refuse_each_others_people_and_conversations(own_stack: Callable[..., Any]) -> None:
    systems = {region: own_stack(gateways=1, worker=False, env=environment(region)) for region in (1, 2)}

    async def pair(region: int) -> tuple[Phone, Phone, str]:
        ann, bob = [await sign_up(systems[region], f"{NUMBERS[region]}00{n}") for n in (1, 2)]
        return ann, bob, await ann.direct(bob)

    people = {region: await pair(region) for region in (1, 2)}
    for region, (ann, bob, own) in people.items():
        other = 3 - region
        theirs = people[other][2]
        assert (region_of(own), region_of(theirs)) == (region, other)
        # Who belongs elsewhere is sent there, and gets no code.
        answer = await rest(
            systems[region].http, "POST", "/auth/register", {"phoneNumber": f"{NUMBERS[other]}003"}
        )
        assert answer.status_code == 421
        assert answer.json()["code"] == "wrong_region"
        assert answer.json()["details"]["url"] == ADDRESS[other]
        async with (
            await Peer.open(systems[region].ws, ann, "json") as a,
            await Peer.open(systems[region].ws, bob, "protobuf") as b,
        ):
            tick = await a.say(own, "here")
            assert tick.seq is not None
            await b.expect(frames.Message)
            for conversation in (theirs, conversation_id(now_ms(), "group", other)):
                for frame in (
                    a.message(conversation, "there"),
                    frames.EditMessage(
                        message_id=new_id(),
                        conversation_id=conversation,
                        target_id=new_id(),
                        encrypted_content=b"x",
                        timestamp=1,
                    ),
                    frames.DeleteMessage(
                        message_id=new_id(), conversation_id=conversation, target_id=new_id(), timestamp=1
                    ),
                    frames.StatusUpdate(conversation, "read", up_to=1),
                    frames.Ack({conversation: 1}),
                    frames.Typing(conversation, True),
                ):
                    assert about(await a.ask(frame), other), frame
            # What is right in the same frame is taken all the same, and the socket lives.
            assert about(await b.ask(frames.Ack({theirs: 1, own: tick.seq})), other)
            await a.expect(frames.StatusUpdate, conversation_id=own, status="delivered")
            await a.say(own, "still here")
        # Over REST too, although nobody there is asked whether there is such a conversation.
        answer = await ann.rest("PATCH", f"/conversations/{theirs}", {"pinned": True})
        assert answer.status_code in (404, 421), answer.text
        async with systems[region].stored() as log:
            assert await log.events(theirs) == []
            assert len(await log.events(own)) == 2
