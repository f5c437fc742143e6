"""Acknowledgements, syncs and read receipts: when, and in which order."""

from __future__ import annotations

from whatsapp_client import Entry, History, Timing
from whatsapp_client.duties import Duties

C = "conversation-1"


def online(history: History | None = None) -> tuple[History, Duties]:
    history = history or History()
    duties = Duties(history, Timing(ack_delay=0.05, hole_grace=0.2, presence_ttl=300))
    duties.connected(0.0)
    duties.due(0.0)
    duties.synced()
    return history, duties


def receive(history: History, duties: Duties, seq: int, now: float) -> None:
    history[C].live(Entry(C, seq, "bob", f"m{seq}"))
    duties.live_stored(C, now)


def test_a_new_client_syncs_from_what_the_server_knows():
    duties = Duties(History())
    assert duties.due(0.0) == []
    duties.connected(0.0)
    assert duties.due(0.0) == [{"type": "sync", "ref": "sync-1"}]
    assert duties.due(1.0) == []


def test_a_returning_client_says_what_it_has_in_parts_of_500():
    history = History()
    for i in range(1_200):
        history[f"c{i}"].page([], through=i + 1)
    duties = Duties(history)
    duties.connected(0.0)
    frames = duties.due(0.0)
    assert [len(f["have"]) for f in frames] == [500, 500, 200]
    assert [f.get("more") for f in frames] == [True, True, None]
    assert frames[0]["have"]["c9"] == 10


def test_live_messages_share_an_ack():
    history, duties = online()
    receive(history, duties, 1, 1.00)
    receive(history, duties, 2, 1.02)
    assert duties.due(1.03) == []
    assert duties.due(1.05) == [{"type": "ack", "positions": {C: 2}}]
    assert duties.due(9.0) == []


def test_a_batch_is_acknowledged_at_once_with_what_it_passed():
    history, duties = online()
    history[C].page([], through=9)
    duties.page_stored(C, 1.0)
    assert duties.due(1.0) == [{"type": "ack", "positions": {C: 9}}]


def test_a_batch_read_again_is_acknowledged_again():
    """The server waits for the ack of each batch; one whose position was acknowledged before is no exception."""
    history, duties = online()
    for now in (1.0, 2.0):
        history[C].page([], through=9)
        duties.page_stored(C, now)
        assert duties.due(now) == [{"type": "ack", "positions": {C: 9}}]


def test_a_hole_is_asked_for_after_a_moment_and_again():
    history, duties = online()
    receive(history, duties, 1, 1.0)
    receive(history, duties, 3, 1.0)
    assert not [f for f in duties.due(1.1) if f["type"] == "sync"]
    (asked,) = [f for f in duties.due(1.21) if f["type"] == "sync"]
    assert asked["have"] == {C: 1}
    duties.synced()
    assert [f["have"] for f in duties.due(6.3) if f["type"] == "sync"] == [{C: 1}]


def test_a_hole_that_closes_by_itself_is_not_asked_for():
    history, duties = online()
    for seq in (1, 3, 2):
        receive(history, duties, seq, 1.0)
    assert [f["type"] for f in duties.due(5.0)] == ["ack"]


def test_nothing_above_a_hole_is_acknowledged():
    history, duties = online()
    receive(history, duties, 1, 1.0)
    receive(history, duties, 3, 1.0)
    assert duties.due(1.1) == [{"type": "ack", "positions": {C: 1}}]


def test_a_read_follows_the_ack_it_needs():
    history, duties = online()
    receive(history, duties, 1, 1.0)
    duties.read(C, 1)
    assert [f["type"] for f in duties.due(1.0)] == ["ack", "status_update"]
    assert duties.due(2.0) == []


def test_a_read_above_what_is_here_waits():
    history, duties = online()
    receive(history, duties, 1, 1.0)
    duties.read(C, 2)
    assert not [f for f in duties.due(1.1) if f["type"] == "status_update"]
    receive(history, duties, 2, 1.2)
    assert [f["upTo"] for f in duties.due(1.2) if f["type"] == "status_update"] == [2]


def test_a_read_that_may_be_lost_is_said_again():
    history, duties = online()
    receive(history, duties, 1, 1.0)
    duties.read(C, 1)
    duties.due(1.0)
    duties.disconnected(2.0)
    duties.connected(3.0)
    assert [f["type"] for f in duties.due(3.0)] == ["sync"]
    duties.synced()
    assert [f["upTo"] for f in duties.due(3.1) if f["type"] == "status_update"] == [1]


def test_presence_is_subscribed_again_before_it_ends_and_after_a_reconnect():
    _, duties = online()
    duties.watch(["bob"], 0.0)
    assert [f["userIds"] for f in duties.due(0.0)] == [["bob"]]
    assert duties.due(149.0) == []
    assert [f["userIds"] for f in duties.due(150.0)] == [["bob"]]
    duties.disconnected(160.0)
    duties.connected(170.0)
    assert [f["type"] for f in duties.due(170.0)] == ["sync", "presence_subscribe"]


def test_typing_is_not_kept_for_later():
    _, duties = online()
    duties.disconnected(1.0)
    duties.typing(C, True, "text")
    duties.connected(2.0)
    assert [f["type"] for f in duties.due(2.0)] == ["sync"]
