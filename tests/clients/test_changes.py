"""Edits, deletes, reactions, votes and forwards of one's own: in the outbox like messages, in the view at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from whatsapp_client import (
    Client,
    Database,
    DeviceMismatch,
    Entry,
    MessageGone,
    MessageNotFound,
    SendFailed,
    SendLimitExceeded,
    Session,
    WindowExpired,
    events,
    member_hash,
)

from .connected import C, collect, connected, eventually, idle, message
from .scripted import Peer

OTHER = "0197c0de-0000-8000-8000-000000000002"
CHANGES = ("edit_message", "delete_message", "react", "vote", "send_message")


def client(database: Database | None = None) -> Client:
    return Client("http://127.0.0.1:1", Session("+1", "ann", "d", "t", "r"), database=database)


def stored(ann: Client, seq: int, text: str = "", sender: str = "ann", **fields: object) -> Entry:
    entry = Entry(C, seq, sender, f"m{seq}", content=(text or f"t{seq}").encode(), server_timestamp=seq)
    entry.fields |= fields
    ann.history[C].live(entry)
    return entry


async def written(peer: Peer, count: int) -> list[dict]:
    """The next frames that write something."""
    found: list[dict] = []
    while len(found) < count:
        frame = await peer.receive_any()
        if frame["type"] in CHANGES:
            found.append(frame)
    return found


async def test_changes_go_out_in_order_with_messages_and_again_with_the_same_ids():
    first: list[dict] = []

    async def lost(peer: Peer) -> None:
        await peer.synced()
        await peer.send(**message(1))
        first.extend(await written(peer, 5))
        await peer.tick(first[0], 2)
        peer.cut()

    async def good(peer: Peer) -> None:
        await peer.synced()
        again = await written(peer, 4)
        assert [{**frame, "ref": ""} for frame in again] == [{**frame, "ref": ""} for frame in first[1:]]
        for seq, frame in enumerate(again, 3):
            await peer.tick(frame, seq)
        await peer.until_closed()

    async with connected(lost, good) as (_, ann):
        await eventually(lambda: len(ann.messages(C)) == 1)
        sent = ann.send(C, "helo")
        edit = ann.edit(C, sent.message_id, "hello")
        react = ann.react(C, "m1", "👍")
        delete = ann.delete(C, sent.message_id)
        last = ann.send(C, "end")
        assert [o.message_id for o in ann.pending(C)] == [sent.message_id, last.message_id]
        assert ann.changes(C) == [edit, react, delete]
        async with asyncio.timeout(10):
            for outgoing in (sent, edit, react, delete, last):
                await outgoing.sent()
        assert [frame["type"] for frame in first] == [
            "send_message", "edit_message", "react", "delete_message", "send_message",
        ]  # fmt: skip
        assert [frame["seqNum"] for frame in first] == [1, 2, 3, 4, 5]
        assert first[1]["encryptedContent"] == "aGVsbG8="
        assert (first[2]["targetId"], first[2]["emoji"]) == ("m1", "👍")
        assert (first[3]["scope"], "encryptedContent" in first[3]) == ("everyone", False)
        shown = ann.view(C)
        assert [(s.text, s.deleted, s.waiting) for s in shown] == [
            ("t1", False, False), ("", True, False), ("end", False, False),
        ]  # fmt: skip
        assert shown[0].reactions == {"👍": ["ann"]}
        assert ann.history[C].position == 6


@pytest.mark.parametrize(
    ("code", "error"),
    [
        ("window_expired", WindowExpired), ("gone", MessageGone), ("not_found", MessageNotFound),
        ("limit_exceeded", SendLimitExceeded), ("forbidden", SendFailed),
    ],
)  # fmt: skip
async def test_what_is_refused_is_told_and_forgotten(code: str, error: type[SendFailed]):
    async def refusing(peer: Peer) -> None:
        await peer.synced()
        await peer.send(**message(1, sender="ann"))
        edit, react, text = await written(peer, 3)
        await peer.refuse(edit, code, retryable=False)
        # What was not stored does not count.
        (react, text) = await written(peer, 2)
        assert (react["seqNum"], text["seqNum"]) == (1, 2)
        await peer.tick(react, 2)
        await peer.tick(text, 3)
        await peer.until_closed()

    async with connected(refusing) as (_, ann):
        await eventually(lambda: len(ann.messages(C)) == 1)
        stream = ann.events()
        edit = ann.edit(C, "m1", "edited")
        ann.react(C, "m1", "👍")
        assert [(s.text, s.edited, s.waiting) for s in ann.view(C)] == [("edited", True, True)]
        last = ann.send(C, "end")
        await asyncio.wait_for(last.sent(), 10)
        assert next((s.text, s.edited, s.waiting) for s in ann.view(C)) == ("t1", False, False)
        failed = await collect(stream, 1, events.Failed)
        assert failed[0].outgoing is edit
        assert type(edit.error) is error
        assert (failed[0].code, ann.changes(C)) == (code, [])
        with pytest.raises(ValueError, match="failed"):
            ann.retry(edit)


async def test_changes_are_kept_over_restarts(tmp_path: Path):
    with Database(tmp_path / "ann.db") as database:
        ann = client(database)
        stored(ann, 1)
        stored(ann, 2, sender="bob")
        written_ = [
            ann.edit(C, "m1", "v2"),
            ann.react(C, "m2", "👍"),
            ann.react(C, "m2", "🎉"),
            ann.edit(C, "m1", "v3"),
        ]
        ann.flush()
    with Database(tmp_path / "ann.db") as database:
        ann = client(database)
        assert [o.message_id for o in ann.changes(C)] == [o.message_id for o in written_]
        assert [(s.text, s.reactions, s.waiting) for s in ann.view(C)] == [
            ("v3", {}, True), ("t2", {"🎉": ["ann"]}, True)
        ]  # fmt: skip
        frames = ann.outbox.due(0.0)
        assert [(f["type"], f["seqNum"]) for f in frames] == [
            ("edit_message", 1), ("react", 2), ("react", 3), ("edit_message", 4),
        ]  # fmt: skip
        assert ann.pending(C) == []


def test_what_cannot_be_changed():
    ann = client()
    stored(ann, 1)
    stored(ann, 2, sender="bob")
    for wrong in (
        lambda: ann.edit(C, "m2", "x"), lambda: ann.edit(C, "m1", ""), lambda: ann.edit(C, "unknown", "x"),
        lambda: ann.delete(C, "m2"), lambda: ann.react(C, "unknown", "👍"), lambda: ann.react(C, "m1", "x" * 65),
        lambda: ann.vote(C, "m1", ["a"]), lambda: ann.send(C, "x", kind="edit"), lambda: ann.edit(C, "m1", "x" * 65_537),
    ):  # fmt: skip
        with pytest.raises(ValueError):
            wrong()
    ann.delete(C, "m1")
    with pytest.raises(ValueError, match="no such"):
        ann.edit(C, "m1", "too late")
    waiting = ann.send(C, "not yet sent")
    ann.edit(C, waiting.message_id, "changed before it was sent")
    ann.react(C, waiting.message_id, "👍")
    (shown,) = [s for s in ann.view(C) if s.outgoing is waiting]
    assert (shown.text, shown.reactions, shown.entry.seq) == (
        "changed before it was sent",
        {"👍": ["ann"]},
        0,
    )


def test_forwarding():
    ann = client()
    entry = stored(
        ann, 1, sender="bob", forwardCount=3, mediaUrl="https://m/1", replyTo="m0", mentions=["ann"]
    )
    chats = [f"{OTHER[:-1]}{n}" for n in range(5)]
    forwarded = ann.forward(entry, chats)
    assert [o.conversation_id for o in forwarded] == chats
    assert len({o.fields["forwardId"] for o in forwarded}) == 1
    assert {o.text for o in forwarded} == {"t1"}
    fields = dict(forwarded[0].fields)
    assert fields.pop("forwardId")
    assert fields == {"forwardCount": 4, "mediaUrl": "https://m/1"}
    with pytest.raises(ValueError, match="5 at a time"):
        ann.forward(entry, [*chats, f"{OTHER[:-1]}9"])
    often = stored(ann, 2, sender="bob", forwardCount=4)
    with pytest.raises(ValueError, match="1 at a time"):
        ann.forward(often, chats[:2])
    assert ann.forward(often, [OTHER])[0].fields["forwardCount"] == 5
    ann.history[C].live(
        Entry(C, 3, "bob", type="delete", kind="event", fields={"targetId": "m2"}, server_timestamp=3)
    )
    with pytest.raises(ValueError, match="cannot be forwarded"):
        ann.forward(ann.messages(C)[1], [OTHER])


def test_replies_show_what_they_answer_as_it_is_now():
    ann = client()
    stored(ann, 1, sender="bob")
    stored(ann, 2, replyTo="m1")
    stored(ann, 3, replyTo="elsewhere")
    ann.send(C, "reply", replyTo="m1")
    first, second, third, waiting = ann.view(C)
    assert (first.reply, first.reply_to) == (None, "")
    assert (second.reply_to, second.reply and second.reply.text) == ("m1", "t1")
    assert (third.reply_to, third.reply) == ("elsewhere", None)
    assert waiting.reply
    assert waiting.reply.text == "t1"
    assert [s.reply and s.reply.text for s in ann.view(C, before=3, limit=1)] == ["t1"], "not on this page"
    ann.hide(C, "m1")
    assert [s.reply for s in ann.view(C)] == [None] * 3


def test_polls():
    ann = client()
    for wrong in (["a"], ["a", "a"], ["a", ""], [str(n) for n in range(13)], ["a", "x" * 101]):
        with pytest.raises(ValueError, match="a poll has"):
            ann.send_poll(C, "where?", wrong)
    outgoing = ann.send_poll(C, "where?", ["Pizza", "Pasta"])
    stored(ann, 1, sender="bob", text=outgoing.text)
    ann.history[C].live(Entry(C, 2, "bob", "p", kind="poll", content=outgoing.content, server_timestamp=2))

    def vote(seq: int, who: str, content: bytes | None) -> None:
        fields = {"targetId": "p", "data": {}}
        ann.history[C].live(
            Entry(
                C, seq, who, type="vote", kind="event", content=content, fields=fields, server_timestamp=seq
            )
        )

    vote(3, "bob", b'{"options":["Pizza","Pasta"]}')
    vote(4, "cat", b'{"options":["Pasta"]}')
    vote(5, "dan", b'{"options":["Sushi", 7]}')
    vote(6, "eve", b"\xff no JSON")
    poll = ann.shown(C, "p").poll
    assert (poll.question, poll.votes, poll.mine) == ("where?", {"Pizza": ["bob"], "Pasta": ["cat"]}, [])
    mine = ann.vote(C, "p", ["Pasta"])
    assert mine.frame()["encryptedContent"]
    assert ann.shown(C, "p").poll.mine == ["Pasta"]
    vote(7, "cat", None)
    assert ann.shown(C, "p").poll.votes == {"Pizza": ["bob"], "Pasta": ["ann"]}
    back = ann.vote(C, "p", [])
    assert "encryptedContent" not in back.frame()
    assert ann.shown(C, "p").poll.mine == []
    for wrong in (["Sushi"], ["Pizza", "Pasta"]):
        with pytest.raises(ValueError, match="option"):
            ann.vote(C, "p", wrong)
    assert ann.shown(C, "m1").poll is None, "a text is none"
    for broken in (b"", b"[" * 50_000, b'{"question":1}', b'{"question":"q","options":"ab"}'):
        ann.history[C].live(Entry(C, 8, "bob", "b", kind="poll", content=broken, server_timestamp=8))
        assert ann.shown(C, "b").poll is None
        ann.history[C].log.hide("b")
        ann = client()


def test_member_hash():
    ids = ["019a0c41-02b7-7f60-8d0c-2b7a3c9de402", "019a0c40-7d1e-7c2b-9a41-5f2f8d7f1a01"]
    expected = "b8b6ee2d2fb46be91f91b1b7976eb3b4f47cd85f46eae93cc2553a2cbf0392a5"
    assert member_hash(ids) == member_hash(reversed(ids)) == expected
    with pytest.raises(ValueError, match="hexadecimal"):
        member_hash(["bob"])


async def test_envelopes_are_the_callers_matter():
    mismatch = {"missing": [{"userId": "bob", "deviceId": "new"}], "extra": [], "stale": []}

    async def stale(peer: Peer) -> None:
        await peer.synced()
        (sent,) = await written(peer, 1)
        assert sent["envelopes"] == [1]
        await peer.refuse(sent, "device_mismatch", retryable=True, details=mismatch)
        (again,) = await written(peer, 1)
        assert (again["messageId"], again["envelopes"], again["seqNum"]) == (sent["messageId"], [1, 2], 1)
        await peer.tick(again, 1)
        await idle(peer)

    async with connected(stale) as (_, ann):
        outgoing = ann.send(C, "x", envelopes=[1])
        with pytest.raises(DeviceMismatch) as error:
            await asyncio.wait_for(outgoing.sent(), 5)
        assert error.value.missing == mismatch["missing"]
        ann.retry(outgoing, envelopes=[1, 2])
        await asyncio.wait_for(outgoing.sent(), 5)
