"""fsck, and another life of the log, where documents have copies on the hot node."""

from __future__ import annotations

import pytest

from delivery.store.cassandra import fsck, life
from delivery.store.fsck import ALL
from tests.cassandra.hotnode import Gateways, gateways, hot_node, short
from tests.cassandra.test_life import lives
from tests.contract.people import People
from whatsapp.infra.clock import now_ms

__all__ = ["gateways", "hot_node", "lives", "short"]  # fixtures

pytestmark = pytest.mark.usefixtures("short")


async def test_what_is_on_a_copy_is_looked_at_and_mended(gateways: Gateways) -> None:
    one, other = await gateways.open(), await gateways.open()
    people = await People(one).meet()
    now = now_ms() - 120_000
    for _ in range(3):
        await people.say(b"a", b"b", now=now)
    documents = other._documents
    read = (await documents.read([people.conversation]))[people.conversation]
    assert read.hot is not None  # it has a copy
    assert read.head == 6
    assert await fsck.look(other._db, documents, [people.conversation], ALL) == []
    ids = [row[0] for row in await other._db.rows(
        "SELECT message_id FROM $.event WHERE conversation = ? AND bucket = 0", people.conversation
    )]  # fmt: skip
    await other._db.run("DELETE FROM $.message WHERE message_id = ?", ids[3])
    assert await fsck.look(other._db, documents, [people.conversation], ALL) == [people.conversation]
    said = await fsck.settle(other._db, documents, people.conversation, True, ALL)
    assert [(one_.kind, one_.mended) for one_ in said] == [("message.missing", True)]
    await people.say(b"c", now=now)
    assert await fsck.look(other._db, documents, [people.conversation], ALL) == []


async def test_a_copy_of_an_earlier_life_gives_out_no_number(gateways: Gateways) -> None:
    store = await gateways.open()
    people = await People(store).meet()
    await people.say(b"1")
    await people.say(b"2")
    life.set_current(9)
    assert await people.say(b"3") == [2 + life.SKIPPED + 1]
    assert await people.say(b"4") == [2 + life.SKIPPED + 2]
    assert [event.content for event in await people.read(people.bob)] == [b"1", b"2", b"3", b"4"]
