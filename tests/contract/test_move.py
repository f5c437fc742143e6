"""A log that moves from PostgreSQL to Cassandra reads there as it read here, and goes on where it was."""

from __future__ import annotations

from typing import Any

import pytest

from delivery.store import moving
from delivery.store.cassandra import events, rows
from delivery.store.cassandra.compared import Differs
from delivery.store.cassandra.moved import Target
from delivery.store.moving import PRINTS
from delivery.store.values import Outcome, PageRequest, PositionWrite
from tests.contract.both import Both
from tests.contract.people import T0, amendment, new_id, send

pytestmark = pytest.mark.needs_cassandra


async def test_it_reads_there_as_it_read_here(both: Both) -> None:
    assert await both.move() == 3
    await both.verify()
    old, new = await both.read(both.old), await both.read(both.new)
    for name in old:
        assert new[name] == old[name], name


async def test_a_later_pass_brings_what_has_changed_since_and_nothing_else(both: Both) -> None:
    await both.move()
    await both.say(both.ann, both.direct, b"later", seq_num=3)
    await both.amend(both.ann, both.direct, both.first, "delete")
    await both.old.save([PositionWrite(both.devices[both.bob], both.direct, 6)], [], T0 + 50)
    assert await both.move() == 1
    await both.verify()
    old, new = await both.read(both.old), await both.read(both.new)
    for name in old:
        assert new[name] == old[name], name
    contents = await both.session.rows(
        "SELECT content FROM $.event WHERE conversation = ? AND bucket = 0", both.direct
    )
    assert b"eins" not in [row[0] for row in contents]


async def test_the_log_goes_on_where_it_was(both: Both) -> None:
    await both.move()
    head = (await both.old.roster_heads([both.direct]))[both.direct].head
    device = both.devices[both.ann]
    wrong = send(both.direct, both.ann, device, body=b"x", seq_num=9)
    again = send(both.direct, both.ann, device, body=b"one", seq_num=1, message_id=both.first)
    right = send(both.direct, both.ann, device, body=b"next", seq_num=3)
    results = (await both.new.append(new_id(), [again, wrong, right], T0 + 200)).results
    assert [one.outcome for one in results] == [Outcome.DUPLICATE, Outcome.OUT_OF_ORDER, Outcome.STORED]
    assert (results[0].seq, results[1].expected, results[2].seq) == (1, 3, head + 1)
    edit = amendment(both.direct, both.ann, device, both.first, "edit", b"uno")
    assert (await both.new.append(new_id(), [edit], T0 + 201)).results[0].outcome is Outcome.STORED
    (page,) = await both.new.pages([PageRequest(both.direct, both.bob, 0)])
    assert page.events[0].content == b"uno"
    assert [event.kind for event in page.events].count("edit") == 1


#: What may be wrong on the other side, and the statement that makes it so. ``%(…)s`` are ids of the log.
_PLANTED = {
    "a message says something else": "UPDATE $.event USING TIMESTAMP 2305843009213693952 SET content = 0x00"
    " WHERE conversation = %(direct)s AND bucket = 0 AND seq = 3 AND message_id = %(third)s",
    "a message is lost": "DELETE FROM $.event WHERE conversation = %(direct)s AND bucket = 0 AND seq = 3",
    "its repetition would not be recognised": "DELETE FROM $.message WHERE message_id = %(first)s",
    "a reaction is lost": "DELETE FROM $.about WHERE conversation = %(direct)s AND target = 1",
    "it would not vanish": f"DELETE FROM $.vanishing WHERE hour = {(T0 + 60_005) // 3_600_000}",
    "who is in a group": "DELETE FROM $.member WHERE conversation = %(group)s AND member = %(cat)s",
    "a user does not find it": "DELETE FROM $.roster WHERE member = %(bob)s AND conversation = %(direct)s",
    "two users do not find it": "DELETE FROM $.direct WHERE low = %(ann)s AND high = %(bob)s",
    "how far it was read": "DELETE FROM $.receipt WHERE conversation = %(direct)s AND member = %(bob)s",
    "whom it mentions": "DELETE FROM $.mention WHERE conversation = %(group)s AND member = %(ann)s",
    "a device is lost": "DELETE FROM $.device USING TIMESTAMP 2305843009213693952 WHERE member = %(bob)s",
    "how far a device is": "DELETE FROM $.position WHERE device = %(phone)s AND link = %(link)s",
    "what a device counts": "DELETE FROM $.seqnum WHERE device = %(anns)s",
    "a draft": "UPDATE $.flags USING TIMESTAMP 2305843009213693952 SET draft = 0x65"
    " WHERE member = %(ann)s AND conversation = %(direct)s",
}


@pytest.mark.parametrize("what", _PLANTED)
async def test_what_is_not_the_same_is_noticed(both: Both, what: str) -> None:
    await both.move()
    await both.verify()
    ((third,),) = await both.session.rows(
        "SELECT message_id FROM $.event WHERE conversation = ? AND bucket = 0 AND seq = 3", both.direct
    )
    phone = both.devices[both.bob]
    ids = {
        "direct": both.direct, "group": both.group, "ann": both.ann, "bob": both.bob, "cat": both.cat, "first": both.first,
        "third": third, "phone": phone, "link": T0 * 1_000, "anns": both.devices[both.ann],
    }  # fmt: skip
    await both.session.run(_PLANTED[what] % ids)
    with pytest.raises(Differs):
        await both.verify()


async def test_what_differs_is_copied_anew_by_the_next_pass(both: Both) -> None:
    await both.move()
    await both.session.run(
        f"DELETE FROM $.event WHERE conversation = {both.direct} AND bucket = 0 AND seq = 3"
    )
    assert await both.move(compare=False) == 0
    with pytest.raises(Differs, match=both.direct):
        await both.verify()
    assert await both.move() == 1
    await both.verify()


async def test_what_was_compared_and_has_not_changed_is_not_compared_again(both: Both) -> None:
    """The twin of what the cut-over does without --quick: a difference that comes after the comparison is not seen."""
    everything = (await both.passed(compare=True)).compared
    assert everything == 3 + 3 + 1
    assert (await both.passed(compare=True)).compared == 0
    await both.say(both.bob, both.direct, b"more")
    assert (await both.passed(compare=True)).compared == 1
    await both.session.run(
        f"DELETE FROM $.event WHERE conversation = {both.direct} AND bucket = 0 AND seq = 3"
    )
    assert (await both.passed(compare=True)).compared == 0
    with pytest.raises(Differs):
        await both.passed(compare=True, trust=False)


async def test_content_that_goes_between_two_passes_goes_here_too(both: Both) -> None:
    """Nothing of the head changes when a message vanishes."""
    await both.move()
    assert await both.old.vanish(T0 + 10 * 60_000, 100) == 1
    assert await both.move() == 1
    await both.verify()
    rows = await both.session.rows(
        "SELECT content FROM $.event WHERE conversation = ? AND bucket = 0", both.direct
    )
    assert b"three" not in [row[0] for row in rows]


async def test_of_a_long_log_only_what_has_changed_is_copied_again(
    both: Both, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And what is in force about an old message, from whatever part of the log."""
    bucket = 4
    monkeypatch.setattr(rows, "BUCKET", bucket)
    monkeypatch.setattr(events, "BUCKET", bucket)
    monkeypatch.setattr(
        moving, "PRINTS", {kind: sql.replace("4096", str(bucket)) for kind, sql in PRINTS.items()}
    )
    monkeypatch.setattr("delivery.store.move.PRINTS", moving.PRINTS)
    for number in range(12):
        await both.say(both.ann, both.direct, b"%d" % number, seq_num=3 + number)
    old = await both.say(both.ann, both.direct, b"old", seq_num=15)
    for number in range(12):
        await both.say(both.ann, both.direct, b"%d" % number, seq_num=16 + number)
    await both.amend(both.bob, both.direct, old, "reaction", b"1")
    await both.move()
    await both.verify()
    copied: list[int] = []
    copy = Target._bucket

    async def counted(
        self: Target, source: Any, conversation: str, number: int, *rest: Any, **options: Any
    ) -> int:
        copied.append(number)
        return await copy(self, source, conversation, number, *rest, **options)

    monkeypatch.setattr(Target, "_bucket", counted)
    await both.amend(both.bob, both.direct, old, "reaction", b"2")
    await both.amend(both.ann, both.direct, old, "edit", b"new")
    await both.move()
    head = (await both.old.roster_heads([both.direct]))[both.direct].head
    # That of the message, those of the old and of the new events about it.
    assert set(copied) == {19 // bucket, (head - 2) // bucket, (head - 1) // bucket, head // bucket}, (
        copied,
        head,
    )
    await both.verify()


async def test_a_pass_that_was_interrupted_is_begun_anew(both: Both, monkeypatch: pytest.MonkeyPatch) -> None:
    async def dies(*_: Any) -> None:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(Target, "_write", dies)
        with pytest.raises(ExceptionGroup):
            await both.move()
    await both.amend(both.ann, both.direct, both.first, "delete")
    await both.move()
    await both.verify()
