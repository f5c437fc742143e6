"""Hot state on a real Valkey Cluster: slots, redirections, an epoch and a term for each node, a subscription that moves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from devtools.valkey import ValkeyServer
from tests.gateway.phone import new_id
from tests.infra.parts import started
from tests.support import early
from tests.support.cluster import Cluster
from tests.support.patience import until
from whatsapp.infra import faults
from whatsapp.infra.bus import Bus, channel
from whatsapp.infra.hot_cluster import ClusterHot, open_hot
from whatsapp.infra.slots import Table, is_cluster, parse_nodes, seeds, slot_of, slot_of_key
from whatsapp.infra.valkey import BadUrl, HotUnavailable
from whatsapp.infra.visit import visit

#: Failures are noticed after 1.5 s, then a replica is elected.
FAILOVER_S = 20.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Whole when a test begins; a test that kills a node starts it again."""
    with Cluster(early.folder("cluster"), spare=1) as cluster:
        yield cluster


def tags(cluster: Cluster) -> dict[str, str]:
    """A tag on each master: name of the server → tag."""
    found: dict[str, str] = {}
    while len(found) < 3:
        tag = new_id()
        found.setdefault(cluster.server_of(tag).name, tag)
    return found


# -- what needs no server


def test_slots_are_those_of_the_specification() -> None:
    # Examples of the Valkey Cluster specification, appendix A and "Hash tags".
    assert slot_of_key("123456789") == 0x31C3
    assert slot_of_key("{user1000}.following") == slot_of_key("{user1000}.followers")
    assert slot_of_key("foo{}{bar}") != slot_of_key("{bar}")
    assert slot_of_key("foo{{bar}}zap") == slot_of_key("{bar")
    assert slot_of_key("foo{bar}{zap}") == slot_of_key(b"bar")
    assert slot_of(("EVALSHA", "sha", 2, "{a}:x", "{a}:y", 1)) == slot_of_key("a")
    assert slot_of(("XREAD", "COUNT", 1, "STREAMS", "{a}:s", "0")) == slot_of_key("a")
    assert slot_of(("SPUBLISH", channel("p"), b"x")) == slot_of_key("p")


@pytest.mark.parametrize("url", ["cluster://a:1,b:x", "cluster://:pw@h:99999", "redis://h:1"])
def test_what_is_no_cluster_is_refused(url: str) -> None:
    with pytest.raises(BadUrl):
        seeds(url)


def test_a_url_names_any_number_of_nodes() -> None:
    found = seeds("clusters://user:p%40ss@one:7000,two:7001")
    assert [(seed.host, seed.port) for seed in found] == [("one", 7000), ("two", 7001)]
    assert all(seed.tls is not None and seed.greeting == [("AUTH", "user", "p@ss")] for seed in found)
    assert not is_cluster("redis://one:1/0")


def test_of_two_claims_the_higher_one_holds() -> None:
    """An old master that was cut off says for ever that the slots are its own."""
    line = "id{0} 127.0.0.1:{0}@1 {1} - 0 0 {2} connected {3}"
    first = parse_nodes(line.format(1, "myself,master", 1, "0-16383"), ("127.0.0.1", 1))
    later = parse_nodes(line.format(2, "myself,master", 2, "0-100 [200->-abc]"), ("127.0.0.1", 2))
    table = Table()
    assert len(table.merge(first, ("127.0.0.1", 1))) == 16384
    assert table.merge(later, ("127.0.0.1", 2)) == list(range(101))
    table._last.clear()
    assert table.merge(first, ("127.0.0.1", 1)) == []
    assert table.owners[100] == ("127.0.0.1", 2)
    assert table.owners[200] == ("127.0.0.1", 1)
    table.forget()
    assert table.merge(first, ("127.0.0.1", 1)) == list(range(101)), "nobody else is left to ask"


# -- commands


async def test_a_pipeline_goes_to_all_nodes_and_is_answered_in_order(cluster: Cluster) -> None:
    async with started(ClusterHot(cluster.url)) as hot:
        keys = [f"{{{new_id()}}}:k" for _ in range(300)]
        assert await hot.run([("SET", key, number) for number, key in enumerate(keys)]) == [b"OK"] * 300
        answers = await hot.run(hot.mget(keys))
        assert hot.values(answers) == [str(number).encode() for number in range(300)]
        script = hot.script("return {KEYS[1], redis.call('GET', KEYS[1])}")
        for _ in range(2):
            found = await hot.run([script.call([key], []) for key in keys])
            assert found == [[key.encode(), str(number).encode()] for number, key in enumerate(keys)]
        assert await hot.run([]) == []


async def test_a_visit_reaches_every_node(cluster: Cluster) -> None:
    """What Django code does: a connection for the moment."""
    for _ in range(2):  # the second one knows the way
        async with visit(cluster.url) as hot:
            keys = [f"{{{new_id()}}}:k" for _ in range(50)]
            await hot.run([("SET", key, "x") for key in keys])
            assert await hot.run([("GET", key) for key in keys]) == [b"x"] * 50
            assert sum(await hot.everywhere(("DBSIZE",))) >= 50


async def test_a_slot_on_the_move_keeps_the_order_of_its_commands(cluster: Cluster) -> None:
    """Half of a slot's keys are gone to the other node already: ASK, TRYAGAIN, then MOVED."""
    tag = new_id()
    slot, source = slot_of_key(f"{{{tag}}}"), cluster.server_of(tag)
    target = next(s for s in cluster.cluster.members[:3] if cluster.cluster.owner(slot) is not s)
    a, b, new = f"{{{tag}}}:a", f"{{{tag}}}:b", f"{{{tag}}}:new"
    async with started(ClusterHot(cluster.url)) as hot:
        both = hot.script("return redis.call('MGET', KEYS[1], KEYS[2])")
        await hot.run([("SET", a, 1), ("SET", b, 1)])
        with cluster.cluster.talk(source) as old, cluster.cluster.talk(target) as coming:
            coming("CLUSTER", "SETSLOT", slot, "IMPORTING", cluster.cluster.id_of(source))
            old("CLUSTER", "SETSLOT", slot, "MIGRATING", cluster.cluster.id_of(target))
            old("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "AUTH", "secret", "KEYS", a)
            # One is there, one here, one nowhere: each command finds its key, and its successor comes after it.
            assert await hot.run(
                [("SET", a, 2), ("GET", a), ("SET", b, 2), ("GET", b), ("SET", new, "x"), ("GET", new)]
            ) == [b"OK", b"2", b"OK", b"2", b"OK", b"x"]
            waiting = asyncio.ensure_future(hot.run([("SET", a, 5), both.call([a, b], [])]))
            await asyncio.sleep(0.1)
            assert not waiting.done(), "a script whose keys are in two places waits"
            old("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "AUTH", "secret", "KEYS", b)
            assert await waiting == [b"OK", [b"5", b"2"]]
            coming("CLUSTER", "SETSLOT", slot, "NODE", cluster.cluster.id_of(target))
            old("CLUSTER", "SETSLOT", slot, "NODE", cluster.cluster.id_of(target))
        assert hot.values(await hot.run(hot.mget([a, b, new]))) == [b"5", b"2", b"x"]
        await until(lambda: hot.table.owners[slot] == ("127.0.0.1", target.port), "the map is new")


# -- epochs and terms (R1, R6, R7)


async def test_r1_a_flush_of_one_node_is_a_new_epoch_there_alone(cluster: Cluster) -> None:
    places = tags(cluster)
    async with started(ClusterHot(cluster.url)) as hot, started(ClusterHot(cluster.url)) as other:
        before = {name: hot.under(tag) for name, tag in places.items()}
        together = hot.epoch
        await until(lambda: other.epoch == together, "all processes name it alike")
        flushed = next(iter(places))
        cluster.flush(places[flushed])
        await until(lambda: hot.epoch != together and hot.available, "a new epoch", 5)
        for name, tag in places.items():
            changed = hot.under(tag)
            assert (changed[0] != before[name][0]) == (name == flushed), "a term ends with its own epoch"
            assert (changed[1] != before[name][1]) == (name == flushed)
        await until(lambda: other.epoch == hot.epoch, "all processes name it alike")


async def test_r1_a_slot_that_comes_back_has_a_new_epoch(cluster: Cluster) -> None:
    """What was complete when it left need not be so when it returns: what it was told meanwhile may be lost."""
    tag = new_id()
    slot, source = slot_of_key(f"{{{tag}}}"), cluster.server_of(tag)
    target = next(s for s in cluster.cluster.members[:3] if s is not source and s.answers())
    async with started(ClusterHot(cluster.url)) as hot:
        epochs = [hot.under(tag)[1]]
        for to in (target, source):
            cluster.cluster.move(slot, to)
            await until(
                lambda to=to: hot.table.owners[slot] == ("127.0.0.1", to.port) and hot.under(tag)[0],  # type: ignore[misc]
                "it has moved",
            )
            await until(lambda: hot.under(tag)[0] and hot.under(tag)[1] not in epochs, "a new epoch", 5)
            epochs.append(hot.under(tag)[1])


async def _dies(cluster: Cluster, server: ValkeyServer) -> None:
    await asyncio.to_thread(cluster.kill, server)


async def _yields(cluster: Cluster, server: ValkeyServer) -> None:
    await asyncio.to_thread(cluster.fail_over, server)


@pytest.mark.parametrize("fault", [_dies, _yields])
async def test_a_replica_that_takes_over_is_a_new_term_and_epoch(cluster: Cluster, fault: Any) -> None:
    process = new_id()
    server = cluster.server_of(process)
    heard: list[bytes] = []
    async with (
        started(ClusterHot(cluster.url, channel=channel(process), on_message=heard.append)) as hot,
        started(ClusterHot(cluster.url)) as other,
    ):
        before = hot.under(process)
        await fault(cluster, server)
        await until(
            lambda: hot.under(process)[0] and hot.under(process)[1] != before[1], "a new epoch", FAILOVER_S
        )
        await until(lambda: hot.available and other.available and hot.epoch == other.epoch, "all is there")
        await hot.run([("SET", f"{{{process}}}:k", 1)])
        assert await other.run([("SPUBLISH", channel(process), b"after")]) == [1]
        await until(lambda: heard == [b"after"], "the subscription has followed")
    if not server.answers():
        cluster.restart(server)
    await until(lambda: _replicas(cluster) == 3, "the cluster is whole again", FAILOVER_S)


def _replicas(cluster: Cluster) -> int:
    return sum("slave" in words[2] and "fail" not in words[2] for words in cluster.cluster.view())


async def test_the_others_go_on_while_a_node_is_away(cluster: Cluster) -> None:
    """Until a replica takes over, only what is on that node fails, and each of its commands says so."""
    places = tags(cluster)
    gone, *rest = places
    server = next(s for s in cluster.cluster.members if s.name == gone)
    async with started(ClusterHot(cluster.url)) as hot:
        await asyncio.to_thread(cluster.kill, server)
        await until(lambda: not hot.under(places[gone])[0], "it is missed")
        answers = await hot.run_each([("SET", f"{{{tag}}}:k", name) for name, tag in places.items()])
        found = dict(zip(places, answers, strict=True))
        assert [found[name] for name in rest] == [b"OK", b"OK"]
        if not hot.available:  # nobody has taken over yet
            assert isinstance(found[gone], HotUnavailable)
            with pytest.raises(HotUnavailable):
                await hot.run([("GET", f"{{{tag}}}:k") for tag in places.values()])
        await until(lambda: hot.available, "a replica serves", FAILOVER_S)
    cluster.restart(server)
    await until(lambda: _replicas(cluster) == 3, "the cluster is whole again", FAILOVER_S)


# -- the bus


async def test_the_subscription_follows_its_slot(cluster: Cluster) -> None:
    """Slots move in both ways, key by key and all at once, while a bus is used: nothing published afterwards is lost."""
    async with started(Bus(cluster.url, new_id())) as one, started(Bus(cluster.url, new_id())) as other:
        got: list[Any] = []
        other.subscribe("t", got.append)
        slot = slot_of_key(channel(other.process))
        source = cluster.server_of(other.process)
        target = next(s for s in cluster.cluster.members[:6] if _is_master(cluster, s) and s is not source)
        for number, move in enumerate(
            [
                lambda: cluster.cluster.move(slot, target),
                lambda: cluster.cluster.move_range(slot, slot, source),
            ]
        ):
            term = other.hot.term
            await asyncio.to_thread(move)
            await until(lambda term=term: other.hot.term not in (0, term), "terms began anew")  # type: ignore[misc]
            one.send(other.process, "t", number)
            await until(lambda number=number: got[-1:] == [number], "it is heard")  # type: ignore[misc]


def _is_master(cluster: Cluster, server: ValkeyServer) -> bool:
    id_ = cluster.cluster.id_of(server)
    return any(words[0] == id_ and "master" in words[2] for words in cluster.cluster.view())


async def test_a_shard_joins(cluster: Cluster) -> None:
    """A new master takes a part of the slots while they are used."""
    new = cluster.cluster.members[6]
    cluster.cluster.meet(new)
    async with started(open_hot(cluster.url)) as hot:
        keys = [f"{{{new_id()}}}:n" for _ in range(200)]
        stop = asyncio.Event()
        counts = 0

        async def count() -> None:
            nonlocal counts
            while not stop.is_set():
                await hot.run([("INCR", key) for key in keys])
                counts += 1

        counting = asyncio.ensure_future(count())
        await until(lambda: counts > 3, "it counts")
        moved = list({slot_of_key(key) for key in keys})[:100]
        for slot in moved:
            await asyncio.to_thread(cluster.cluster.move, slot, new)
        await until(lambda: hot.available, "all nodes are there")
        stop.set()
        await counting
        answers = hot.values(await hot.run(hot.mget(keys)))
        assert all(int(answer) >= counts for answer in answers), (
            "a command may run twice, and never not at all"
        )
        assert hot.table.owners[moved[0]] == ("127.0.0.1", new.port)


@pytest.mark.parametrize("protected", [True, False])
async def test_what_one_node_did_not_take_is_published_again(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, protected: bool
) -> None:
    """Who listens there may be back before the sender has found the new master; the twin shows that nothing else would tell."""
    if not protected:
        monkeypatch.setattr(faults, "off", "publish_late".__eq__)
    async with started(Bus(cluster.url, new_id())) as one, started(Bus(cluster.url, new_id())) as other:
        got: list[Any] = []
        other.subscribe("t", got.append)
        run_each = one.hot.run_each
        away = 3

        async def sometimes(commands: Any) -> Any:
            nonlocal away
            away -= 1
            return [HotUnavailable("away")] * len(commands) if away > 0 else await run_each(commands)

        monkeypatch.setattr(one.hot, "run_each", sometimes)
        one.send(other.process, "t", 1)
        await until(lambda: away < 3, "it was tried")
        if protected:
            await until(lambda: got == [1], "it is heard")
        else:
            await until(lambda: not one._retries, "nobody tries again")
            assert got == []
            assert away == 1, "on neither channel"
