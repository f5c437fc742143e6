"""Edits, deletes and reactions: events of the log that change what a message says, for every reader at once."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from delivery.drain import DrainRequest, write_backlog
from delivery.store.values import VIEW_ONCE, Appended, Change, Logged, Outcome, PageRequest
from delivery.view import pack_extra
from tests.contract.people import T0, People, amendment, new_id, send, seqs
from whatsapp.wire import frames
from whatsapp.wire.codec import JSON

STORED, DUPLICATE, CONFLICT, OUT_OF_ORDER = (
    Outcome.STORED, Outcome.DUPLICATE, Outcome.CONFLICT, Outcome.OUT_OF_ORDER,
)  # fmt: skip
NO_TARGET, FORBIDDEN, GONE, TOO_LATE, TOO_MANY = (
    Outcome.NO_TARGET, Outcome.FORBIDDEN, Outcome.GONE, Outcome.TOO_LATE, Outcome.TOO_MANY,
)  # fmt: skip
MINUTE = 60_000


def shown(events: list[Logged]) -> list[tuple[int, str, bytes | None, bool]]:
    return [(event.seq, event.kind, event.content, event.edited) for event in events]


async def said(people: People, body: bytes = b"hello", **fields: Any) -> str:
    """The id of a message of Alice's."""
    one = people.send(body=body, **fields)
    (result,) = await people.append(one)
    assert result.outcome is STORED
    return one.message_id


async def outcome(people: People, *args: Any, now: int = T0, **fields: Any) -> Outcome:
    (result,) = await people.append(people.amend(*args, **fields), now=now)
    return result.outcome  # type: ignore[no-any-return]


# -- edits ---------------------------------------------------------------------------------------------------------------


async def test_an_edit_is_an_event_and_changes_its_message(people: People) -> None:
    first, _ = await said(people, b"helo"), await said(people, b"between")
    edit = people.amend(first, "edit", b"hello", seq_num=1)
    (result,) = await people.append(edit, now=T0 + 1)
    assert result == Appended(STORED, 3, T0 + 1)
    events = await people.read(people.bob)
    assert shown(events) == [
        (1, "text", b"hello", True), (2, "text", b"between", False), (3, "edit", b"hello", False),
    ]  # fmt: skip
    assert [event.ordinal for event in events] == [1, 2, 2]
    assert (events[2].message_id, events[2].seq_num, events[2].extra) == (edit.message_id, 1, b"\x80")
    assert (events[0].at, events[0].sent_at) == (T0, T0 - 5), "its place and times stay"


async def test_a_late_reader_is_owed_the_last_edit_only(people: People) -> None:
    first = await said(people, b"v1")
    for body in (b"v2", b"v3", b"v4"):
        assert await outcome(people, first, "edit", body) is STORED
    await said(people, b"after")
    expected = [(1, "text", b"v4", True), (4, "edit", b"v4", False), (5, "text", b"after", False)]
    assert shown(await people.read(people.bob)) == expected
    for limit in (1, 2, 3):
        assert shown(await people.read(people.bob, limit=limit)) == expected
    assert shown(await people.read(people.bob, after=1)) == expected[1:]
    for after, before in ((0, 6), (0, 0)):
        page = await people.store.history(people.conversation, people.bob, after, before, 10)
        assert shown(page.events) == expected
    page = await people.store.history(people.conversation, people.bob, 0, 5, 2)
    assert seqs(page.events) == [1, 4], "what is superseded takes no place of a page that is read backwards"


async def test_a_page_passes_what_was_superseded(people: People) -> None:
    first = await said(people, b"v1")
    for body in (b"v2", b"v3", b"v4"):
        await outcome(people, first, "edit", body)
    (page,) = await people.store.pages([PageRequest(people.conversation, people.bob, 1, 2)])
    assert (page.events, page.through, page.head) == ([], 3, 4)
    (page,) = await people.store.pages([PageRequest(people.conversation, people.bob, page.through, 2)])
    assert (seqs(page.events), page.through) == ([4], 4)


async def test_superseded_contents_are_nowhere(people: People, harness: Any) -> None:
    first = await said(people, b"secret-1")
    for body in (b"secret-2", b"secret-3"):
        await outcome(people, first, "edit", body)
    await outcome(people, first, "reaction", b"secret-4", sender=people.bob, device=people.tablet)
    await outcome(people, first, "reaction", b"secret-5", sender=people.bob, device=people.tablet)
    assert await _contents(people, harness) == {b"secret-3", b"secret-5"}
    assert await outcome(people, first, "delete") is STORED
    assert await _contents(people, harness) == set()


async def _contents(people: People, harness: Any) -> set[bytes]:
    return {value for value in await harness.contents(people.conversation) if b"secret" in value}


async def test_only_ones_own_messages_are_edited(people: People) -> None:
    first = await said(people, b"alice's")
    assert (
        await outcome(people, first, "edit", b"bob's", sender=people.bob, device=people.tablet) is FORBIDDEN
    )
    assert await outcome(people, first, "edit", b"from the desk", device=people.desk) is STORED
    assert shown(await people.read(people.bob))[0] == (1, "text", b"from the desk", True)


async def test_the_window_is_of_the_servers_time(people: People) -> None:
    first = await said(people)
    late = T0 + 15 * MINUTE
    assert await outcome(people, first, "edit", b"x", oldest=late - 15 * MINUTE, now=late) is STORED
    assert await outcome(people, first, "edit", b"y", oldest=late + 1 - 15 * MINUTE, now=late) is TOO_LATE
    # An edit does not make its message younger.
    assert await outcome(people, first, "edit", b"z", oldest=T0 + 1, now=late) is TOO_LATE
    assert await outcome(people, first, "delete", oldest=T0 + 1, now=late) is TOO_LATE
    assert await outcome(people, first, "delete", oldest=T0, now=late) is STORED


async def test_a_target_is_a_message_of_the_conversation_that_one_is_owed(
    people: People, harness: Any
) -> None:
    group = await harness.group(people.alice)
    early = send(group, people.alice, people.phone)
    await people.append(early)
    await harness.join(group, people.bob, 2)
    late = send(group, people.alice, people.phone)
    await people.append(late)
    as_bob = {"conversation": group, "sender": people.bob, "device": people.tablet}
    assert await outcome(people, early.message_id, "reaction", b"+", **as_bob) is NO_TARGET
    assert await outcome(people, late.message_id, "reaction", b"+", **as_bob) is STORED
    assert await outcome(people, late.message_id, "reaction", b"+") is NO_TARGET, "another conversation"
    assert await outcome(people, new_id(), "edit", b"x") is NO_TARGET
    first = await said(people)
    edit = people.amend(first, "edit", b"x")
    await people.append(edit)
    for kind in ("edit", "delete", "reaction"):
        assert await outcome(people, edit.message_id, kind, b"y") is NO_TARGET, "an event is no message"
    await harness.leave(group, people.bob, 3)
    await people.append(third := send(group, people.alice, people.phone))
    assert await outcome(people, third.message_id, "reaction", b"+", **as_bob) is NO_TARGET


async def test_an_id_means_the_first_message_that_has_it(people: People) -> None:
    """Somebody else may use the same id: clients could not tell which of the two an event is about."""
    first = await said(people, b"alice's")
    await people.append(people.send(message_id=first, body=b"bob's", sender=people.bob, device=people.tablet))
    as_bob = {"sender": people.bob, "device": people.tablet}
    assert await outcome(people, first, "edit", b"spoof", **as_bob) is FORBIDDEN
    assert await outcome(people, first, "delete", **as_bob) is FORBIDDEN
    assert await outcome(people, first, "edit", b"mine") is STORED
    assert [e.content for e in await people.read(people.bob)] == [b"mine", b"bob's", b"mine"]


async def test_a_drain_goes_on_behind_a_page_of_superseded_events(people: People) -> None:
    first = await said(people)
    for number in range(7):
        await outcome(people, first, "edit", b"%d" % number)
    await said(people)

    class Hot:
        added: list[dict[str, Any]] = []

        async def run(self, commands: Any) -> list[Any]:
            if commands[-1][0] != "XADD":
                return [1] * len(commands)  # it says what it will write about
            _, (_, _, _, _, *fields) = commands
            self.added.append(dict(zip(fields[::2], fields[1::2], strict=True)))
            return [1, b"1-1"]

    hot: Any = Hot()
    request = DrainRequest("key", people.bob, "json", 2, [(people.conversation, 1, 9)], people.tablet)
    assert await write_backlog(people.store, hot, JSON, request) == 1
    steps = [(entry["a"], entry["l"], entry["t"]) for entry in hot.added if entry["c"]]
    assert steps == [(1, 9, 9)], "in step with the gateway, which has sent up to 1"


# -- deletes -------------------------------------------------------------------------------------------------------------


async def test_a_delete_empties_the_message_and_all_about_it(people: People) -> None:
    first = await said(people, b"regret", extra=b"\x81\xa1a\x01", envelopes=b"keys")
    await outcome(people, first, "edit", b"regret it")
    await outcome(people, first, "reaction", b"+", sender=people.bob, device=people.tablet)
    (result,) = await people.append(people.amend(first, "delete"))
    assert result.outcome is STORED
    gone, event = await people.read(people.bob)
    assert (gone.seq, gone.kind, gone.content, gone.extra, gone.envelopes, gone.edited) == (
        1, "text", None, None, None, False,
    )  # fmt: skip
    assert (event.seq, event.kind, event.content, event.ordinal) == (4, "delete", b"", 1)
    for kind in ("edit", "delete", "reaction"):
        assert await outcome(people, first, kind, b"x") is GONE


async def test_only_ones_own_messages_are_deleted_unless_one_is_an_admin(people: People) -> None:
    store, boss, group = people.store, new_id(), new_id()
    await store.create_group(group, T0)
    members = (boss, people.alice, people.bob)
    await store.change(
        people.writer, group, boss, [Change(new_id(), "member_added", joins=members, speak=(boss,))], T0
    )
    sent = [send(group, people.alice, people.phone) for _ in range(3)]
    await people.append(*sent)

    async def delete(which: int, by: str) -> Outcome:
        return await outcome(
            people, sent[which].message_id, "delete", conversation=group, sender=by, device=new_id()
        )

    assert await delete(0, people.bob) is FORBIDDEN
    assert await delete(0, boss) is STORED
    assert await outcome(
        people, sent[1].message_id, "edit", b"x", conversation=group, sender=boss, device=new_id()
    ) is FORBIDDEN  # fmt: skip
    # The role is that of the moment, in one order with its own changes.
    await store.change(
        people.writer, group, boss, [Change(new_id(), "role", speak=(people.bob,), listen=(boss,))], T0
    )
    assert await delete(1, boss) is FORBIDDEN
    assert await delete(1, people.bob) is STORED
    await store.change(
        people.writer, group, people.bob, [Change(new_id(), "member_removed", leaves=(people.bob,))], T0
    )
    assert await delete(2, people.bob) is FORBIDDEN
    first = await said(people)
    assert await outcome(people, first, "delete", sender=people.bob, device=people.tablet) is FORBIDDEN


# -- reactions -----------------------------------------------------------------------------------------------------------


async def test_one_reaction_a_person_and_message(people: People) -> None:
    first = await said(people)
    as_bob = {"sender": people.bob, "device": people.tablet}
    for body in (b"+", b"-"):
        assert await outcome(people, first, "reaction", body, **as_bob) is STORED
    assert await outcome(people, first, "reaction", b"+") is STORED
    assert shown(await people.read(people.bob, after=1)) == [
        (3, "reaction", b"-", False), (4, "reaction", b"+", False),
    ]  # fmt: skip
    assert await outcome(people, first, "reaction", b"", **as_bob) is STORED
    assert shown(await people.read(people.bob, after=1)) == [
        (4, "reaction", b"+", False), (5, "reaction", b"", False),
    ]  # fmt: skip
    assert await outcome(people, first, "reaction", b"", **as_bob) is NO_TARGET
    assert await outcome(people, first, "reaction", b"*", **as_bob) is STORED
    assert seqs(await people.read(people.bob, after=1)) == [4, 6]


async def test_so_many_different_reactions(people: People, harness: Any) -> None:
    crowd = [new_id() for _ in range(5)]
    group = await harness.group(people.alice, *crowd)
    await people.append(one := send(group, people.alice, people.phone))

    async def react(who: int, body: bytes) -> Outcome:
        return await outcome(
            people, one.message_id, "reaction", body,
            conversation=group, sender=crowd[who], device=new_id(), distinct=3,
        )  # fmt: skip

    assert [await react(who, body) for who, body in enumerate((b"a", b"b", b"c"))] == [STORED] * 3
    assert await react(3, b"d") is TOO_MANY
    assert await react(3, b"a") is STORED
    assert await react(1, b"d") is STORED, "its own b makes room"
    assert await react(0, b"e") is TOO_MANY, "another has a too"
    assert await react(2, b"") is STORED
    assert await react(4, b"e") is STORED


# -- with the rules of the append ----------------------------------------------------------------------------------------


async def test_c2_an_amendment_has_one_place_too(people: People) -> None:
    first = await said(people)
    edit = people.amend(first, "edit", b"x", seq_num=1)
    (stored,) = await people.append(edit)
    (again,) = await people.append(edit, now=T0 + MINUTE)
    assert again == Appended(DUPLICATE, stored.seq, T0)
    other = people.amend(first, "edit", b"y", message_id=edit.message_id)
    assert (await people.append(other))[0].outcome is CONFLICT
    # Superseded, its message deleted, its window over: still the first result.
    await outcome(people, first, "edit", b"z")
    await outcome(people, first, "delete")
    edit.oldest = T0 + 1
    assert (await people.append(edit))[0] == Appended(DUPLICATE, stored.seq, T0)
    assert (await people.append(people.send(message_id=first)))[0].outcome is DUPLICATE


async def test_r19_numbers_count_amendments_that_were_stored(people: People) -> None:
    first = await said(people, seq_num=1)
    results = await people.append(
        people.amend(first, "edit", b"x", seq_num=3),
        people.amend(first, "edit", b"y", seq_num=2),
        people.amend(new_id(), "edit", b"z", seq_num=3),
        people.send(seq_num=4),
        people.send(seq_num=3),
    )
    assert [(r.outcome, r.expected) for r in results] == [
        (OUT_OF_ORDER, 2), (STORED, 0), (NO_TARGET, 0), (OUT_OF_ORDER, 3), (STORED, 0),
    ]  # fmt: skip
    assert shown(await people.read(people.bob))[0] == (1, "text", b"y", True)


async def test_a_list_is_judged_as_if_sent_one_by_one(people: People) -> None:
    one, two = people.send(body=b"1"), people.send(body=b"2")
    results = await people.append(
        one,
        people.amend(one.message_id, "edit", b"1a"),
        people.amend(two.message_id, "edit", b"2a"),
        two,
        people.amend(one.message_id, "delete"),
        people.amend(one.message_id, "edit", b"1b"),
        people.amend(two.message_id, "edit", b"2b"),
        people.send(conversation=new_id()),
    )
    assert [(r.outcome, r.seq) for r in results] == [
        (STORED, 1), (STORED, 2), (NO_TARGET, 0), (STORED, 3), (STORED, 4), (GONE, 0), (STORED, 5),
        (Outcome.NO_CONVERSATION, 0),
    ]  # fmt: skip
    assert shown(await people.read(people.bob)) == [
        (1, "text", None, False), (3, "text", b"2b", True), (4, "delete", b"", False), (5, "edit", b"2b", False),
    ]  # fmt: skip


async def test_an_amendment_has_an_outbox_row(people: People) -> None:
    first = await said(people)
    answer = await people.store.append(people.writer, [people.amend(first, "edit", b"x")], T0)
    rows = await people.store.outbox(people.writer, "e", T0)
    assert (rows[-1].row, rows[-1].heads) == (answer.row, ((people.conversation, 2),))
    answer = await people.store.append(people.writer, [people.amend(new_id(), "edit", b"x")], T0)
    assert answer.row == 0


async def test_unread_counts_no_amendment(people: People) -> None:
    first = await said(people)
    await outcome(people, first, "edit", b"x")
    await outcome(people, first, "reaction", b"+", sender=people.bob, device=people.tablet)
    (listed,) = await people.store.listed(people.bob, 10)
    assert (listed.unread, listed.head) == (1, 3)
    assert listed.last is not None
    assert listed.last.kind == "reaction"


async def test_a_locked_conversation_holds_up_only_its_own_amendments(people: People, harness: Any) -> None:
    store = await harness.gateway(lock_ms=100)
    free = await people.store.ensure_direct(people.alice, new_id(), new_id(), T0)
    stuck, there = await said(people), await said(people, conversation=free)
    batch = [
        people.amend(stuck, "edit", b"x"),
        people.amend(there, "edit", b"y", conversation=free),
        people.send(),
    ]
    async with harness.held(people.conversation):
        with pytest.raises(Exception) as raised:
            await store.append(people.writer, batch, T0)
    if harness.ALONE:
        results = raised.value.results  # type: ignore[attr-defined]
        assert [r and (r.outcome, r.seq) for r in results] == [None, (STORED, 2), None]
    again = await store.append(people.writer, batch, T0)
    assert [r.seq for r in again.results] == [2, 2, 3]


# -- races ---------------------------------------------------------------------------------------------------------------


async def test_edits_and_a_delete_over_two_gateways_leave_one_state(people: People, harness: Any) -> None:
    """Whoever is first: after the delete nothing brings a content back."""
    stores = [people.store, await harness.gateway()]
    for round_ in range(10):
        first = await said(people, b"v0")
        start = (await people.read(people.bob))[-1].seq

        async def edit(store: Any, device: str, target: str = first) -> list[Outcome]:
            found = []
            for number in range(4):
                one = people.amend(target, "edit", b"v%d" % number, device=device)
                found.append((await store.append(new_id(), [one], T0)).results[0].outcome)
            return found

        async def delete(target: str = first, wait: int = round_) -> Outcome:
            for _ in range(wait):
                await asyncio.sleep(0)
            return (await stores[1].append(new_id(), [people.amend(target, "delete")], T0)).results[0].outcome  # type: ignore[no-any-return]

        ones, twos, deleted = await asyncio.gather(
            edit(stores[0], people.phone), edit(stores[1], people.desk), delete()
        )
        assert deleted is STORED
        for outcomes in (ones, twos):
            assert set(outcomes) <= {STORED, GONE}
            assert outcomes == sorted(outcomes), "never stored again once it is gone"
        events = await people.read(people.bob, after=start - 1)
        assert [(e.kind, e.content) for e in events] == [("text", None), ("delete", b"")]


async def test_reactions_over_two_gateways_never_pass_the_limit(people: People, harness: Any) -> None:
    crowd = [new_id() for _ in range(24)]
    group = await harness.group(people.alice, *crowd)
    await people.append(one := send(group, people.alice, people.phone))
    stores = [people.store, await harness.gateway()]

    async def react(number: int) -> Outcome:
        dice = random.Random(number)
        mine = amendment(
            group, crowd[number], new_id(), one.message_id, "reaction", b"%d" % number, distinct=20
        )
        return (await dice.choice(stores).append(new_id(), [mine], T0)).results[0].outcome  # type: ignore[no-any-return]

    found = await asyncio.gather(*[react(number) for number in range(24)])
    assert sorted(found) == [STORED] * 20 + [TOO_MANY] * 4
    assert len(await people.read(people.alice, after=1, conversation=group)) == 20


async def test_c4_who_left_is_not_shown_an_edit_that_came_after(people: People, harness: Any) -> None:
    group = await harness.group(people.alice, people.bob)
    first = await said(people, b"before", conversation=group)
    second = await said(people, b"typo", conversation=group)
    assert await outcome(people, second, "edit", b"mended", conversation=group) is STORED  # 3
    await harness.leave(group, people.bob, 3)
    assert await outcome(people, first, "edit", b"without him", conversation=group) is STORED  # 4
    expected = [(1, "text", None, False), (2, "text", b"mended", True), (3, "edit", b"mended", False)]
    assert shown(await people.read(people.bob, conversation=group)) == expected
    for after, before in ((0, 0), (0, 10)):
        page = await people.store.history(group, people.bob, after, before, 10)
        assert shown(page.events) == expected
    assert shown(await people.read(people.alice, conversation=group))[0] == (1, "text", b"without him", True)


async def test_c4_nor_is_their_list(people: People, harness: Any) -> None:
    group = await harness.group(people.alice, people.bob)
    first = await said(people, b"before", conversation=group)
    await harness.leave(group, people.bob, 1)
    assert await outcome(people, first, "edit", b"without him", conversation=group) is STORED

    async def last(user: str) -> list[tuple[int, str, bytes | None, bool]]:
        listed = {one.conversation: one.last for one in await people.store.listed(user, 100)}
        return shown([event for event in [listed[group]] if event is not None])

    assert await last(people.bob) == [(1, "text", None, False)]
    assert await last(people.alice) == [(2, "edit", b"without him", False)]


async def test_a_message_that_may_be_seen_once_is_not_edited(people: People) -> None:
    frame = frames.SendMessage(
        message_id=new_id(),
        conversation_id=people.conversation,
        encrypted_content=b"x",
        timestamp=1,
        view_once=True,
    )
    once = people.send(extra=pack_extra(frame))
    assert VIEW_ONCE in once.extra
    (stored,) = await people.append(once)
    assert stored.outcome == STORED
    refused, deleted = await people.append(
        people.amend(once.message_id, "edit", b"again"), people.amend(once.message_id, "delete")
    )
    assert (refused.outcome, deleted.outcome) == (FORBIDDEN, STORED)
    assert [event.kind for event in await people.read(people.bob, stored.seq)] == ["delete"]
