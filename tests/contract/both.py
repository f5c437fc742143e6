"""A log on PostgreSQL with something of everything, and the store that it moves to."""

from __future__ import annotations

from typing import Any

from delivery.store.cassandra.mover import Mover, Passed
from delivery.store.cassandra.session import Cassandra
from delivery.store.cassandra.store import CassandraStore
from delivery.store.interface import Store
from delivery.store.moving import Ledger
from delivery.store.values import Change, Flags, Outcome, PageRequest, PositionWrite, ReceiptWrite
from tests.contract.harness import PostgresHarness
from tests.contract.people import T0, amendment, new_id, send


class Both:
    def __init__(self, harness: PostgresHarness, url: str, session: Cassandra) -> None:
        self.harness, self.url, self.session = harness, url, session
        self.old: Store = harness.store
        self.new: Store = CassandraStore(session)
        self.ann, self.bob, self.cat = sorted(new_id() for _ in range(3))
        self.devices = {user: new_id() for user in (self.ann, self.bob, self.cat)}
        self.writer = new_id()
        self.at = ("", 0)  # host and port of the other store, for who needs them

    async def fill(self) -> None:
        store, ann, bob, cat = self.old, self.ann, self.bob, self.cat
        for user, device in self.devices.items():
            await store.link_device(user, device, T0)
        self.direct = await store.ensure_direct(ann, bob, new_id(), T0)
        self.blocked = await store.ensure_direct(ann, cat, new_id(), T0)
        self.group = new_id()
        await store.create_group(self.group, T0)
        added = Change(new_id(), "member_added", b"\x80", joins=(ann, bob, cat), speak=(ann,))
        await store.change(self.writer, self.group, ann, [added], T0)
        self.first = await self.say(ann, self.direct, b"one", seq_num=1)
        self.gone = await self.say(ann, self.direct, b"two", seq_num=2)
        await self.say(bob, self.direct, b"three", lasts=60_000)
        await self.amend(ann, self.direct, self.first, "edit", b"eins")
        await self.amend(bob, self.direct, self.first, "reaction", b"!")
        await self.amend(ann, self.direct, self.gone, "delete")
        await self.say(bob, self.group, b"all", mentions=[ann, cat])
        removed = Change(new_id(), "member_removed", b"\x80", leaves=(cat,))
        await store.change(self.writer, self.group, ann, [removed], T0 + 9)
        await self.say(cat, self.blocked, b"seen")
        await store.withhold(ann, cat, True, T0 + 10)
        await self.say(cat, self.blocked, b"hidden")
        await store.save(
            [PositionWrite(self.devices[bob], self.direct, 3)],
            [ReceiptWrite(self.direct, bob, 3, 2), ReceiptWrite(self.direct, ann, 0, 0, 2)],
            T0 + 20,
        )
        await store.set_flags(ann, self.direct, Flags(muted_until=5, pinned=True, draft=b"d"), T0 + 21)

    async def say(self, user: str, conversation: str, body: bytes, **options: Any) -> str:
        one = send(conversation, user, self.devices[user], body=body, **options)
        result = await self.old.append(self.writer, [one], T0 + 5)
        assert result.results[0].outcome is Outcome.STORED
        return one.message_id

    async def amend(self, user: str, conversation: str, target: str, kind: str, body: bytes = b"") -> None:
        one = amendment(conversation, user, self.devices[user], target, kind, body)
        result = await self.old.append(self.writer, [one], T0 + 6)
        assert result.results[0].outcome is Outcome.STORED

    async def move(self, **options: Any) -> int:
        """A pass; of how many conversations the events were copied."""
        return (await self.passed(**options)).logs

    async def passed(self, **options: Any) -> Passed:
        async with Ledger.open(self.url) as ledger, Mover.open(self.url, self.session, ledger, 2) as mover:
            await ledger.begin(T0)
            return await mover.pass_(**options)

    async def verify(self) -> None:
        """Nothing is copied that has not changed; all of it is compared."""
        await self.move(compare=True, trust=False)

    async def read(self, store: Store) -> dict[str, Any]:
        """Everything that anybody can be told."""
        ids = [self.direct, self.blocked, self.group]
        found: dict[str, Any] = {"conversations": await store.conversations(ids)}
        found["heads"] = await store.roster_heads(ids)
        found["silent"] = await store.silent(list(self.devices))
        found["devices"] = await store.devices(list(self.devices))
        found["badges"] = await store.badges(list(self.devices), T0 + 30)
        for user, device in self.devices.items():
            pages = await store.pages([PageRequest(one, user, 0) for one in ids])
            found[user] = {
                "pages": [(page.events, page.through, page.head, page.floor) for page in pages],
                "listed": await store.listed(user, 10),
                "behind": sorted(await store.behind(user, device)),
                "positions": await store.positions(user, device, ids),
                "receipts": sorted(await store.receipts([], user, 0)),
                "flags": await store.flags(user, self.direct),
            }
        return found
