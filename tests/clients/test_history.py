"""A conversation on this device: order, holes, repetition, and what its position promises."""

from __future__ import annotations

import random

import pytest

from whatsapp_client import Conversation, Entry

C = "conversation-1"


def entry(seq: int, sender: str = "bob", message_id: str = "") -> Entry:
    return Entry(C, seq, sender, message_id or f"m{seq}")


def seqs(entries: list[Entry]) -> list[int]:
    return [e.seq for e in entries]


def test_the_first_live_entry_opens_the_conversation():
    conversation = Conversation(C)
    assert seqs(conversation.live(entry(7))) == [7]
    assert conversation.position == 7


def test_an_entry_above_a_hole_waits_and_its_position_is_not_promised():
    conversation = Conversation(C)
    conversation.live(entry(1))
    assert conversation.live(entry(3)) == []
    assert conversation.hole
    assert conversation.position == 1
    assert seqs(conversation.live(entry(2))) == [2, 3]
    assert not conversation.hole
    assert conversation.position == 3


def test_through_closes_a_hole_that_nothing_fills():
    conversation = Conversation(C)
    conversation.live(entry(1))
    conversation.live(entry(4))
    assert seqs(conversation.page([entry(3)], through=3)) == [3, 4]
    assert conversation.position == 4


def test_a_page_is_shown_in_order_once():
    conversation = Conversation(C)
    assert seqs(conversation.page([entry(2), entry(3)], through=5)) == [2, 3]
    assert conversation.position == 5
    assert conversation.page([entry(2), entry(3)], through=5) == []
    assert conversation.repeated == 2


def test_the_same_message_under_another_number_is_dropped_but_counts_for_the_position():
    conversation = Conversation(C)
    conversation.live(entry(1, message_id="a"))
    assert conversation.live(entry(2, message_id="a")) == []
    assert conversation.position == 2
    assert seqs(conversation.live(entry(3))) == [3]
    assert conversation.repeated == 1


def test_our_own_number_fills_the_line():
    conversation = Conversation(C)
    conversation.live(entry(1))
    assert conversation.own(entry(2, "ann")) == []
    assert conversation.position == 2
    assert seqs(conversation.live(entry(3))) == [3]


def test_what_waited_for_our_own_number_is_released_by_it():
    conversation = Conversation(C)
    conversation.live(entry(1))
    assert conversation.live(entry(3)) == []
    assert seqs(conversation.own(entry(2, "ann"))) == [3]
    assert seqs(conversation.entries) == [1, 2, 3]


def test_our_own_messages_are_here_before_anybody_else_has_written():
    conversation = Conversation(C)
    conversation.own(entry(1, "ann"))
    conversation.own(entry(2, "ann"))
    assert seqs(conversation.entries) == [1, 2]
    assert seqs(conversation.live(entry(3))) == [3]
    assert (conversation.position, conversation.hole) == (3, False)
    assert seqs(conversation.entries) == [1, 2, 3]


def test_our_own_message_never_opens_a_conversation():
    """Older entries may be on their way: a position from it would drop them, and acknowledge them unseen (C4, C5)."""
    conversation = Conversation(C)
    assert conversation.own(entry(5, "ann")) == []
    assert conversation.position is None
    assert seqs(conversation.page([entry(3), entry(4)], through=4)) == [3, 4]
    assert conversation.position == 5
    assert seqs(conversation.entries) == [3, 4, 5]


def test_our_own_late_tick_takes_its_place_below_the_position():
    conversation = Conversation(C)
    conversation.live(entry(1))
    conversation.page([entry(3)], through=3)
    assert conversation.own(entry(2, "ann")) == []
    assert seqs(conversation.entries) == [1, 2, 3]
    assert conversation.position == 3


def test_a_late_tick_shows_what_was_hidden_below_its_number():
    conversation = Conversation(C)
    conversation.own(entry(2, "ann"))
    conversation.own(entry(3, "ann"))
    assert seqs(conversation.live(entry(5))) == [5]  # whose number 4 is, nobody knows yet
    assert seqs(conversation.entries) == [5]
    conversation.own(entry(4, "ann"))
    assert seqs(conversation.entries) == [2, 3, 4, 5]


def test_a_late_tick_does_not_pass_a_number_that_is_missing():
    conversation = Conversation(C)
    conversation.own(entry(1, "ann"))
    conversation.own(entry(3, "ann"))
    conversation.live(entry(5))
    conversation.own(entry(4, "ann"))
    assert seqs(conversation.entries) == [3, 4, 5]


def test_older_history_promises_nothing():
    conversation = Conversation(C)
    conversation.earlier([entry(1), entry(2)])
    assert conversation.position is None
    assert seqs(conversation.entries) == [1, 2]
    assert seqs(conversation.page([entry(3)], through=3)) == [3]


def test_receipts_only_grow_and_read_implies_delivered():
    conversation = Conversation(C)
    assert conversation.receipt("bob", "delivered", 5)
    assert not conversation.receipt("bob", "delivered", 4)
    assert conversation.receipt("bob", "read", 6)
    assert conversation.receipts["bob"].delivered == 6
    assert not conversation.receipt("bob", "delivered", 6)


def test_any_order_of_arrival_shows_the_same_log():
    for seed in range(200):
        rng = random.Random(seed)
        conversation = Conversation(C)
        shown = seqs(conversation.live(entry(1)))
        pending = [e for e in range(2, 12) for _ in range(rng.randint(1, 2))]
        rng.shuffle(pending)
        for seq in pending:
            if rng.random() < 0.2 and conversation.position is not None:
                through = conversation.position + rng.randint(0, 2)
                page = [entry(s) for s in range(conversation.position + 1, min(through, 11) + 1)]
                shown += seqs(conversation.page(page, min(through, 11)))
            shown += seqs(conversation.live(entry(seq)))
        assert shown == list(range(1, 12)), seed
        assert conversation.position == 11
        assert not conversation.hole


def removal(seq: int, user: str = "ann", **data: bool) -> Entry:
    kind = "info" if data else "member_removed"
    return Entry(C, seq, "bob", type=kind, fields={"userId": user, "data": data})


@pytest.mark.parametrize("paged", [False, True], ids=["live", "paged"])
@pytest.mark.parametrize("end", [removal(2), removal(2, "", dissolved=True)], ids=["removed", "dissolved"])
def test_own_numbers_above_the_end_of_the_membership_move_no_position(end: Entry, paged: bool):
    """Who is removed can send for some seconds. A position up there is above what the server owes: it answered with `reset`, and
    what was here was read again. Found by trials."""
    conversation = Conversation(C)
    conversation.live(entry(1))
    conversation.own(entry(3, "ann"))
    conversation.own(entry(4, "ann"))

    shown = conversation.page([end], through=2) if paged else conversation.live(end)

    assert seqs(shown) == [2]
    assert conversation.position == 2
    assert not conversation.hole
    # And when we are back, what is owed then comes as a page.
    assert conversation.live(entry(9)) == []
    assert seqs(conversation.page([entry(7)], through=8)) == [7, 9]
    assert conversation.position == 9


def test_somebody_elses_removal_is_an_event_like_others():
    conversation = Conversation(C)
    conversation.live(entry(1))
    conversation.own(entry(3, "ann"))
    assert seqs(conversation.live(removal(2, "cat"))) == [2]
    assert conversation.position == 3
