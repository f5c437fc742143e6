"""Copies of state documents on a Valkey Cluster whose slots move and whose masters yield (R24): a copy counts only at the node of
its lease, and in that time of the node. Each with the twin that gives numbers out again without that."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

import pytest

from delivery.store.cassandra import leftovers
from devtools.valkey import ValkeyServer
from devtools.valkey_cluster import ReplyError
from tests.cassandra.hotnode import Gateways, anywhere, short
from tests.cassandra.pair import Pair
from tests.contract.people import seqs
from tests.support import early
from tests.support.cluster import Cluster
from tests.support.patience import until
from whatsapp.infra import cluster_node, hot_cluster
from whatsapp.infra.hot_cluster import ClusterHot
from whatsapp.infra.slots import slot_of_key
from whatsapp.infra.valkey import Command, HotUnavailable

__all__ = ["anywhere", "short"]  # fixtures

PATIENCE_S = 40.0

pytestmark = [pytest.mark.usefixtures("short"), pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(early.folder("cluster")) as cluster:
        yield cluster


class Slot:
    """Of a conversation, in the cluster."""

    def __init__(self, cluster: Cluster, conversation: str) -> None:
        self.cluster = cluster.cluster
        self.key = f"{{{conversation}}}"
        self.number = slot_of_key(self.key)
        self.master = self.cluster.owner(self.number)
        self.target = next(one for one in self.masters() if one is not self.master)

    def masters(self) -> list[ValkeyServer]:
        ports = [
            int(words[1].split("@")[0].rpartition(":")[2])
            for words in self.cluster.view()
            if "master" in words[2] and "fail" not in words[2]
        ]
        return [server for server in self.cluster.members if server.port in ports]

    def begin_to_move(self) -> None:
        """Its keys are at the target, its master is the one that answers for it: ``ASK``."""
        ids = [self.cluster.id_of(one) for one in (self.master, self.target)]
        with self.cluster.talk(self.master) as old, self.cluster.talk(self.target) as new:
            new("CLUSTER", "SETSLOT", self.number, "IMPORTING", ids[0])
            old("CLUSTER", "SETSLOT", self.number, "MIGRATING", ids[1])
            keys = old("CLUSTER", "GETKEYSINSLOT", self.number, 100)
            old("MIGRATE", "127.0.0.1", self.target.port, "", 0, 5000, "AUTH", "secret", "KEYS", *keys)
            assert new("CLUSTER", "COUNTKEYSINSLOT", self.number) == len(keys) > 0

    def stay(self) -> None:
        for server in self.masters():
            # An error: it follows another by now, and nothing is on its way there.
            with self.cluster.talk(server) as talk, contextlib.suppress(ReplyError):
                talk("CLUSTER", "SETSLOT", self.number, "STABLE")

    @contextlib.contextmanager
    def left_behind(self, master: ValkeyServer) -> Iterator[ValkeyServer]:
        """The replica of a master, which has everything until now and hears nothing more of it."""
        replica = self.cluster.replica_of(master)
        with self.cluster.talk(master) as talk, self.cluster.talk(replica) as other:
            assert talk("WAIT", 1, 20_000) >= 1
            other("CONFIG", "SET", "primaryauth", "wrong")
            talk("CLIENT", "KILL", "TYPE", "replica")
            try:
                yield replica
            finally:
                other("CONFIG", "SET", "primaryauth", "secret")

    def sends_on_to(self, server: ValkeyServer) -> bool:
        """Whether that is where the master of a slot on its way says to ask."""
        with self.cluster.talk(self.master) as talk:
            try:
                talk("GET", self.key)
            except ReplyError as error:
                return str(error).startswith("ASK ") and str(error).endswith(f":{server.port}")
        return False

    def is_master(self, server: ValkeyServer) -> bool:
        return self._says(server, "role:master")

    def follows(self, server: ValkeyServer) -> bool:
        return self._says(server, "master_link_status:up")

    def _says(self, server: ValkeyServer, words: str) -> bool:
        with self.cluster.talk(server) as talk:
            return words in talk("INFO", "replication").decode()


class Moved(Pair):
    """Two gateways, and a conversation that has a copy on a cluster."""

    node: Any

    async def meet(self) -> Moved:
        await super().meet()
        assert (await self.document()).hot is not None
        self.slot = Slot(self.node, self.conversation)
        return self

    async def went_on(self, first: Sequence[int]) -> None:
        """``first`` was acknowledged before."""
        second = await self.stored(self.one, 2)
        assert second[0] > first[-1], "a number is given out twice"
        third = await self.stored(self.other, 2)
        assert seqs((await self.page()).events) == [1, 2, 3, *first, *second, *third]


@pytest.fixture
async def pair(cassandra_at: tuple[str, int, str], cluster: Cluster) -> AsyncIterator[Moved]:
    made = Gateways(cassandra_at, cluster.url)
    pair = Moved(await made.open(), await made.open(), cluster)  # type: ignore[arg-type]
    try:
        yield await pair.meet()
    finally:
        await made._closing.aclose()
        for server in cluster.cluster.members:
            if not server.answers():
                await asyncio.to_thread(cluster.restart, server)
        await until(lambda: _is_whole(cluster), "the cluster is whole again", PATIENCE_S)
        pair.slot.stay()


def _is_whole(cluster: Cluster) -> bool:
    lines = cluster.cluster.view()
    replicas = sum("slave" in words[2] and "fail" not in words[2] for words in lines)
    return replicas == 3 and cluster.cluster.in_step()


def knows(hot: ClusterHot, server: ValkeyServer) -> bool:
    """Whether a process has reached this master."""
    return any(place[1] == server.port and node.term for place, node in hot._nodes.items())


async def ahead_of_its_slot(pair: Moved) -> None:
    """The copy is at the slot's next master already, which dies; the replica that takes over there did not have the latest."""
    slot = pair.slot
    slot.begin_to_move()
    with slot.left_behind(slot.target) as replica:
        first = await pair.stored(pair.one, 2)
        await asyncio.to_thread(pair.node.kill, slot.target)
        await until(lambda: slot.is_master(replica), "it takes over", PATIENCE_S)
        await until(lambda: slot.sends_on_to(replica), "its master knows", PATIENCE_S)
    for gateway in (pair.one, pair.other):
        await until(lambda hot=gateway._hot: knows(hot, replica), "a gateway knows", PATIENCE_S)
    await pair.went_on(first)


async def test_r24_a_copy_that_went_ahead_of_its_slot_does_not_count(pair: Moved) -> None:
    await ahead_of_its_slot(pair)


@pytest.mark.usefixtures("anywhere")
async def test_twin_r24_a_copy_that_went_ahead_of_its_slot(pair: Moved) -> None:
    with pytest.raises(AssertionError, match="given out twice"):
        await ahead_of_its_slot(pair)


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What happens to a node is over before a process looks at it again, which it does once a second."""
    monkeypatch.setattr(cluster_node, "POLL_S", 3_600.0)
    monkeypatch.setattr(hot_cluster, "POLL_S", 3_600.0)


async def there_and_back(pair: Moved) -> None:
    """A replica that was behind takes over, its old master follows it, and serves again: all on one connection."""
    slot = pair.slot
    with slot.left_behind(slot.master) as replica:
        first = await pair.stored(pair.one, 2)
        with slot.cluster.talk(replica) as talk:
            talk("CLUSTER", "FAILOVER", "TAKEOVER")
    await until(lambda: slot.follows(slot.master), "it follows", PATIENCE_S)
    with slot.cluster.talk(slot.master) as talk:
        talk("CLUSTER", "FAILOVER")
    await until(lambda: slot.is_master(slot.master), "it serves again", PATIENCE_S)
    await pair.went_on(first)


@pytest.mark.usefixtures("unseen")
async def test_r24_a_master_that_followed_another_for_a_moment_is_another(pair: Moved) -> None:
    await there_and_back(pair)


@pytest.mark.usefixtures("unseen", "anywhere")
async def test_twin_r24_a_master_that_followed_another_for_a_moment(pair: Moved) -> None:
    with pytest.raises(AssertionError, match="given out twice"):
        await there_and_back(pair)


# -- one node of several


async def elsewhere(pair: Moved) -> Pair:
    """Another conversation of the same two gateways, with its copy on another node."""
    while True:
        other = await Pair(pair.one, pair.other, pair.node).meet()
        if pair.node.server_of(other.conversation) is not pair.slot.master:
            return other


async def one_is_frozen(pair: Moved) -> None:
    """Both conversations are in one batch; that on the other node keeps its copy, and its numbers."""
    other = await elsewhere(pair)
    before = (await other.document()).hot
    assert await pair.stored(pair.one) == [4]  # known to the process
    assert await other.stored(pair.one) == [4]
    master = pair.node.children[pair.slot.master.name]
    master.send(signal.SIGSTOP)
    try:
        results = await pair.over(pair.one, pair.people.send(), other.people.send())
    finally:
        master.send(signal.SIGCONT)
    assert results[1].seq == 5, "its number was given up"
    assert (await other.document()).hot == before
    assert await other.stored(pair.other) == [6]


async def test_a_master_that_does_not_answer_takes_nothing_from_others(pair: Moved) -> None:
    await one_is_frozen(pair)


async def test_twin_a_master_that_does_not_answer_keeps_everybody_waiting(
    pair: Moved, monkeypatch: pytest.MonkeyPatch
) -> None:
    each = ClusterHot.run_under

    async def all_or_none(self: ClusterHot, asked: Sequence[tuple[str, Command]], patience_s: float) -> Any:
        answers = await each(self, asked, patience_s)
        failed = next((one for one in answers if isinstance(one, HotUnavailable)), None)
        return [failed or one for one in answers]

    monkeypatch.setattr(ClusterHot, "run_under", all_or_none)
    with pytest.raises(AssertionError, match="its number was given up"):
        await one_is_frozen(pair)


# -- leftovers


TURN = leftovers._TURN_KEY[1:-1].partition("}")[0]


@pytest.fixture
def old(pair: Moved, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every copy counts as one that nobody has used for long, and whoever asks first has the turn."""
    monkeypatch.setattr(leftovers, "LEFT_S", 0)
    with pair.node.talk(TURN) as talk:
        talk("DEL", leftovers._TURN_KEY)


def copies(pair: Pair) -> list[bytes]:
    with pair.node.talk(pair.conversation) as talk:  # type: ignore[attr-defined]
        slot = slot_of_key(f"{{{pair.conversation}}}")
        keys = talk("CLUSTER", "GETKEYSINSLOT", slot, 100)
    return [key for key in keys if key.startswith(f"document:{{{pair.conversation}}}".encode())]


@pytest.mark.usefixtures("old")
async def test_copies_that_nobody_looks_after_go_from_every_node(pair: Moved) -> None:
    """While another is on its way with its slot, which no walk reaches: who asks for that finds out that it does not count."""
    other = await elsewhere(pair)
    pair.slot.begin_to_move()

    async def gone() -> bool:
        await pair.other._leftovers.once()
        return copies(other) == []

    await until(gone, "it is called back", PATIENCE_S)
    assert await other.stored(other.one) == [4]
    assert (await pair.document()).hot is None
    (seq,) = await pair.stored(pair.one)
    assert seqs((await pair.page()).events) == [1, 2, 3, seq]


@pytest.mark.usefixtures("old")
async def test_a_node_that_is_away_keeps_no_leftovers_elsewhere(pair: Moved) -> None:
    other = await elsewhere(pair)
    if pair.node.server_of(TURN) is pair.slot.master:
        pair, other = other, pair  # type: ignore[assignment]  # whose turn it is has to be known
    away = pair.node.server_of(pair.conversation)
    await asyncio.to_thread(pair.node.kill, away)

    async def gone() -> bool:
        await pair.other._leftovers.once()
        return copies(other) == []

    await until(gone, "it is called back", PATIENCE_S)
    (seq,) = await other.stored(other.one)
    assert seq == 4
