"""The blob of envelopes beside a message: a store keeps it as it is, as long as the content, and no longer."""

from __future__ import annotations

from typing import Any

from delivery.store.values import First, Outcome
from tests.contract.people import T0, People, new_id

BLOB = bytes(range(256)) * 400  # longer than a page of the database


async def test_it_comes_back_on_every_read(people: People, harness: Any) -> None:
    store = people.store
    group = await harness.group(people.alice, people.bob)
    for conversation in (people.conversation, group):
        results = await people.append(
            people.send(conversation=conversation, envelopes=BLOB),
            people.send(conversation=conversation),
            people.send(conversation=conversation, envelopes=b"", extra=b"\x80"),
        )
        assert [result.seq for result in results] == [1, 2, 3]
        wanted = [BLOB, None, b""]
        assert [e.envelopes for e in await people.read(people.bob, conversation=conversation)] == wanted
        page = await store.history(conversation, people.bob, 0, 4, 10)
        assert [e.envelopes for e in page.events] == wanted
        await people.append(people.send(conversation=conversation, envelopes=BLOB))
        listed = {item.conversation: item.last for item in await store.listed(people.bob, 10)}
        last = listed[conversation]
        assert last is not None
        assert last.envelopes == BLOB


async def test_an_edit_leaves_it_and_a_delete_takes_it(people: People, harness: Any) -> None:
    kept, gone = people.send(envelopes=BLOB), people.send(envelopes=BLOB)
    await people.append(kept, gone)
    await people.append(
        people.amend(kept.message_id, "edit", b"edited"),
        people.amend(gone.message_id, "edit", b"edited"),
        people.send(envelopes=b"in the same batch"),
        people.amend(gone.message_id, "delete"),
    )
    one, two, *events = await people.read(people.bob)
    assert (one.content, one.edited, one.envelopes) == (b"edited", True, BLOB)
    assert (two.content, two.envelopes) == (None, None)
    assert [(e.kind, e.envelopes) for e in events] == [
        ("edit", None), ("text", b"in the same batch"), ("delete", None),
    ]  # fmt: skip
    assert await harness.enveloped(people.conversation) == [1, 5]


async def test_other_envelopes_make_no_other_message(people: People) -> None:
    first = people.send(envelopes=b"first")
    await people.append(first)
    again = people.send(message_id=first.message_id, envelopes=b"encrypted anew")
    (result,) = await people.append(again, now=T0 + 1)
    assert (result.outcome, result.seq, result.at) == (Outcome.DUPLICATE, 1, T0)
    assert [e.envelopes for e in await people.read(people.bob)] == [b"first"]


async def test_what_a_sender_has_stored(people: People) -> None:
    first, other = people.send(), people.send(sender=people.bob, device=people.tablet)
    await people.append(first, other)
    asked = [
        (people.alice, first.message_id),
        (people.bob, first.message_id),
        (people.alice, new_id()),
        (people.bob, other.message_id),
        (people.alice, first.message_id),
    ]
    mine, none, never, of_bob, again = await people.store.stored(asked)
    assert mine is not None
    assert of_bob is not None
    assert (none, never, again) == (None, None, mine)
    assert [one._replace(at=0) for one in (mine, of_bob)] == [
        First(people.conversation, 1, 0, first.body_hash), First(people.conversation, 2, 0, other.body_hash),
    ]  # fmt: skip
    assert await people.store.stored([]) == []
    # Also what nobody else is owed, and what was emptied.
    await people.store.withhold(people.bob, people.alice, True, T0)
    hidden = people.send()
    await people.append(hidden, people.amend(first.message_id, "delete"))
    asked = [(people.alice, hidden.message_id), (people.alice, first.message_id)]
    assert [one and one.seq for one in await people.store.stored(asked)] == [3, 1]
