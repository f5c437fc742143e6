"""Rooms on peers: what is lost, altered or repeated there is seen, a peer is measured at a rate that it keeps up with."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench.cores import Cores
from bench.figures import combine
from bench.peers import kept, measuring, room_ratios, told, xmpp
from bench.peers.room import Attendant, PeerRoom
from bench.peers.xmpp_stream import Stream, connect
from bench.report import all_delivered

EJABBERD = pytest.param(
    "ejabberd",
    # By hand: its package starts a service of its own, which no test brings to a machine.
    marks=[
        pytest.mark.long,
        pytest.mark.skipif(
            not Path("/usr/sbin/ejabberdctl").exists(),
            reason="./dev bench fanout --peer ejabberd installs it",
        ),
    ],
)


class Silent(Attendant):
    """Writes nothing; the test says what it hears."""

    async def connect(self) -> None: ...

    def close(self) -> None: ...

    def write(self, key: bytes) -> None: ...


@pytest.fixture
async def room() -> PeerRoom:
    """Three members, the first two write."""
    return PeerRoom(Silent, [{"user": name} for name in "abc"], 2, b"body")


def begin(room: PeerRoom, sender: int) -> None:
    room._begin(room.members[sender], time.perf_counter())


def all_hear(room: PeerRoom, *keys: bytes) -> None:
    for member in room.members:
        for key in keys:
            member.heard(key, room.body)


async def test_a_good_run(room: PeerRoom) -> None:
    for sender in (0, 1, 0):
        begin(room, sender)
    all_hear(room, b"a-1", b"a-2", b"b-1")
    assert room.mark()["deliveries"] == 6  # nobody's own copy is one
    assert await room.stop(0.05) == {"begun": 3, "lost": 0, "problems": {}, "examples": []}


async def test_what_one_member_does_not_hear_is_lost(room: PeerRoom) -> None:
    begin(room, 0)
    for member in room.members[:2]:
        member.heard(b"a-1", room.body)
    assert (await room.stop(0.05))["lost"] == 1


async def test_an_end_waits_for_the_senders_own_copy(room: PeerRoom) -> None:
    begin(room, 0)
    for member in room.members[1:]:
        member.heard(b"a-1", room.body)
    ending = asyncio.ensure_future(room.stop(10.0))
    await asyncio.sleep(0)
    assert not ending.done()
    room.members[0].heard(b"a-1", room.body)
    assert (await ending)["problems"] == {}


async def test_what_a_peer_does_wrong_is_a_problem(room: PeerRoom) -> None:
    begin(room, 0)
    begin(room, 0)
    all_hear(room, b"a-2", b"a-1", b"a-2")
    room.members[2].heard(b"a-9", b"another")
    found = await room.stop(0.05)
    assert set(found["problems"]) == {
        "order", "duplicate_or_unknown_message", "altered_message", "count_differs",
    }  # fmt: skip


def test_the_order_of_different_senders_is_nobodys_promise() -> None:
    async def heard() -> Any:
        room = PeerRoom(Silent, [{"user": name} for name in "abc"], 2, b"body")
        for sender in (0, 1):
            begin(room, sender)
        for member, keys in zip(
            room.members, ([b"a-1", b"b-1"], [b"b-1", b"a-1"], [b"b-1", b"a-1"]), strict=True
        ):
            for key in keys:
                member.heard(key, room.body)
        return await room.stop(0.05)

    assert asyncio.run(heard())["problems"] == {}


def figures(rate: float, deliveries: float, per_cpu: float = 1000.0, last: float = 10.0) -> dict[str, Any]:
    return {
        "messages_per_second": rate, "deliveries_per_second": deliveries, "deliveries_per_cpu_second": per_cpu,
        "latency_ms": {"each": {"p50": last, "p99": last}, "last": {"p50": last, "p99": last}},
        "cpu_us_per_delivery": {"total": 1e6 / per_cpu}, "busy_cores": {"servers": 0.9, "client": 0.1},
    }  # fmt: skip


def test_a_room_keeps_up_when_everybody_gets_what_is_written() -> None:
    assert all_delivered(101, figures(10, 950))
    assert not all_delivered(101, figures(10, 850))
    assert not all_delivered(101, figures(0, 0))  # nothing was written: nothing was seen


def test_the_rate_that_is_kept_up_with_is_found_by_halves() -> None:
    def measure(rate: float) -> dict[str, Any]:
        return figures(rate, min(rate * 100, 3_000))

    said: list[str] = []
    takes, trials = kept.find(100, measure, lambda found: all_delivered(101, found), said.append)
    assert takes == 25
    assert [(trial["rate"], trial["keeps_up"]) for trial in trials] == [(100, False), (50, False), (25, True)]
    assert said[1:] == ["50 messages/s: does not keep up", "25 messages/s: keeps up"]
    nothing, tried = kept.find(
        100, lambda rate: figures(rate, 0), lambda found: all_delivered(101, found), said.append
    )
    assert nothing == 0
    assert len(tried) == 8


def test_ratios_are_at_the_rate_of_the_peer_and_at_that_of_the_room() -> None:
    ours = {
        "101_at_100": combine([figures(100, 10_000, 9_000), figures(100, 10_000, 8_000)]),
        "101_at_25": combine([figures(25, 2_500, 3_000, 20), figures(25, 2_500, 4_000, 30)]),
    }
    peer = combine([figures(25, 2_500, 1_000, 40), figures(25, 2_500, 2_000, 40)])
    theirs = {
        "101_at_100": {"takes": 25, "trials": [], "figures": peer},
        "7_at_1": {"takes": 0, "trials": []},
    }
    found = room_ratios.of(ours, theirs)
    assert set(found) == {"101_at_100"}
    lines = found["101_at_100"]
    assert lines["deliveries"]["spread"] == [2.0, 3.0]
    assert lines["deliveries_at_most"]["spread"] == [4.0, 9.0]
    assert lines["last_p99"]["ratio"] == 0.625
    assert {line["both_keep_up"] for line in lines.values()} == {True}
    text = told.room_ratios("channels", found)
    assert "room of 101 at 25 messages/s" in text
    assert text.count("ours is better") == 4

    theirs["101_at_100"]["figures"] = combine([figures(25, 900)] * 2)
    behind = room_ratios.of(ours, theirs)
    assert not behind["101_at_100"]["deliveries"]["both_keep_up"]
    assert "does not keep up" in told.room_ratios("channels", behind)


def test_what_a_peer_does_not_keep_up_with_is_told() -> None:
    trials = [
        {"rate": 100, "keeps_up": False, **figures(100, 3_000)},
        {"rate": 50, "keeps_up": True, **figures(50, 5_000)},
    ]
    text = told.room(
        "channels", "room of 101", {"takes": 50, "trials": trials, "figures": combine([figures(50, 5_000)])}
    )
    assert "does not keep up with 100 messages/s: 3,000 deliveries/s, 0.90 cores busy" in text
    assert "does not keep up with 50" not in text


def test_rates_of_whole_lives_are_a_table() -> None:
    def lives(a_second: float) -> dict[str, Any]:
        return {
            "lives_per_second": a_second, "busy_cores": {"servers": 0.97},
            "latency_ms": {"delivered": {"p50": 5_000.0, "p99": 7_000.0} if a_second else {}},
        }  # fmt: skip

    trials = [{"rate": 250.0, "keeps_up": False, **lives(0)}, {"rate": 125.0, "keeps_up": True, **lives(124)}]
    lines = told.slower("channels", lives(9), 500, {"takes": 125.0, "trials": trials}).splitlines()[2:]
    assert [line.split(" messages/s")[0].strip() for line in lines] == ["500", "250", "125"]
    assert [line.endswith("does not keep up") for line in lines] == [True, True, False]
    assert "5,000 / 7,000 ms" in lines[0]


@contextlib.contextmanager
def running(name: str, folder: Path) -> Iterator[measuring.PeerBench]:
    folder.chmod(0o711)
    for above in folder.parents[:2]:
        above.chmod(0o711)  # PostgreSQL may run as another user
    options = argparse.Namespace(clients=1, senders=3, body_bytes=32, warm_up=0.3, seconds=1.5)
    every = Cores(*(frozenset(Cores.choose(1).servers | Cores.choose(1).client),) * 2)
    with measuring.running([name], options, folder, every, lambda text: None) as peers:
        yield peers[name]


@pytest.mark.long
@pytest.mark.parametrize("name", ["channels", "channels-pubsub", EJABBERD])
def test_a_room_on_a_peer(name: str, tmp_path: Path) -> None:
    with running(name, tmp_path) as one:
        found = [one.room(members, 20, 0) for members in (12, 5)]
        checks = one.check()
    assert all(room["deliveries_per_second"] > 0 for room in found)
    assert all(room["latency_ms"]["last"]["p50"] > 0 for room in found)
    assert not checks["problems"], checks
    assert checks["messages"] > 0
    assert checks["stored"] in (None, checks["messages"])


@pytest.mark.long
@pytest.mark.parametrize("name", ["channels", "channels-pubsub"])
def test_nothing_is_left_of_a_room_that_a_peer_was_behind_with(name: str, tmp_path: Path) -> None:
    with running(name, tmp_path) as one:
        assert not all_delivered(80, one.room(80, 800, 0))
        after = one.room(5, 20, 0)
        checks = one.check()
    assert after["deliveries_per_second"] > 0
    assert not checks["problems"], checks


@pytest.mark.long
@pytest.mark.parametrize("name", [EJABBERD])
def test_a_room_of_ejabberd_is_for_its_members(name: str, tmp_path: Path) -> None:
    async def enters(person: dict[str, str]) -> bytes:
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

        def heard(stanza: bytes) -> None:
            if (b"<subject" in stanza or b"type='error'" in stanza) and not answer.done():
                answer.set_result(stanza)

        stream: Stream = await connect(person, False, heard, lambda reason: None)
        stream.send(xmpp.join(person["room"].encode(), person["user"].encode()))
        async with asyncio.timeout(30):
            stanza = await answer
        stream.close()
        return stanza

    with running(name, tmp_path) as one:
        member = one.peer.room(3)[2]
        stranger = {**one.peer.person(3), "room": member["room"]}
        assert b"<subject" in asyncio.run(enters(member))
        assert b"registration-required" in asyncio.run(enters(stranger))
