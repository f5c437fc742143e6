"""The outbox: one messageId until ✓, and the order of sending over every refusal and loss."""

from __future__ import annotations

import pytest

from whatsapp_client import Outbox, OutboxFull, Outgoing

C = "conversation-1"


class Log:
    """The rule of the server's log for one device: duplicates first, then last + 1, else `out_of_order`."""

    def __init__(self, last: int = 0) -> None:
        self.last = last
        self.rows: list[str] = []

    def take(self, frame: dict) -> dict:
        message_id = frame["messageId"]
        if message_id in self.rows:
            return {
                "ok": True,
                "messageId": message_id,
                "seq": self.rows.index(message_id) + 1,
                "duplicate": True,
            }
        if frame["seqNum"] != self.last + 1:
            details = {"expected": self.last + 1}
            return error("out_of_order", frame, retryable=True, details=details)
        self.last += 1
        self.rows.append(message_id)
        return {"ok": True, "messageId": message_id, "seq": len(self.rows)}


def error(code: str, frame: dict, **fields) -> dict:
    return {"type": "error", "code": code, "ref": frame["ref"], "messageId": frame["messageId"], **fields}


def answer(outbox: Outbox, reply: dict, now: float = 0.0) -> Outgoing | None:
    if reply.get("ok"):
        return outbox.confirm(reply["messageId"], reply["seq"], duplicate=reply.get("duplicate", False))
    return outbox.refuse(reply, now)


def drive(outbox: Outbox, log: Log, now: float = 0.0) -> None:
    """Send and answer until nothing is left."""
    for _ in range(100):
        frames = outbox.due(now)
        for reply in [log.take(frame) for frame in frames]:
            answer(outbox, reply, now)
        if not len(outbox):
            return
        now += 10
    raise AssertionError(f"{len(outbox)} messages never left")


def add(outbox: Outbox, count: int, conversation: str = C) -> list[Outgoing]:
    return [outbox.add(conversation, f"m{i}".encode()) for i in range(count)]


def test_numbers_count_from_one_in_each_conversation():
    outbox = Outbox()
    add(outbox, 2)
    add(outbox, 2, "conversation-2")
    assert sorted((f["conversationId"], f["seqNum"]) for f in outbox.due(0.0)) == [
        ("conversation-1", 1), ("conversation-1", 2), ("conversation-2", 1), ("conversation-2", 2),
    ]  # fmt: skip


def test_at_most_a_window_is_in_flight():
    outbox = Outbox(window=3)
    messages = add(outbox, 5)
    assert len(outbox.due(0.0)) == 3
    assert outbox.due(0.0) == []
    outbox.confirm(messages[0].message_id, 1)
    assert [f["messageId"] for f in outbox.due(0.0)] == [messages[3].message_id]


def test_messages_are_paced_and_time_alone_lets_them_go():
    outbox = Outbox(window=1000)
    add(outbox, 200)
    sent, now = len(outbox.due(100.0)), 100.0
    assert sent == 40
    for _ in range(100):
        wait = outbox.next_due(now)
        assert wait is not None
        now += wait
        sent += len(outbox.due(now))
        if now > 101.0:
            break
    assert 80 <= sent <= 100


def test_the_servers_limit_a_minute_is_kept():
    outbox = Outbox(window=1000)
    outbox.limit(20)
    add(outbox, 100)
    now, sent = 100.0, 0
    while now < 160.0:
        for frame in outbox.due(now):
            sent += 1
            outbox.confirm(frame["messageId"], sent)
        now += 0.5
    assert 30 <= sent <= 40  # 18 at once, then 18 a minute


def test_after_a_lost_connection_the_same_messages_go_again_in_order():
    outbox = Outbox()
    messages = add(outbox, 4)
    first = outbox.due(0.0)
    outbox.confirm(messages[0].message_id, 1)
    outbox.disconnected()
    again = outbox.due(0.0)
    assert [(f["messageId"], f["seqNum"]) for f in again] == [
        (f["messageId"], f["seqNum"]) for f in first[1:]
    ]


def test_a_lost_tick_is_answered_as_a_duplicate_and_not_shown_twice():
    outbox, log = Outbox(), Log()
    messages = add(outbox, 3)
    for frame in outbox.due(0.0):
        log.take(frame)  # stored, but every answer is lost
    outbox.disconnected()
    drive(outbox, log)
    assert log.rows == [m.message_id for m in messages]
    assert all(m.state == "sent" and m.duplicate for m in messages)


def test_what_follows_a_refused_message_goes_again_behind_it():
    outbox, log = Outbox(), Log()
    messages = add(outbox, 4)
    frames = outbox.due(0.0)
    answer(outbox, log.take(frames[0]))
    answer(outbox, error("unavailable", frames[1], retryable=True))
    for frame in frames[2:]:
        answer(outbox, log.take(frame))  # out_of_order, expected 2
    assert outbox.due(0.0) == []  # held back for a moment
    drive(outbox, log, now=60.0)
    assert log.rows == [m.message_id for m in messages]


def test_rate_limited_waits_as_long_as_the_server_says():
    outbox = Outbox()
    add(outbox, 1)
    frame = outbox.due(0.0)[0]
    outbox.refuse(error("rate_limited", frame, retryable=True, retryAfterMs=3_000), 0.0)
    assert outbox.due(2.9) == []
    wait = outbox.next_due(0.0)
    assert wait is not None
    assert wait >= 3.0
    assert [f["messageId"] for f in outbox.due(20.0)] == [frame["messageId"]]


def test_a_new_process_learns_its_number_from_the_server():
    outbox, log = Outbox(), Log(last=57)
    messages = add(outbox, 3)
    drive(outbox, log)
    assert [m.seq_num for m in messages] == [58, 59, 60]
    assert log.rows == [m.message_id for m in messages]
    assert outbox.add(C, b"next").seq_num == 61


def test_an_answer_to_an_earlier_transmission_changes_nothing():
    outbox = Outbox()
    add(outbox, 2)
    old = outbox.due(0.0)
    outbox.refuse(error("out_of_order", old[0], retryable=True, details={"expected": 5}), 0.0)
    new = outbox.due(0.0)
    assert [f["seqNum"] for f in new] == [5, 6]
    outbox.refuse(error("out_of_order", old[1], retryable=True, details={"expected": 5}), 0.0)
    assert outbox.due(0.0) == []
    assert [m.seq_num for m in outbox.waiting(C)] == [5, 6]


def test_a_message_refused_for_good_frees_its_number():
    outbox, log = Outbox(), Log()
    messages = add(outbox, 3)
    frames = outbox.due(0.0)
    failed = answer(outbox, error("forbidden", frames[0], retryable=False, message="no"))
    assert failed is messages[0]
    assert failed.error is not None
    for frame in frames[1:]:
        answer(outbox, log.take(frame))
    drive(outbox, log, now=60.0)
    assert log.rows == [m.message_id for m in messages[1:]]
    assert [m.seq_num for m in messages[1:]] == [1, 2]
    assert outbox.add(C, b"next").seq_num == 3


def test_the_last_message_refused_for_good_frees_its_number():
    outbox, log = Outbox(), Log()
    add(outbox, 1)
    answer(outbox, error("too_large", outbox.due(0.0)[0], retryable=False))
    later = outbox.add(C, b"next")
    drive(outbox, log)
    assert log.rows == [later.message_id]


def test_an_answer_that_never_comes_is_asked_for_again():
    outbox = Outbox()
    add(outbox, 1)
    first = outbox.due(0.0)
    assert outbox.due(9.9) == []
    second = outbox.due(10.0)
    assert [f["messageId"] for f in second] == [f["messageId"] for f in first]
    assert second[0]["ref"] != first[0]["ref"]


def test_a_late_tick_of_an_earlier_transmission_counts():
    outbox = Outbox()
    message = add(outbox, 1)[0]
    outbox.due(0.0)
    outbox.disconnected()
    assert outbox.confirm(message.message_id, 7) is message
    assert outbox.due(0.0) == []
    assert outbox.confirm(message.message_id, 7) is None


def test_the_outbox_is_bounded_and_content_too():
    outbox = Outbox(limit=2)
    add(outbox, 2)
    with pytest.raises(OutboxFull):
        outbox.add(C, b"")
    with pytest.raises(ValueError, match="65536"):
        Outbox().add(C, bytes(65_537))


def test_a_server_that_refuses_for_ever_is_not_flooded():
    outbox, now, sent = Outbox(), 0.0, 0
    add(outbox, 1)
    for _ in range(200):
        frames = outbox.due(now)
        sent += len(frames)
        for frame in frames:
            outbox.refuse(error("out_of_order", frame, retryable=True, details={"expected": sent + 5}), now)
        now += 0.01
    assert sent < 20
