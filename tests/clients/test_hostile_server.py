"""Whatever a broken server says, the client takes it or calls it nonsense; its file stays sound."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from whatsapp_client import Client, Database, DatabaseInUse, OutboxFull, Session
from whatsapp_client import outbox as outbox_module

C = "conversation-1"
NONSENSE = (ValueError, TypeError)
KINDS = (
    "message", "event", "sync_batch", "sync_complete", "status_update", "presence", "notice", "reconnect", "error", "new",
)  # fmt: skip
NAMES = (
    "conversationId", "seq", "senderId", "messageId", "encryptedContent", "timestamp", "serverTimestamp", "kind", "through",
    "head", "remaining", "events", "status", "userId", "upTo", "counts", "code", "message", "ref", "retryable", "retryAfterMs",
    "details", "serverTime", "afterMs", "data", "actorId", "edited", "deleted", "userIds", "creatorId", "name", "settings",
    "dissolved", "role", "mentions", "flagsVersion", "mutedUntil", "pinned", "draft", "onlineCount",
)  # fmt: skip
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.just(2**63), st.just(2**200), st.floats(allow_nan=True), st.text(max_size=6),
    st.just("\ud800"), st.sampled_from([C, "m1", "me", "bob", "sent", "read", "delivered", "reset", "out_of_order", "aGk="]),
    st.binary(max_size=3),
)  # fmt: skip
plausible = st.fixed_dictionaries(
    {"type": st.just("message"), "conversationId": st.just(C), "seq": st.integers(0, 6),
     "senderId": st.sampled_from(["bob", "me"]), "messageId": st.sampled_from(["m1", "m2", "m3"]),
     "encryptedContent": st.just("aGk=")}
)  # fmt: skip
about_groups = st.fixed_dictionaries(
    {"type": st.just("event"), "conversationId": st.just(C), "seq": st.integers(0, 6), "serverTimestamp": st.integers(0, 9),
     "kind": st.sampled_from(["member_added", "member_removed", "role", "info"])},
    optional={
        "actorId": st.sampled_from(["bob", "me"]), "userId": st.sampled_from(["bob", "me"]) | scalars,
        "data": st.dictionaries(
            st.sampled_from(NAMES), scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text(max_size=3), scalars),
            max_size=4,
        ),
    },
)  # fmt: skip
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4), max_leaves=8
)  # fmt: skip
frames = st.one_of(
    plausible,
    about_groups,
    st.builds(
        lambda kind, fields: {**fields, "type": kind},
        st.sampled_from(KINDS),
        st.dictionaries(st.sampled_from(NAMES), values | st.lists(plausible, max_size=3), max_size=10),
    ),
)


def client(database: Database | None = None) -> Client:
    return Client("http://127.0.0.1:1", Session("+1", "me", "phone", "", ""), database=database)


@settings(
    max_examples=80,
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(st.lists(frames, max_size=12))
def test_frames_of_any_shape_are_taken_or_refused_and_the_file_stays_sound(received: list[dict[str, Any]]):
    async def run() -> None:
        with Database() as database:
            device = client(database)
            device.outbox.add(C, b"x", message_id="m1")
            device.outbox.due(0.0)
            for frame in received:
                with contextlib.suppress(*NONSENSE):
                    await device._inbound.handle(frame)
                database.commit()
            for chat in device.chats():
                device.messages(chat.conversation_id)
                device.pending(chat.conversation_id)
                position = device.history[chat.conversation_id].position
                assert position is None or 0 <= position < 2**53
                device.receipt_at(chat.conversation_id, 3)
            database.commit()
            again = client(database)  # what is in the file is what is in memory
            for stored in again.chats():
                mine = device.chat(stored.conversation_id)
                assert dataclasses.replace(mine, last=None) == dataclasses.replace(stored, last=None)
                assert device.known_group(mine.conversation_id) == again.known_group(mine.conversation_id)
                assert device.receipt_at(mine.conversation_id, 3) == again.receipt_at(mine.conversation_id, 3)
            device._duties.connected(0.0)
            device._duties.due(1.0)
            seqs = [entry.seq for entry in device.history[C].entries]
            assert seqs == sorted(set(seqs))
            assert database.broken is None

    asyncio.run(run())


async def test_two_clients_of_one_process_cannot_share_a_database():
    with Database() as database:
        first, second = client(database), client(database)
        async with first:
            with pytest.raises(DatabaseInUse):
                await second.start()
        async with second:
            pass


def test_the_outbox_is_bounded_in_bytes(monkeypatch):
    monkeypatch.setattr(outbox_module, "MAX_WAITING_BYTES", 1000)
    outbox = outbox_module.Outbox()
    messages = [outbox.add(C, b"x" * 300) for _ in range(3)]
    with pytest.raises(OutboxFull, match="bytes"):
        outbox.add(C, b"x" * 300)
    outbox.confirm(messages[0].message_id, 1)
    last = outbox.add(C, b"x" * 300)
    outbox.due(0.0)
    error = {
        "type": "error",
        "code": "forbidden",
        "messageId": last.message_id,
        "ref": last.ref,
        "retryable": False,
    }
    assert outbox.refuse(error, 0.0) is last
    with pytest.raises(OutboxFull):
        outbox.add(C, b"x" * 300)
    outbox.discard(last)
    outbox.add(C, b"x" * 300)


async def test_counts_of_a_large_group_become_ticks_once_they_are_all():
    device = client()
    event = {
        "type": "event",
        "conversationId": C,
        "seq": 1,
        "kind": "member_added",
        "actorId": "ann",
        "serverTimestamp": 1,
    }
    users = ["ann", *(f"u{i}" for i in range(39))]
    await device._inbound.handle({**event, "data": {"userIds": users, "creatorId": "ann"}})
    update = {"type": "status_update", "conversationId": C, "status": "delivered", "upTo": 3}
    seen = []
    for delivered, read in ((38, 12), (39, 12), (39, 38), (39, 39)):
        await device._inbound.handle({**update, "counts": {"delivered": delivered, "read": read}})
        seen.append([device.receipt_at(C, seq) for seq in (3, 4)])
    assert seen == [["sent", "sent"], ["delivered", "sent"], ["delivered", "sent"], ["read", "sent"]]
    device.database.close()
