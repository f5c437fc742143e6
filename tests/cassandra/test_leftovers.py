"""Copies of documents that nobody looks after go, and nothing is lost by it."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from delivery.store.cassandra import leftovers
from delivery.store.cassandra.copies import key_of
from tests.cassandra.hotnode import Gateways, HotNode, gateways, hot_node, short
from tests.contract.people import People, new_id

__all__ = ["gateways", "hot_node", "short"]  # fixtures

pytestmark = pytest.mark.usefixtures("short")


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every copy counts as one that nobody has used for long."""
    monkeypatch.setattr(leftovers, "LEFT_S", 0)


async def rounds(store: Any, count: int = 30) -> int:
    """What so many rounds have ended. They walk over the copies of other tests, too."""
    return sum([await store._leftovers.once() for _ in range(count)])


@pytest.fixture
def node(hot_node: HotNode) -> HotNode:
    hot_node.flush()
    return hot_node


@pytest.mark.usefixtures("old")
async def test_a_copy_of_a_dead_process_is_called_back(gateways: Gateways, node: HotNode) -> None:
    dead, store = await gateways.open(), await gateways.open()
    people = await People(dead).meet()
    assert await people.say(b"1", b"2") == [1, 2]
    assert node.copies(people.conversation)
    people.store = store
    assert await rounds(store) >= 1
    assert node.copies(people.conversation) == []
    (document,) = (await store._documents.read([people.conversation])).values()
    assert (document.hot, document.head) == (None, 2)
    assert await people.say(b"3") == [3]


@pytest.mark.usefixtures("old")
async def test_a_copy_that_no_document_names_is_deleted(gateways: Gateways, node: HotNode) -> None:
    """Its process died before the document was written, or before it could delete the copy."""
    store = await gateways.open()
    people = await People(store).meet()
    assert await people.say(b"1") == [1]
    (kept,) = node.copies(people.conversation)
    with contextlib.closing(node.redis) as redis:
        for conversation in (people.conversation, new_id()):
            redis.copy(kept.decode(), key_of(conversation, 7))
    document = (await store._documents.read([people.conversation]))[people.conversation]
    assert document.hot is not None
    assert node.copies(people.conversation) != [kept]
    assert await rounds(store) >= 3
    with contextlib.closing(node.redis) as redis:
        assert list(redis.scan_iter("document:*")) == []
    assert await people.say(b"2") == [2]


async def test_a_copy_in_use_stays(gateways: Gateways, node: HotNode) -> None:
    store = await gateways.open()
    people = await People(store).meet()
    await people.say(b"1")
    copies = node.copies(people.conversation)
    assert await rounds(store, 3) == 0
    assert node.copies(people.conversation) == copies != []


@pytest.mark.usefixtures("old")
async def test_one_process_walks(gateways: Gateways, node: HotNode) -> None:
    one, other = await gateways.open(), await gateways.open()
    people = await People(one).meet()
    await people.say(b"1")
    await one._leftovers._hot.run([one._leftovers._turn.call([leftovers._TURN_KEY], ["other", 60_000])])
    assert await rounds(one, 3) == await rounds(other, 3) == 0
    assert node.copies(people.conversation)


@pytest.mark.usefixtures("old")
async def test_a_walk_goes_on_where_it_ended(
    gateways: Gateways, node: HotNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Many keys, of which most are no copies: a round looks at some of them only."""
    monkeypatch.setattr(leftovers, "KEYS", 10)
    monkeypatch.setattr(leftovers, "STEPS", 2)
    store = await gateways.open()
    people = await People(store).meet()
    await people.say(b"1")
    with contextlib.closing(node.redis) as redis:
        for number in range(200):
            redis.set(f"other:{number}", 1)
    looked = 0
    while node.copies(people.conversation):
        await store._leftovers.once()
        looked += 1
        assert looked < 200
    assert await people.say(b"2") == [2]
