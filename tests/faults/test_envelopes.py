"""Old lists of devices that take envelopes, and of members: whom they refuse, whom they let pass, and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from delivery import keyed as keyed_module
from delivery.envelopes import Seal, member_hash
from delivery.store.interface import Unavailable
from delivery.store.values import DEVICE_LIST_MAX_AGE_MS
from tests.faults.engine import Process, Seat, World
from tests.faults.test_lanes import Room, nobody
from tests.gateway.phone import new_id
from tests.support.patience import until
from whatsapp.infra.layer import BusLayer
from whatsapp.wire import frames
from whatsapp.wire.frames import Envelope

Off = Callable[..., None]


class Keys:
    """What the accounts say of devices, and how often they were asked."""

    def __init__(self) -> None:
        self.of: dict[str, dict[str, int]] = {}
        self.asked: list[list[str]] = []
        self.away = False
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, users: Sequence[str]) -> dict[str, dict[str, int]]:
        self.asked.append(sorted(users))
        found = {user: dict(self.of.get(user, {})) for user in users}
        await self.go.wait()
        if self.away:
            raise Unavailable("away")
        return found


class Talk:
    """Ann writes to Bob, who has a phone at another gateway; what devices there are is up to the test."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.keys = Keys()

    async def open(self) -> Talk:
        world = self.world
        self.here: Process = await world.process(envelope_devices=self.keys)
        self.there: Process = await world.process()
        (ann, phone), (self.bob, self.device) = [await world.person() for _ in range(2)]
        self.keys.of = {ann: {phone: 1}, self.bob: {self.device: 2}}
        self.conversation = await world.direct(ann, self.bob)
        self.ann: Seat = await self.here.seat(ann, phone)
        self.reader: Seat = await self.there.seat(self.bob, self.device)
        return self

    def add(self) -> str:
        """Bob has one more device with keys, and nobody is told."""
        device = new_id()
        self.keys.of[self.bob][device] = 3
        return device

    async def tell(self) -> None:
        layer = BusLayer()
        layer._url = self.world.hot_url
        await layer.tell_all([self.bob])

    async def attempt(self, *devices: str, message_id: str = "") -> str:
        """ "sent", or the code of the error, of a message for these devices of Bob."""
        return _code(await self.ann.answer(self.send(*devices, message_id=message_id)))

    def send(self, *devices: str, message_id: str = "") -> str:
        registered = {device: self.keys.of[self.bob].get(device, 9) for device in devices}
        envelopes = [Envelope(self.bob, d, r, "message", d.encode()) for d, r in registered.items()]
        return self.ann.send(self.conversation, seal=Seal(envelopes), message_id=message_id)

    def opened(self) -> list[bytes | None]:
        """The envelopes that came to Bob's phone."""
        live = [f for f in self.reader.screen.frames if isinstance(f, frames.Message)]
        return [f.envelope.content if f.envelope is not None else None for f in live]


def _code(answer: Any) -> str:
    return answer.status if isinstance(answer, frames.StatusUpdate) else str(answer.code)


@pytest.fixture
async def talk(world: World) -> Talk:
    return await Talk(world).open()


async def test_lists_are_not_read_for_each_message(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    now = talk.here.node.keyed._time()
    monkeypatch.setattr(talk.here.node.keyed, "_time", lambda: now)
    for _ in range(50):
        assert await talk.attempt(talk.device) == "sent"
    assert talk.keys.asked == [sorted(talk.keys.of)], "one question for both, once in five seconds"
    plain = talk.ann.send(talk.conversation)
    assert _code(await talk.ann.answer(plain)) == "sent"
    await until(lambda: len(talk.opened()) == 51, "they arrive")
    assert talk.opened() == [talk.device.encode()] * 50 + [None]


async def test_of_changes_of_others_nothing_is_kept(talk: Talk) -> None:
    """Every gateway hears of every change, of whomever."""
    assert await talk.attempt(talk.device) == "sent"
    keyed = talk.here.node.keyed
    for _ in range(100):
        keyed.forget(new_id())
    kept = [getattr(keyed, name) for name in vars(keyed)]
    assert max(len(one) for one in kept if isinstance(one, (set, dict))) == 2, "what was asked for"


@pytest.mark.parametrize("twin", [False, True], ids=["", "twin"])
async def test_a_list_of_which_the_bus_told_nothing_serves_for_five_seconds(
    talk: Talk, monkeypatch: pytest.MonkeyPatch, off: Off, twin: bool
) -> None:
    assert DEVICE_LIST_MAX_AGE_MS == 5_000
    assert await talk.attempt(talk.device) == "sent"
    (until_, _) = talk.here.node.keyed._lists[talk.bob]
    newer = talk.add()
    if twin:
        off("list_age")
    for later, wanted in ((4.99, "sent"), (5.01, "sent" if twin else "device_mismatch")):
        monkeypatch.setattr(talk.here.node.keyed, "_time", lambda at=later: until_ - 5.0 + at)
        assert await talk.attempt(talk.device) == wanted
    assert await talk.attempt(talk.device, newer) == "sent"


@pytest.mark.parametrize("twin", [False, True], ids=["", "twin"])
async def test_what_the_bus_tells_counts_at_once(talk: Talk, off: Off, twin: bool) -> None:
    """Also what it tells while the list is being read."""
    if twin:
        off("forget_devices")
    wanted = "sent" if twin else "device_mismatch"
    assert await talk.attempt(talk.device) == "sent"
    newer = talk.add()
    await talk.tell()
    heard = lambda: talk.bob not in talk.here.node.keyed._lists  # noqa: E731
    if not twin:
        await until(heard, "the gateway hears of it")
    assert await talk.attempt(talk.device) == wanted
    assert await talk.attempt(talk.device, newer) == "sent"

    talk.here.node.keyed._lists.clear()
    talk.keys.go.clear()
    asked = len(talk.keys.asked)
    slow = talk.send(talk.device, newer)
    await until(lambda: len(talk.keys.asked) > asked, "the list is asked for")
    talk.add()
    talk.here.node._devices_changed(talk.bob)
    talk.keys.go.set()
    assert _code(await talk.ann.answer(slow)) == "sent"
    assert await talk.attempt(talk.device, newer) == wanted


@pytest.mark.parametrize("twin", [False, True], ids=["", "twin"])
async def test_nobody_is_refused_by_an_old_list(talk: Talk, off: Off, twin: bool) -> None:
    newer = talk.add()
    assert await talk.attempt(talk.device, newer) == "sent"
    if twin:
        off("reread")
    wanted = "device_mismatch" if twin else "sent"
    # Unlinked, one that nobody knew, and other keys: who sends has looked a moment ago.
    del talk.keys.of[talk.bob][newer]
    assert await talk.attempt(talk.device) == wanted
    latest = talk.add()
    assert await talk.attempt(talk.device, latest) == wanted
    talk.keys.of[talk.bob][talk.device] = 77
    assert await talk.attempt(talk.device, latest) == wanted


async def test_twin_nobody_looks_at_the_envelopes(talk: Talk, off: Off) -> None:
    talk.add()
    assert await talk.attempt(talk.device) == "device_mismatch"
    off("envelopes")
    assert await talk.attempt(talk.device) == "sent"


async def test_lists_that_cannot_be_read(talk: Talk) -> None:
    """Who encrypts is told to send again; others of the same batch go on, but for what would overtake."""
    talk.keys.away = True
    same = new_id()
    elsewhere = await talk.world.direct(talk.ann.session.user, new_id())
    batch = [
        talk.send(talk.device, message_id=same),
        talk.ann.send(talk.conversation),
        talk.ann.send(elsewhere),
    ]
    codes = [_code(await talk.ann.answer(message)) for message in batch]
    assert codes == ["unavailable", "unavailable", "sent"]
    assert await talk.world.store.stored([(talk.ann.session.user, same)]) == [None]
    assert _code(await talk.ann.answer(talk.ann.send(talk.conversation))) == "sent", (
        "without envelopes it goes"
    )
    talk.keys.away = False
    (again,) = [await talk.ann.answer(talk.send(talk.device, message_id=same), 2)]
    assert (again.status, again.duplicate) == ("sent", False)
    # What was stored is a repetition, whatever may be known of devices now; what was not needs them.
    talk.add()
    talk.here.node.keyed._lists.clear()
    third = await talk.ann.answer(talk.send(talk.device, message_id=same), 3)
    assert (third.status, third.duplicate, third.seq) == ("sent", True, again.seq)


async def test_a_device_linked_while_the_message_is_on_its_way(talk: Talk) -> None:
    """Its envelopes were right when they were looked at; the device is owed the message, and has none of its own."""
    async with talk.world.held(talk.conversation):
        sent = talk.send(talk.device)
        await talk.world.waiting()
        newer = talk.add()
        await talk.world.store.link_device(talk.bob, newer, 1)
        await talk.tell()
    answer = await talk.ann.answer(sent)
    assert answer.status == "sent"
    laptop = await talk.there.seat(talk.bob, newer)
    (batch,) = [f for f in laptop.screen.frames if isinstance(f, frames.SyncBatch)]
    assert [(e.seq, e.encrypted_content, e.envelope) for e in batch.events] == [(answer.seq, b"hello", None)]
    assert await talk.attempt(talk.device) == "device_mismatch"


async def test_c7_lists_are_bounded(talk: Talk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed_module, "MAX_ENTRIES", 20)
    keyed = talk.here.node.keyed
    for number in range(30):
        await keyed._known([f"user {number}"])
    assert len(keyed._lists) <= 20
    assert "user 29" in keyed._lists


@pytest.mark.parametrize("twin", [False, True], ids=["", "twin"])
async def test_member_hashes_and_old_lists_of_members(
    world: World, monkeypatch: pytest.MonkeyPatch, off: Off, twin: bool
) -> None:
    """Who knows the members of now is never refused; who knows those of a moment ago may pass for five seconds."""
    room = await Room(world).open()
    users = [user for user, _ in room.people]
    before, now = member_hash(users), member_hash(users[:2])

    async def attempt(hashed: str, seat: Seat = room.ann) -> str:
        return _code(await seat.answer(seat.send(room.conversation, seal=Seal((), hashed))))

    assert await attempt(before) == "sent"
    roster = room.here.node.roster
    (until_, _) = roster._conversations[room.conversation]
    await room.change("member_removed", leaves=(users[2],))
    monkeypatch.setattr(roster, "_time", lambda: until_ - 0.01)
    assert await attempt(before) == "sent"
    if twin:
        off("reread")
    assert await attempt(now) == ("member_mismatch" if twin else "sent")
    monkeypatch.setattr(roster, "_time", lambda: until_ + 0.01)
    assert await attempt(before) == "member_mismatch"


async def test_a_run_of_a_lane_is_shared_by_all_who_have_no_envelope_in_it(world: World, off: Off) -> None:
    room = await Room(world).open(nobody)
    off("envelopes")  # nobody has keys here
    user, device = room.people[2]
    seal = Seal([Envelope(user, device, 1, "message", b"for cat")], member_hash([u for u, _ in room.people]))
    for number in range(4):
        sent = room.ann.send(room.conversation, str(number), seal=seal if number in (1, 2) else None)
        assert _code(await room.ann.answer(sent)) in ("sent", "queued")
        await room.here.node.fanout.drained()
    assert room.queued() == 4
    writes: dict[str, int] = {}
    for name, seat in (("ben", room.ben), ("cat", room.cat)):
        outlet = seat.screen
        joined = outlet.write_joined
        outlet.write_joined = lambda some, n=name, j=joined: (writes.update({n: len(some)}), j(some))[1]  # type: ignore[method-assign]
    assert await room.worker.lanes.run(room.lane, (room.holder() or b"").decode()) == 1
    for seat in (room.ben, room.cat):
        await seat.has(room.conversation, [1, 2, 3, 4, 5])
    assert writes == {"ben": 4}, "one write for who gets what all get"
    found = [f.envelope for f in room.cat.screen.frames if isinstance(f, frames.Message)]
    assert found == [None, seal.envelopes[0], seal.envelopes[0], None]
    assert not [f for f in room.ben.screen.frames if isinstance(f, frames.Message) and f.envelope]
