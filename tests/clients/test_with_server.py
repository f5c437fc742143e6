"""The client against the real system: two people, several devices, a connection that goes, a gateway that is killed."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.patience import PATIENCE
from whatsapp_client import (
    JSON,
    Backoff,
    Client,
    Codec,
    Rest,
    RestError,
    SendFailed,
    Session,
    SmsFile,
    by_name,
    events,
    sign_up,
)
from whatsapp_client.stream import EventStream

_numbers = itertools.count(random.Random(os.getpid()).randint(1_000_000, 8_000_000))


async def register(system: Any, *, number: str = "") -> Session:
    number = number or f"+1555{next(_numbers)}"
    sms = SmsFile(Path(system.data) / "sms.jsonl", number)
    return await sign_up(Rest(system.http), number, sms.code, device_name="test")


async def available(ask: Callable[[], Awaitable[Any]]) -> Any:
    """``unavailable`` is asked again, as it says: a process opens its session with Cassandra when it is first used, which on a
    busy machine takes longer than a request waits."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await ask()
            except RestError as error:
                if error.code != "unavailable":
                    raise
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def people(system: Any, count: int = 2, codec: Codec = JSON) -> AsyncIterator[tuple[str, list[Client]]]:
    """Clients that are online, and the conversation of the first two."""
    async with contextlib.AsyncExitStack() as stack:
        clients = []
        for _ in range(count):
            session = await register(system)
            clients.append(
                Client(system.http, session, codec=codec, backoff=Backoff(first=0.05, ceiling=0.5))
            )
        first, other = clients[0].rest, clients[1].session.user_id
        conversation = await available(lambda: first.direct(other))
        path = f"/conversations/{conversation}"
        for client in clients[:2]:  # they know each other
            await available(lambda client=client: client.rest.call("PATCH", path, {"accepted": True}))
        for client in clients:
            await stack.enter_async_context(client)
            await client.wait_online()
        yield conversation, clients


async def eventually(check: Callable[[], bool], timeout: float = PATIENCE) -> None:
    async with asyncio.timeout(timeout):
        while not check():
            await asyncio.sleep(0.01)


async def messages(stream: EventStream, count: int) -> list[str]:
    texts: list[str] = []
    async with asyncio.timeout(PATIENCE):
        async for event in stream:
            if isinstance(event, events.Message):
                texts.append(event.entry.text)
                if len(texts) == count:
                    break
    return texts


def texts(client: Client, conversation: str) -> list[str]:
    return [entry.text for entry in client.history[conversation].entries]


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
async def test_two_people_chat_with_ticks(stack: Any, encoding: str):
    async with people(stack, codec=by_name(encoding)) as (
        conversation,
        (ann, bob),
    ):
        stream = bob.events()
        outgoing = ann.send(conversation, "hello")
        assert (await outgoing.sent()).seq == 1
        assert await messages(stream, 1) == ["hello"]
        await eventually(lambda: ann.receipt_of(outgoing) == "delivered")
        bob.mark_read(conversation)
        await eventually(lambda: ann.receipt_of(outgoing) == "read")


@pytest.mark.parametrize("encoding", ["json", "protobuf"])
async def test_what_cannot_be_sent_fails_and_holds_up_nothing(stack: Any, encoding: str):
    async with people(stack, codec=by_name(encoding)) as (conversation, (ann, bob)):
        nowhere, badly = ann.send("nowhere", "x"), ann.send(conversation, "x", replyTo="no id")
        good = ann.send(conversation, "good")
        for outgoing in (nowhere, badly):
            with pytest.raises(SendFailed):
                await asyncio.wait_for(outgoing.sent(), PATIENCE)
        await asyncio.wait_for(good.sent(), PATIENCE)
        await eventually(lambda: texts(bob, conversation) == ["good"])


async def test_what_is_sent_to_somebody_offline_arrives_in_order(stack: Any):
    async with people(stack) as (conversation, (ann, bob)):
        await bob.stop()
        outgoing = [ann.send(conversation, f"t{i}") for i in range(150)]
        async with asyncio.timeout(PATIENCE):
            for each in outgoing:
                await each.sent()
        assert {ann.receipt_of(each) for each in outgoing} == {"sent"}
        stream = bob.events()
        await bob.start()
        assert await messages(stream, 150) == [f"t{i}" for i in range(150)]
        await eventually(lambda: {ann.receipt_of(each) for each in outgoing} == {"delivered"})


async def test_a_new_process_of_a_device_goes_on_with_its_number_and_its_backlog(stack: Any):
    """Nothing is kept but the session: the number of the next send and the position come from the server."""
    async with people(stack) as (conversation, (ann, bob)):
        for i in range(3):
            await ann.send(conversation, f"t{i}").sent()
        await bob.send(conversation, "from bob").sent()
        await eventually(lambda: len(texts(ann, conversation)) == 4)
        await asyncio.sleep(1.2)  # positions are written behind by up to a second; repeated before that
        await ann.stop()
        await bob.send(conversation, "while away").sent()
        async with Client(stack.http, ann.session) as again:
            stream = again.events()
            assert (await again.send(conversation, "t3").sent()).seq == 6
            assert await messages(stream, 1) == ["while away"]
        await eventually(lambda: texts(bob, conversation)[-1] == "t3")


async def test_the_senders_other_device_gets_the_message_too(stack: Any):
    async with people(stack) as (conversation, (ann, _)):
        second = await register(stack, number=ann.session.phone_number)
        assert (second.user_id, second.device_id != ann.session.device_id) == (ann.session.user_id, True)
        async with Client(stack.http, second) as desktop:
            await desktop.wait_online()
            stream = desktop.events()
            await ann.send(conversation, "from the phone").sent()
            assert await messages(stream, 1) == ["from the phone"]
            assert len(await ann.rest.devices()) == 2


async def test_typing_and_presence(stack: Any):
    async with people(stack) as (conversation, (ann, bob)):
        await ann.send(conversation, "so that we know each other").sent()
        await bob.send(conversation, "yes").sent()
        stream = bob.events()
        bob.watch_presence([ann.session.user_id])
        ann.typing(conversation)
        seen: set[str] = set()
        async with asyncio.timeout(PATIENCE):
            async for event in stream:
                match event:
                    case events.Typing(user_id=user_id, active=True) if user_id == ann.session.user_id:
                        seen.add("typing")
                    case events.Presence(user_id=user_id, status="online") if user_id == ann.session.user_id:
                        seen.add("online")
                if seen == {"typing", "online"}:
                    break


async def test_a_removed_device_is_told_and_stays_away(stack: Any):
    async with people(stack) as (_, (ann, _bob)):
        second = await register(stack, number=ann.session.phone_number)
        async with Client(stack.http, second) as desktop:
            await desktop.wait_online()
            await ann.rest.remove_device(second.device_id)
            await eventually(lambda: desktop.state.status == "stopped")
            assert desktop.state.code in (4401, 4410)


async def test_a_second_socket_of_a_device_replaces_the_first(stack: Any):
    async with people(stack) as (_, (ann, _bob)), Client(stack.http, ann.session) as newer:
        await newer.wait_online()
        await eventually(lambda: ann.state.status == "stopped")
        assert ann.state.code == 4409
        assert newer.state.status == "online"


async def test_a_stranger_to_the_conversation_is_refused(stack: Any):
    async with people(stack, count=3) as (conversation, (ann, _, eve)):
        await ann.send(conversation, "private").sent()
        with pytest.raises(SendFailed):
            await asyncio.wait_for(eve.send(conversation, "let me in").sent(), PATIENCE)
        with pytest.raises(RestError) as error:
            await eve.rest.events(conversation)
        assert error.value.status == 404
        assert texts(eve, conversation) == []


async def test_an_unregistered_number_is_not_found(stack: Any):
    async with people(stack) as (_, (ann, _bob)):
        with pytest.raises(RestError) as error:
            await ann.rest.add_contact(f"+1555{next(_numbers)}")
        assert error.value.code == "not_found"


async def test_an_access_token_that_is_refused_is_renewed(stack: Any):
    session = await register(stack)
    session.token = session.token[:-4] + "AAAA"
    saved: list[str] = []
    async with Client(stack.http, session, on_session=lambda changed: saved.append(changed.token)) as client:
        await client.wait_online()
        assert saved == [session.token]
        assert (await client.rest.me())["userId"] == session.user_id


async def test_a_gateway_killed_while_both_send_costs_nothing_but_a_reconnect(own_stack: Callable[..., Any]):
    system = own_stack(gateways=2)
    async with people(system) as (conversation, (ann, bob)):
        to_bob, to_ann = bob.events(), ann.events()
        sent = {ann: [], bob: []}
        for i in range(60):
            for client in (ann, bob):
                sent[client].append(client.send(conversation, f"{i}"))
            if i == 20:
                system.kill("gateway-1")
            if i == 40:
                await asyncio.to_thread(system.restart, "gateway-1")
                system.kill("gateway-2")
            await asyncio.sleep(0.005)
        async with asyncio.timeout(PATIENCE):
            for each in sent[ann] + sent[bob]:
                await each.sent()
        wanted = [f"{i}" for i in range(60)]
        assert await messages(to_bob, 60) == wanted
        assert await messages(to_ann, 60) == wanted
        assert ann.connects + bob.connects > 2
        await eventually(lambda: texts(ann, conversation) == texts(bob, conversation))
