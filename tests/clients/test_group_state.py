"""What a device makes of the log of a group, and of answers that are older or newer than it. No server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from whatsapp_client import Client, Database, Entry, Session, Unreachable, lookups
from whatsapp_client.duties import MAX_OPEN, OPEN_PAUSE, Duties
from whatsapp_client.group_state import GroupState
from whatsapp_client.groups import Group
from whatsapp_client.history import History
from whatsapp_client.lookups import Lookups
from whatsapp_client.outbox import Outbox

G, ME = "group-1", "me"


def event(seq: int, kind: str, user: str | None = None, actor: str = "ann", **data: Any) -> Entry:
    frame = {
        "type": "event", "conversationId": G, "seq": seq, "kind": kind, "actorId": actor, "userId": user, "data": data,
        "serverTimestamp": seq,
    }  # fmt: skip
    return Entry.from_frame(frame)


def own(seq: int) -> Entry:
    return Entry(G, seq, ME, f"m{seq}", content=b"x")


class Device:
    def __init__(self) -> None:
        self.database = Database()
        self.history = History(self.database)
        self.touched: list[str] = []
        self.groups = GroupState(self.database, self.history, ME, self.touched.append)

    def hears(self, *entries: Entry) -> None:
        for entry in entries:
            for released in self.history[G].live(entry):
                self.groups.happened(released)

    def reads(self, user: str, seq: int) -> None:
        self.history[G].receipt(user, "read", seq)

    @property
    def group(self) -> Group:
        group = self.groups.group(G)
        assert group is not None
        return group

    def again(self) -> GroupState:
        self.database.commit()
        return GroupState(self.database, History(self.database), ME, self.touched.append)


def made(*others: str, creator: str = ME) -> Device:
    device = Device()
    settings = {"whoSends": "all", "whoEdits": "all", "whoAdds": "admins"}
    device.hears(
        event(1, "member_added", userIds=[creator, *others], creatorId=creator),
        event(2, "info", name="Sailing", description="", settings=settings),
    )
    return device


def test_the_first_two_events_say_everything():
    device = made("bob", "eve")
    assert (device.group.name, device.group.my_role, device.group.member_count) == ("Sailing", "creator", 3)
    assert device.group.settings.who_adds == "admins"
    assert not device.groups.unnamed(G)
    assert not device.groups.lacks_members(G)
    assert device.again().group(G) == device.group


def test_a_message_is_read_when_all_have_read_it_who_were_there_and_still_are():
    device = made("bob", "eve")
    device.history[G].own(own(3))
    device.reads("bob", 3)
    assert device.groups.receipt(G, 3) == "sent"
    device.hears(event(4, "member_added", "joe"))
    device.history[G].receipt("eve", "delivered", 4)
    assert device.groups.receipt(G, 3) == "delivered"  # joe came later
    device.reads("eve", 3)
    assert [device.groups.receipt(G, seq) for seq in (3, 4)] == ["read", "sent"]
    device.hears(event(5, "member_removed", "eve"), event(6, "member_added", "eve"))
    assert device.groups.receipt(G, 3) == "read"
    device.reads("bob", 6)
    device.reads("joe", 6)
    assert device.groups.receipt(G, 6) == "sent"  # what eve had read before counts no more
    assert device.again().receipt(G, 3) == "read"


def test_counts_of_a_large_group_wait_for_the_number_of_members():
    device = Device()
    device.groups.exists(G)
    device.groups.counted(G, 5, 40, 40)
    assert device.groups.receipt(G, 5) == "sent"
    device.groups.described(Group(G, "Sailing", member_count=42), device.groups.mark)
    assert device.groups.receipt(G, 5) == "sent"
    device.hears(event(6, "member_removed", "u1"))  # who has not read it goes
    assert device.groups.receipt(G, 5) == "read"
    assert not device.groups.lacks_members(G)


def test_a_group_that_shrinks_needs_its_list_and_one_that_grows_needs_none():
    device = made(*[f"u{i}" for i in range(31)])
    assert not device.groups.lacks_members(G)
    device.hears(event(3, "member_added", "more"))
    assert (device.groups.members(G), device.group.member_count) == (None, 33)
    device.hears(event(4, "member_removed", "more"))
    assert device.groups.lacks_members(G)
    mark = device.groups.mark
    device.hears(event(5, "member_removed", "u0"))
    assert not device.groups.roster(G, [ME, "u0"], mark)  # older than the event
    assert device.groups.roster(G, [ME, *[f"u{i}" for i in range(1, 31)]], device.groups.mark)
    assert device.group.member_count == 31


def test_an_answer_that_an_event_has_overtaken_is_not_taken():
    device = made("bob")
    mark = device.groups.mark
    device.hears(event(3, "info", name="Rowing"))
    old = Group(G, "Sailing", my_role="creator", member_count=2)
    assert not device.groups.described(old, mark)
    device.groups.listed(G, "Sailing", "", None, mark)
    assert (device.group.name, device.groups.ended(G)) == ("Rowing", "")
    # One that is newer than what is here is; the event it knows of already changes nothing.
    assert device.groups.described(Group(G, "Diving", my_role="creator", member_count=2), device.groups.mark)
    device.hears(event(4, "info", name="Diving"))
    assert device.group.name == "Diving"


def test_what_the_list_says_is_enough_until_this_user_comes_back():
    device = Device()
    device.groups.listed(G, "Sailing", "member", 3, device.groups.mark)
    assert (device.groups.incomplete(), device.groups.described_in_full(G), device.group.name) == (
        [],
        False,
        "Sailing",
    )
    assert device.again().incomplete() == []
    device.hears(event(7, "member_removed", ME), event(8, "member_added", ME))
    assert device.groups.incomplete() == [G] == device.again().incomplete()
    device.groups.listed(G, "Rowing", "member", 3, device.groups.mark)
    assert device.groups.incomplete() == []


def test_what_was_missed_in_the_log_is_mended_by_an_answer():
    """Events that expired before this device read them."""
    device = made("bob", "eve")
    assert device.groups.described(Group(G, "Sailing", my_role="admin", member_count=7), device.groups.mark)
    assert (device.group.member_count, device.groups.lacks_members(G)) == (7, True)


@pytest.mark.parametrize(("actor", "why"), [("ann", "removed"), (ME, "left")])
def test_the_end_of_a_membership_and_the_way_back(actor: str, why: str):
    device = made(ME, "bob", creator="ann")
    device.hears(event(3, "member_removed", ME, actor))
    assert (device.groups.ended(G), device.group.my_role, device.again().ended(G)) == (why, "", why)
    device.hears(
        event(4, "member_added", ME)
    )  # the log goes on elsewhere: `live` holds what lies above a hole
    assert (device.groups.ended(G), device.groups.unnamed(G)) == ("", True)


def test_nothing_waits_above_the_end_of_a_membership():
    """A gateway notices a removal within 5 s; what it took until then has a number above the last that is owed."""
    device = made(ME, creator="ann")
    device.history[G].own(own(5))
    assert device.history[G].hole
    device.hears(event(3, "member_removed", ME))
    assert not device.history[G].hole
    device.history[G].own(own(7))  # its ✓ came after the removal
    assert not device.history[G].hole
    assert [entry.seq for entry in device.history[G].entries] == [1, 2, 3, 5, 7]


def test_the_gap_of_a_membership_is_passed_by_one_page():
    device = made(ME, creator="ann")
    device.hears(event(3, "member_removed", ME))
    page = [event(20, "member_added", ME)]
    for released in device.history[G].page(page, 20):
        device.groups.happened(released)
    assert (device.history[G].position, device.history[G].hole, device.groups.ended(G)) == (20, False, "")
    device.hears(event(21, "info", name="Rowing"))
    assert device.history[G].position == 21


async def test_a_crash_while_the_application_is_slow_leaves_no_entry_without_its_effect(tmp_path: Path):
    """Entries of a page are in the file before the application has taken the first of them; so is what they change."""
    session = Session("+15550001", ME, "d", "", "")
    database = Database(tmp_path / "db")
    device = Client("http://127.0.0.1:1", session, database=database)
    stream = device.events()
    stream.queue = asyncio.Queue(1)
    page = [
        entry.fields
        for entry in (
            event(1, "member_added", ME),
            event(2, "info", name="x"),
            event(3, "member_removed", ME),
        )
    ]
    frame = {
        "type": "sync_batch",
        "conversationId": G,
        "events": page,
        "through": 3,
        "head": 3,
        "remaining": 0,
    }
    handling = asyncio.create_task(device._inbound.handle(frame))
    while not (stream.queue.full() and database.commits > 1):
        await asyncio.sleep(0)
    assert not handling.done()
    database.abandon()
    handling.cancel()
    with Database(tmp_path / "db") as again:
        later = Client("http://127.0.0.1:1", session, database=again)
        assert (later.history[G].position, later.chat(G).title, later.chat(G).read_only) == (
            3,
            "x",
            "removed",
        )


def test_what_was_never_sent_fails_at_the_end_and_the_rest_is_left_to_the_server():
    outbox = Outbox()
    first, second, third = [outbox.add(G, b"x") for _ in range(3)]
    elsewhere = outbox.add("other", b"x")
    outbox._window = 1
    assert [f["messageId"] for f in outbox.due(0.0)] == [first.message_id]
    closed = outbox.close(G, "not_member", "gone", now=0.0)
    assert closed == [second, third]
    assert [o.state for o in (first, second, third, elsewhere)] == ["queued", "failed", "failed", "queued"]
    refusal = {
        "type": "error",
        "code": "not_member",
        "messageId": first.message_id,
        "ref": first.ref,
        "retryable": False,
    }
    assert outbox.refuse(refusal, 0.0) is first
    outbox.retry(third)  # back in the group
    assert third.seq_num == 1


def test_open_chats_are_said_once_again_and_together():
    duties = Duties(History(Database()))
    duties.open("a", 0.0)
    assert duties.due(0.0) == []
    duties.connected(1.0)
    duties.synced()
    (frame,) = [f for f in duties.due(1.0) if f["type"] == "presence_subscribe"]
    assert (frame["conversationIds"], frame["userIds"]) == (["a"], [])
    for i in range(MAX_OPEN):
        duties.open(f"b{i}", 1.0)
    duties.close("b0")
    assert not [f for f in duties.due(1.1) if f["type"] == "presence_subscribe"]
    duties.synced()
    assert duties.next_due(1.1) == pytest.approx(OPEN_PAUSE - 0.1)
    (frame,) = [f for f in duties.due(1.0 + OPEN_PAUSE) if f["type"] == "presence_subscribe"]
    assert frame["conversationIds"] == [f"b{i}" for i in range(1, MAX_OPEN)]
    assert frame["closedConversationIds"] == ["a", "b0"]
    duties.disconnected(9.0)
    duties.connected(10.0)
    (frame,) = [f for f in duties.due(10.0) if f["type"] == "presence_subscribe"]
    assert len(frame["conversationIds"]) == MAX_OPEN - 1
    assert "closedConversationIds" not in frame


async def test_a_question_without_an_answer_is_asked_again_and_a_refused_one_is_not(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setattr(lookups, "GRACE", 0.0)
    monkeypatch.setattr(lookups, "FIRST", 0.01)
    answers: list[Any] = [Unreachable("x"), True, ValueError("nonsense"), True]
    asked: list[str] = []

    async def ask(conversation_id: str) -> bool:
        asked.append(conversation_id)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return bool(answer)

    questions, online = Lookups(ask), asyncio.Event()
    running = asyncio.create_task(questions.run(online))
    questions.want("a")
    await asyncio.sleep(0)
    assert asked == []  # not without a connection
    online.set()
    async with asyncio.timeout(5):
        while questions.asked < 1:
            await asyncio.sleep(0.001)
        questions.want("b")
        while len(asked) < 3:
            await asyncio.sleep(0.001)
        questions.want("b")
        questions.want("c")
        while questions.asked < 2:
            await asyncio.sleep(0.001)
    assert asked == ["a", "a", "b", "c"]
    running.cancel()
