"""A master of three is gone, or frozen, and no replica takes its place: what is on it waits, and nothing else does.

Processes inside the test. Each test names the server that goes (*away*) and places people, lanes, leases and channels; the twins
take away what keeps the rest going.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from delivery.inbox import dirty_key
from delivery.lanes import lane_of, tag
from delivery.sweep import LEASE_KEY
from devtools.errors import DevError
from devtools.valkey import ValkeyServer
from tests.faults.engine import Process, Seat, Worker, World, saved
from tests.faults.rig import stays
from tests.gateway.phone import new_id
from tests.support import early
from tests.support.cluster import Cluster
from tests.support.patience import until
from whatsapp.infra import bus
from whatsapp.wire import frames

PATIENCE_S = 40.0

Off = Callable[..., None]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three masters and no replica."""
    with Cluster(early.folder("cluster"), replicas=0) as cluster:
        yield cluster


@pytest.fixture
async def here(log: Any, cluster: Cluster) -> AsyncIterator[World]:
    cluster.empty()
    async with World(log, cluster.url) as world:
        yield world
        await back(cluster)  # processes end faster with it


@pytest.fixture(params=[signal.SIGKILL, signal.SIGSTOP], ids=["killed", "frozen"])
def fault(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def goes(cluster: Cluster, server: ValkeyServer, number: int) -> None:
    cluster.children[server.name].kill(number)


async def back(cluster: Cluster) -> None:
    for server in cluster.cluster.members:
        child = cluster.children[server.name]
        child.send(signal.SIGCONT)
        if child.pid is None:
            await asyncio.to_thread(cluster.restart, server)
    await until(lambda: _sound(cluster), "all masters are there", PATIENCE_S)


def _sound(cluster: Cluster) -> bool:
    """Whether each serves, and takes nobody for failed."""
    with contextlib.suppress(DevError, OSError):
        return all(_serves(cluster, server) for server in cluster.cluster.members)
    return False


def _serves(cluster: Cluster, server: ValkeyServer) -> bool:
    with cluster.cluster.talk(server) as talk:
        lines = [line.split() for line in talk("CLUSTER", "NODES").decode().splitlines()]
        whole = b"cluster_state:ok" in talk("CLUSTER", "INFO")
    return whole and not any("fail" in words[2] for words in lines)


class Place:
    """Where things are: ``away`` is the server that goes, ``rest`` those that stay."""

    def __init__(self, world: World, cluster: Cluster, away: ValkeyServer) -> None:
        self.world, self.cluster, self.away = world, cluster, away

    def there(self, tag: str) -> bool:
        return self.cluster.server_of(tag) is not self.away

    def id(self, *, away: bool = False) -> str:
        while True:
            found = new_id()
            if self.there(found) != away:
                return found

    async def person(self, *, away: bool = False) -> tuple[str, str]:
        user, device = self.id(away=away), new_id()
        await self.world.store.link_device(user, device, 1)
        return user, device

    async def group(self, *users: str, lane_away: bool = False) -> str:
        """Whose lane is, or is not, on the server that goes. What the log keeps of it on a hot node (copies of documents, with
        messages on Cassandra) is elsewhere: its own writers would have to wait."""
        while True:
            group = await self.world.group(*[(user, 1, 0) for user in users])
            if self.there(group) and self.there(tag(lane_of(group))) != lane_away:
                return group

    async def process(self, *, away: bool = False, **options: Any) -> Process:
        """``away``: its channel and its heartbeat are there. Its second channel is elsewhere in any case."""
        while True:
            name = self.id(away=away)
            if self.there(f"{name}.spare"):
                return await self.world.process(name=name, **options)

    def mark(self, device: tuple[str, str], conversation: str) -> Any:
        """None, too, while its server cannot be asked."""
        with contextlib.suppress(DevError, OSError), self.cluster.talk(device[0]) as talk:
            return talk("ZSCORE", dirty_key(*device), conversation)


class Company:
    """Ann writes in a group from one process; Cat's node stays and Bob's goes; both are at another process, and Cat's phone is
    not connected."""

    def __init__(self, place: Place) -> None:
        self.place = place

    async def open(self, *, lane_away: bool = False, process_away: bool = False) -> Company:
        place, world = self.place, self.place.world
        self.ann, self.bob, self.cat = (
            await place.person(),
            await place.person(away=True),
            await place.person(),
        )
        self.phone = self.cat[0], new_id()
        self.worker: Worker = await world.lane_worker()
        self.worker.start(self.worker.lanes.look_for_orphans())
        self.here = await place.process(submit_lane=self.worker.submit)
        self.there = await place.process(away=process_away)
        users = self.ann[0], self.bob[0], self.cat[0]
        self.group = await place.group(*users, lane_away=lane_away)
        self.other = await place.group(self.ann[0], self.cat[0], lane_away=lane_away)
        self.author = await self.here.seat(*self.ann)
        self.bobs = await self.there.seat(*self.bob)
        self.cats = await self.there.seat(*self.cat)
        await world.store.link_device(*self.phone, 1)
        phone = await self.there.seat(*self.phone)
        self.seqs: dict[str, list[int]] = {self.group: [], self.other: []}
        await self.say()
        for seat in (self.bobs, self.cats, phone):
            await self.has(seat)
        self.read = self.seqs[self.group][-1]
        phone.leave()
        await until(lambda: saved(world, self.here), "all is done")
        return self

    async def say(self, times: int = 3) -> None:
        for _ in range(times):
            for conversation, seqs in self.seqs.items():
                seqs.append(await self.author.say(conversation))

    async def has(self, seat: Seat, after: int = 0) -> None:
        for conversation, seqs in self.seqs.items():
            if conversation == self.group or seat is not self.bobs:
                await seat.has(conversation, [seq for seq in seqs if seq > after], PATIENCE_S)

    async def marked(self) -> None:
        """Cat's phone, which is offline, in both groups."""
        await until(
            lambda: all(self.place.mark(self.phone, c) == str(s[-1]).encode() for c, s in self.seqs.items()),
            "its set has them",
            PATIENCE_S,
        )

    async def all_is_done(self) -> None:
        for seat in (self.bobs, self.cats):
            await self.has(seat)
        phone = await self.there.seat(*self.phone)
        await self.has(phone, after=self.read)
        await until(lambda: saved(self.place.world, self.here), "every row is done", PATIENCE_S)
        assert not any(seat.screen.closed for seat in (self.author, self.bobs, self.cats)), "sockets stay"


@pytest.mark.parametrize("lane_away", [False, True], ids=["members", "lane"])
async def test_a_group_goes_on_for_members_elsewhere(
    here: World, cluster: Cluster, fault: int, lane_away: bool
) -> None:
    """Bob's node is gone, in the second case with the lane of the groups. Cat hears of everything, in order, and her other device
    is marked; Bob does once it is back."""
    place = Place(here, cluster, cluster.cluster.members[0])
    company = await Company(place).open(lane_away=lane_away)
    goes(cluster, place.away, fault)
    await company.say()
    await company.has(company.cats)
    await company.say()
    await company.has(company.cats)
    await company.marked()
    assert company.bobs.seqs(company.group) != company.seqs[company.group]
    assert not await saved(here, company.here), "what Bob was not told stays open"
    await back(cluster)
    await company.say()
    await company.all_is_done()


@pytest.mark.parametrize("lane_away", [False, True], ids=["members", "lane"])
async def test_twin_all_or_nobody(here: World, cluster: Cluster, off: Off, lane_away: bool) -> None:
    off(
        "share", "check"
    )  # sets of the first seconds with a cluster have no marker: the check would read what she was not told
    place = Place(here, cluster, cluster.cluster.members[0])
    company = await Company(place).open(lane_away=lane_away)
    goes(cluster, place.away, signal.SIGKILL)
    before = company.cats.seqs(company.group)
    await company.say()
    await stays(lambda: company.cats.seqs(company.group) == before, "she hears nothing", 3)
    off()
    await back(cluster)
    await company.all_is_done()


async def test_a_process_whose_channel_is_away_hears_by_another(
    here: World, cluster: Cluster, fault: int
) -> None:
    place = Place(here, cluster, cluster.cluster.members[1])
    company = await Company(place).open(process_away=True)
    goes(cluster, place.away, fault)
    await company.say()
    await company.has(company.cats)
    await until(lambda: company.there.hot.under(company.cat[0])[0], "its sessions have a term", PATIENCE_S)
    await back(cluster)
    await company.say()
    await company.all_is_done()


async def test_twin_one_channel(
    here: World, cluster: Cluster, off: Off, monkeypatch: pytest.MonkeyPatch
) -> None:
    off("spare", "check")
    monkeypatch.setattr(bus, "LATE_S", ())
    place = Place(here, cluster, cluster.cluster.members[1])
    company = await Company(place).open(process_away=True)
    goes(cluster, place.away, signal.SIGKILL)
    await until(lambda: not company.here.hot.reaches(company.bob[0]), "it is missed", PATIENCE_S)
    # What was said before is read when the sessions are opened under the other channel.
    opened = company.there.node.sessions
    await until(lambda: company.cats.session.term and not opened.reopening, "they are", PATIENCE_S)
    before = company.cats.seqs(company.group)
    await company.say()
    await stays(lambda: company.cats.seqs(company.group) == before, "nobody tells it", 3)
    off()
    await back(cluster)
    await company.all_is_done()


# -- the sweep


async def dead_writer(place: Place, number: int) -> tuple[Any, dict[str, tuple[str, str]], str]:
    """A writer stored a message for Bob and Cat and died; the node goes that has the sweep's lease, Bob, and its heartbeat."""
    world = place.world
    ann, bob, cat = await place.person(), await place.person(away=True), await place.person()
    group = await world.group(*[(user, 1, 0) for user, _ in (ann, bob, cat)])
    sweep = await world.sweep()
    writer = place.id(away=True)
    await world.append(group, *ann, writer)
    goes(place.cluster, place.away, number)
    return sweep, {"bob": bob, "cat": cat}, group


async def test_r4_the_sweep_marks_what_it_reaches(
    here: World, cluster: Cluster, fault: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("delivery.sweep.BELIEVED_S", 0.5)
    place = Place(here, cluster, cluster.server_of(LEASE_KEY[1:6]))
    sweep, people, group = await dead_writer(place, fault)

    async def swept() -> Any:
        with contextlib.suppress(Exception):
            await sweep.once()
        return place.mark(people["cat"], group)

    await until(swept, "Cat is marked", PATIENCE_S)
    assert sweep.leads
    for _ in range(3):
        assert await sweep.once() == 0, "it is not done again each second"
    await back(cluster)

    async def rest() -> Any:
        with contextlib.suppress(Exception):
            await sweep.once()
        return place.mark(people["bob"], group)

    await until(rest, "so is Bob", PATIENCE_S)
    await until(lambda: _swept(here, group), "and the row is done", PATIENCE_S)


async def _swept(world: World, conversation: str) -> bool:
    return any(one.done for one in await world.log.announced(conversation))


async def test_r4_twin_all_or_nobody(
    here: World, cluster: Cluster, off: Off, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("delivery.sweep.BELIEVED_S", 0.5)
    off("share")
    place = Place(here, cluster, cluster.server_of(LEASE_KEY[1:6]))
    sweep, _, group = await dead_writer(place, signal.SIGKILL)
    await until(lambda: not sweep.bus.hot.reaches(LEASE_KEY[1:6]), "it is missed", PATIENCE_S)
    loop = asyncio.get_running_loop()
    ends = loop.time() + 3
    while loop.time() < ends:
        with contextlib.suppress(Exception):
            await sweep.once()
        assert not await _swept(here, group)
        await asyncio.sleep(0.1)


# -- presence


def shown(seat: Seat) -> dict[str, str]:
    """user → the status that this device was told last"""
    found = [frame for frame in seat.screen.frames if isinstance(frame, frames.Presence)]
    return {frame.user_id: frame.status for frame in found if frame.user_id}


async def follow(seat: Seat, *users: str) -> None:
    presence = seat.node.presence
    presence.follow(seat.session, users, 300)
    await presence.answer(seat.session, list(users), 300)


async def test_presence_of_those_elsewhere_is_known(here: World, cluster: Cluster, fault: int) -> None:
    """Bob's node is gone, and with it the heartbeat of the process where Cat is."""
    place = Place(here, cluster, cluster.cluster.members[2])
    ann, bob, cat, dan = [await place.person(away=away) for away in (False, True, False, False)]
    one, two = await place.process(), await place.process(away=True)
    watcher = await one.seat(*ann)
    await two.seat(*bob)
    cats = await two.seat(*cat)
    goes(cluster, place.away, fault)
    await until(lambda: not one.hot.reaches(bob[0]), "it is missed", PATIENCE_S)
    await follow(watcher, bob[0], cat[0], dan[0])
    assert shown(watcher) == {bob[0]: "unknown", cat[0]: "online", dan[0]: "offline"}
    dans = await one.seat(*dan)
    await until(lambda: shown(watcher)[dan[0]] == "online", "what changes is told", PATIENCE_S)
    cats.session.away = True
    await two.node.sessions.announce(cats.session)
    await until(lambda: shown(watcher)[cat[0]] == "away", "from there too", PATIENCE_S)
    dans.node.sessions.closed(dans.session, bye=True)
    await until(lambda: shown(watcher)[dan[0]] == "offline", "who goes has gone", PATIENCE_S)
    await back(cluster)
    one.node.presence._forgotten.add(bob[0])
    await until(lambda: one.hot.available and two.hot.available, "all is there", PATIENCE_S)
    await follow(watcher, bob[0])
    await until(lambda: _told(watcher, bob[0]), "and Bob is known again", PATIENCE_S)


async def _told(watcher: Seat, user: str) -> bool:
    if shown(watcher)[user] != "online":
        await follow(watcher, user)
    return shown(watcher)[user] == "online"


async def test_a_number_that_is_kept_on_a_node_that_is_away_is_counted(here: World, cluster: Cluster) -> None:
    place = Place(here, cluster, cluster.cluster.members[2])
    people = [await place.person() for _ in range(3)]
    process = await place.process()
    for person in people[:2]:
        await process.seat(*person)
    while True:
        group = await here.group(*[(user, 1, 0) for user, _ in people])
        if not place.there(group):
            break
    goes(cluster, place.away, signal.SIGKILL)
    await until(lambda: not process.hot.reaches(group), "it is missed", PATIENCE_S)
    assert (await process.node.group_presence._number(group))[0] == 2
