"""``manage.py trace``: what became of a message, from the stores, and what is only a hint."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest
import redis
import redis.asyncio
from django.core.management import CommandError, call_command

from delivery.session import Event
from delivery.store.sync import store
from delivery.store.values import Logged
from delivery.trace import TraceError, Tracer
from delivery.tracing import MAX_WATCHED, WATCHED, Tracing, events_key
from tests.gateway.peer import Peer
from tests.gateway.phone import couple, link, new_id, saved
from tests.observability.manage import manage, managed
from tests.support.patience import until
from whatsapp.infra.clock import now_ms

DAYS_40 = 40 * 86_400_000
_PASSED = """SELECT 1 FROM delivery_outbox o JOIN delivery_progress p USING (writer)
WHERE '{}'::uuid = ANY (o.conversations) AND p.row >= o.row"""
_READ = "SELECT 1 FROM delivery_receipt WHERE conversation = '{}' AND member = '{}' AND read > 0"


async def trace(system: Any, *arguments: str, **options: Any) -> Any:
    return json.loads(await managed(system, "trace", *arguments, "--json", **options))


def device(found: Any, phone: Any) -> Any:
    return next(one for one in found["stored"]["devices"] if one["deviceId"] == phone.device)


def hint(found: Any, phone: Any) -> Any:
    return next(one for one in found["hints"]["devices"] if one["deviceId"] == phone.device)


def user(found: Any, phone: Any) -> Any:
    return next(one for one in found["stored"]["users"] if one["userId"] == phone.user)


async def test_a_delivered_message_and_one_that_waits(stack: Any) -> None:
    ann, bob, conversation = await couple(stack)
    phone = await link(ann, name="second")  # owed, and never here
    urls = [gateway["ws"] for gateway in stack.gateways.values()]
    async with await Peer.open(urls[0], ann) as first, await Peer.open(urls[1], bob) as second:
        sent = await first.say(conversation, "a secret word")
        await second.messages(1)
        await second.ack(conversation, sent.seq or 0)
        await second.read(conversation, sent.seq or 0)
        await saved(stack, bob, conversation, sent.seq or 0)
        await until(lambda: stack.sql(_PASSED.format(conversation)), "the watermark is written")
        await until(lambda: stack.sql(_READ.format(conversation, bob.user)), "the receipt is written")
        found = await trace(stack, sent.message_id or "")
        shown = await managed(stack, "trace", sent.message_id or "")
    stored = found["stored"]
    assert stored["conversation"] == {"id": conversation, "kind": "direct", "head": 1, "floor": 0}
    append = stored["append"]
    assert (append["state"], append["seq"], append["messageId"]) == ("stored", 1, sent.message_id)
    assert (append["senderId"], append["senderDeviceId"], append["contentBytes"]) == (
        ann.user,
        ann.device,
        13,
    )
    assert append["at"] == sent.timestamp
    assert stored["outbox"]["upTo"] == 1
    assert device(found, ann)["state"] == "sender"
    assert (device(found, bob)["state"], device(found, bob)["position"]) == ("acknowledged", 1)
    assert device(found, bob)["terminal"] is True
    assert user(found, bob)["delivered"] is True
    assert user(found, bob)["notLaterThan"] >= append["at"]
    # The device that was never here: its mark and its missing session are hints, that it waits is proof.
    assert (device(found, phone)["state"], device(found, phone)["terminal"]) == ("waiting", False)
    assert hint(found, phone) == {"deviceId": phone.device, "mark": 1, "session": None}
    assert hint(found, bob)["mark"] is None
    assert (hint(found, bob)["session"]["process"], hint(found, bob)["session"]["status"]) == (
        "gateway-2",
        "online",
    )
    assert found["hints"]["markedUnderThisEpoch"] is True
    assert found["traced"] == []
    assert "secret" not in json.dumps(found) + shown
    proof, _, rest = shown.partition("FROM THE HOT NODE (hints")
    assert "FROM THE STORE (proof)" in proof
    assert f"{phone.device}  waiting" in proof
    assert f"{phone.device}  no session, mark up to 1" in rest


async def test_unlinked_and_later_linked_devices(stack: Any) -> None:
    ann, bob, conversation = await couple(stack)
    tablet = await link(bob, name="tablet")
    async with await Peer.open(stack.ws, ann) as peer:
        sent = await peer.say(conversation)
    answer = await bob.rest("DELETE", f"/devices/{tablet.device}")
    assert answer.status_code in (200, 204), answer.text
    later = await link(bob, name="later")
    # Without the hot node everything that the stores prove is still there.
    found = await trace(stack, sent.message_id or "", env={"HOT_URL": "redis://127.0.0.1:1/0"})
    assert device(found, tablet)["state"] == "unlinked"
    assert device(found, tablet)["unlinkedAt"] >= found["stored"]["append"]["at"]
    assert device(found, bob)["state"] == "waiting"
    assert device(found, later)["state"] == "linked_later"
    assert found["hints"] == {"reachable": False, "error": "ConnectionError"}


async def test_an_expired_message(stack: Any) -> None:
    ann, bob, conversation = await couple(stack)
    phone = await link(ann, name="never here")
    async with await Peer.open(stack.ws, ann) as first, await Peer.open(stack.ws, bob) as second:
        sent = await first.say(conversation)
        await second.messages(1)
        await second.ack(conversation, 1)
        await saved(stack, bob, conversation, 1)
    stack.sql(f"UPDATE delivery_event SET at = at - {DAYS_40} WHERE conversation = '{conversation}'")
    stack.sql(
        f"UPDATE delivery_head SET oldest_at = oldest_at - {DAYS_40} WHERE conversation = '{conversation}'"
    )
    await managed(stack, "shell", "-c", "from delivery.tasks import expire\nexpire()")
    gone = await asyncio.to_thread(manage, stack, "trace", sent.message_id or "")
    assert gone.returncode == 1
    assert "retention" in gone.stderr
    found = await trace(stack, conversation, "--seq", "1")
    assert found["stored"]["append"] == {"seq": 1, "state": "expired"}
    assert device(found, phone)["state"] == "expired"
    assert device(found, bob)["state"] == "passed"
    assert user(found, bob)["delivered"] is True


@pytest.mark.django_db
def test_what_cannot_be_traced_is_one_sentence(valkey_url: str) -> None:
    for arguments, word in (
        ((new_id(),), "never stored"),
        (("+15550001",), "is no id"),
        ((new_id(), "--seq", "1"), "no conversation"),
        (("--watch", new_id()), "no conversation and no message"),
        (("--watch", new_id(), "--for", "3 days"), "at most 24h"),
        (("--watch", new_id(), "--for", "25h"), "at most 24h"),
        ((), "Which message?"),
    ):
        with pytest.raises(CommandError, match=re.escape(word)):
            call_command("trace", *arguments)


def test_a_trace_that_fails_costs_no_message_its_mark(caplog: pytest.LogCaptureFixture) -> None:
    tracing = Tracing()
    tracing.watched = {"c": 1}
    event = Event(Logged("c", 1, 1, "u", "d", "m", "text", b"", 1, 1))
    tracing.fanned_out(
        [event.logged], [["u"]], {}, {"u": ["p"]}, "epoch"
    )  # no bus, no loop: it cannot be written
    tracing.delivered(event, [object()])  # type: ignore[list-item]
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"]


@pytest.mark.django_db
def test_few_conversations_can_be_watched_at_once(valkey_url: str) -> None:
    tracer = Tracer(store, valkey_url, lambda users: [], now_ms())
    conversations = [new_id() for _ in range(MAX_WATCHED)]
    try:
        for conversation in conversations:
            tracer.watch(conversation, 60_000)
        with pytest.raises(TraceError, match="watched already"):
            tracer.watch(new_id(), 60_000)
        tracer.watch(conversations[0], 120_000)  # one that is watched may be watched longer
        later = Tracer(store, valkey_url, lambda users: [], now_ms() + 90_000)
        assert set(later.watched()) == {conversations[0]}
        later.watch(new_id(), 1_000)  # those whose time is over make room
    finally:
        with redis.Redis.from_url(valkey_url) as client:
            client.delete(WATCHED)


async def test_marks_and_pushes_are_traced_while_somebody_watches(stack: Any) -> None:
    ann, bob, conversation = await couple(stack)
    phone = await link(ann, name="never here")
    urls = [gateway["ws"] for gateway in stack.gateways.values()]
    async with await Peer.open(urls[0], ann) as first, await Peer.open(urls[1], bob) as second:
        before = await first.say(conversation)
        said = await managed(stack, "trace", "--watch", before.message_id or "", "--for", "5m")
        assert conversation in said
        stream = redis.asyncio.Redis.from_url(stack.hot_url)

        async def notes_of(seq: int) -> set[str]:
            entries = [json.loads(entry[b"e"]) for _, entry in await stream.xrange(events_key(conversation))]
            return {note["what"] for note in entries if note["seq"] == seq}

        async def noticed() -> Any:
            """Both gateways have asked since: one marks and hands over, the other writes to the socket."""
            sent = await first.say(conversation)
            await second.messages(1)
            await asyncio.sleep(0.1)
            return sent if {"mark", "push"} <= await notes_of(sent.seq or 0) else None

        await until(noticed, "both gateways know", 30)
        sent = await first.say(conversation)
        await second.messages(1)

        async def written() -> bool:
            return await notes_of(sent.seq or 0) == {"mark", "publish", "push"}

        await until(written, "the three notes of one message")
        await stream.aclose()
        found = await trace(stack, sent.message_id or "")
    notes = found["traced"]
    by_kind = {note["what"]: note for note in notes}
    assert by_kind["mark"]["process"] == "gateway-1"
    assert set(by_kind["mark"]["devices"]) == {bob.device, phone.device}
    assert by_kind["mark"]["epoch"] == found["hints"]["epoch"]
    assert by_kind["push"]["process"] == "gateway-2"
    assert by_kind["push"]["written"] == [bob.device]
    assert found["watchedUntil"] > found["stored"]["append"]["at"]
    await managed(stack, "trace", "--unwatch", conversation)
    # What went before was not watched, and what was traced is forgotten.
    shown = await managed(stack, "trace", before.message_id or "")
    assert "nothing      see --watch" in shown.partition("TRACED (only while the conversation is watched)")[2]


_GROUP = """
import uuid
from delivery.store.values import (Change)
from delivery.store.sync import store
from delivery.ids import conversation_id
from whatsapp.infra.clock import now_ms
group = conversation_id(now_ms(), "group")
store.create_group(group, now_ms())
store.change(str(uuid.uuid4()), group, {0!r}, [Change(str(uuid.uuid4()), "member_added", joins=({0!r}, {1!r}))], now_ms())
print(group)
"""


async def test_a_group_is_traced_through_its_lane(stack: Any) -> None:
    ann, bob, _ = await couple(stack)
    group = (await managed(stack, "shell", "-v", "0", "-c", _GROUP.format(ann.user, bob.user))).split()[-1]
    urls = [gateway["ws"] for gateway in stack.gateways.values()]
    stream = redis.asyncio.Redis.from_url(stack.hot_url)
    async with await Peer.open(urls[0], ann) as first, await Peer.open(urls[1], bob) as second:
        await managed(stack, "trace", "--watch", group)

        async def traced() -> Any:
            sent = await first.say(group)
            await second.messages(1)
            await asyncio.sleep(0.2)
            notes = [json.loads(entry[b"e"]) for _, entry in await stream.xrange(events_key(group))]
            here = [note for note in notes if note["seq"] == sent.seq]
            return here if {note["what"] for note in here} == {"mark", "publish", "push"} else None

        notes = await until(traced, "the lane's process knows too", 30)
    await stream.aclose()
    by_kind = {note["what"]: note for note in notes if note["what"] != "push"}
    assert by_kind["mark"]["devices"] == [bob.device]
    assert by_kind["mark"]["process"] not in ("gateway-1", "gateway-2")
    pushed = [note for note in notes if note["what"] == "push" and note["written"]]
    assert [(note["process"], note["written"]) for note in pushed] == [("gateway-2", [bob.device])]
    await managed(stack, "trace", "--unwatch", group)
