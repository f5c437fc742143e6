"""A whole system whose log moves to Cassandra while people write: what stops, for how long, and that nothing is lost by it."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from devtools.paths import REPO
from tests.cluster.load import Load
from tests.faults.people import Device
from tests.gateway.peer import Peer
from tests.gateway.phone import Phone, link, sign_up
from tests.gateway.test_amendments import delete, done, edit, react
from tests.gateway.test_blocks import block
from tests.gateway.test_timers import set_timer
from tests.groups.test_sockets import make
from tests.support.cassandra import environment
from tests.support.patience import until
from tests.support.stack import System
from whatsapp.wire import frames

pytestmark = [pytest.mark.needs_system, pytest.mark.needs_cassandra, pytest.mark.timeout(900)]

USERS = ("gateway-1", "worker-1", "fanout-1")
#: A gateway that nobody has told.
OLD = "gateway-2"
#: What the command says when all is copied and only they keep it from the end.
WAITS = "stop all gateways"


@pytest.fixture
def cassandra_env(request: pytest.FixtureRequest) -> Iterator[dict[str, str]]:
    """Variables that name a node and a keyspace with the tables: the session's, or WHATSAPP_TEST_CASSANDRA=host:port/keyspace."""
    if where := os.environ.get("WHATSAPP_TEST_CASSANDRA"):
        address, keyspace = where.split("/")
        yield environment([address.split(":")[0]], int(address.split(":")[1]), keyspace, copies=1)
        return
    node = request.getfixturevalue("cassandra_node")
    keyspace = node.new_keyspace()
    yield node.env(keyspace)
    node.drop(keyspace)


@pytest.fixture
def system(cassandra_env: dict[str, str]) -> Iterator[System]:
    """On PostgreSQL, with Cassandra at hand."""
    env = {"WHATSAPP_TEST_BUILD": "1", **cassandra_env}
    with System(gateways=1, fanout=True, env=env, limits={"http_requests_per_address": 100_000}) as system:
        (system.data / "faults").mkdir(exist_ok=True)
        yield system


class Mover:
    """``manage.py move_log`` as an operator runs it, beside a running system."""

    def __init__(self, system: System) -> None:
        self.system = system
        self.said = ""

    @asynccontextmanager
    async def running(self, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "manage.py", "move_log", *arguments, cwd=REPO, env={**os.environ, **self.system.env},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.said = ""

        async def read() -> None:
            assert process.stdout is not None
            while line := await process.stdout.readline():
                self.said += line.decode()

        reading = asyncio.create_task(read())
        try:
            yield process
            await process.wait()
            await reading
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def run(self, *arguments: str, code: int = 0) -> str:
        async with self.running(*arguments) as process:
            pass
        assert process.returncode == code, self.said
        return self.said


def switch(system: System) -> None:
    """What an operator does to the environment of every process."""
    system.stack.env["LOG_STORE"] = "cassandra"
    for name in USERS:
        system.stack.children[name].spec.env["LOG_STORE"] = "cassandra"


class Life:
    """Three people with something of everything, who are offline while the log moves."""

    ann: Phone
    bob: Phone
    cat: Phone
    laptop: Phone
    talk: str
    hidden: str
    group: str
    count: int  # of Ann's phone in their talk

    @classmethod
    async def lead(cls, system: System) -> Life:
        life = cls()
        life.ann, life.bob, life.cat = await asyncio.gather(*[sign_up(system) for _ in range(3)])
        ann, bob, cat = life.ann, life.bob, life.cat
        life.laptop = await link(bob)
        life.talk, life.hidden = await ann.direct(bob), await ann.direct(cat)
        life.group = await make(ann, bob, cat)
        url = system.gateways["gateway-1"]["ws"]
        async with await Peer.open(url, life.laptop):
            pass
        async with (
            await Peer.open(url, ann) as a,
            await Peer.open(url, bob) as b,
            await Peer.open(url, cat) as c,
        ):
            first = await a.say(life.talk, "one", seq_num=1)
            second = await a.say(life.talk, "two", seq_num=2)
            await done(b, react(life.talk, first.message_id))
            await done(a, edit(life.talk, first.message_id))
            await done(a, delete(life.talk, second.message_id))
            await a.say(life.talk, "once", view_once=True, expires_in=86_400, seq_num=3)
            assert await set_timer(bob, life.talk, 86_400) == 200
            last = await a.say(life.talk, "timed", seq_num=4)
            await a.say(life.group, "to all")
            await c.say(life.hidden, "seen")
            await block(ann, cat)
            await c.say(life.hidden, "not seen")
            for event in (first, last):
                await b.ack(life.talk, event.seq or 0)
            await b.read(life.talk, first.seq or 0)
            await until(lambda: life.is_read(bob, life.talk), "it is read")
            life.count = 4
        for phone, body in ((ann, {"pinned": True, "draft": "c2VjcmV0"}), (bob, {"mutedUntil": 2**52})):
            answer = await phone.rest("PATCH", f"/conversations/{life.talk}", body)
            assert answer.status_code == 200, answer.text
        return life

    @staticmethod
    async def is_read(reader: Phone, conversation: str) -> bool:
        items = (await reader.rest("GET", "/conversations")).json()["items"]
        return bool(next(one for one in items if one["conversationId"] == conversation)["read"])

    @property
    def people(self) -> tuple[Phone, ...]:
        return self.ann, self.bob, self.cat

    async def told(self) -> dict[str, Any]:
        """All that these people can be told of it by REST."""
        found: dict[str, Any] = {}
        for number, phone in enumerate((*self.people, self.laptop)):
            found[f"{number} list"] = (await phone.rest("GET", "/conversations")).json()
            found[f"{number} badge"] = (await phone.rest("GET", "/me/badge")).json()
            found[f"{number} blocks"] = (await phone.rest("GET", "/blocks")).json()
            for conversation in (self.talk, self.hidden, self.group):
                path = f"/conversations/{conversation}/events?limit=100"
                found[f"{number} {conversation}"] = (await phone.rest("GET", path)).json()
        return found


async def move(system: System, deaths: tuple[str, ...]) -> None:
    """``deaths``: fault points at which the cut-over is killed, one run after the other, before it is let through."""
    mover, life = Mover(system), await Life.lead(system)
    before = await life.told()
    async with Load.on(system, pairs=2) as load:
        offline = await link(load.readers[0].phone)
        laptop = Device(load.history, offline, [one["ws"] for one in system.gateways.values()])
        await laptop.online()
        seen = load.history.devices[laptop.id]
        await until(lambda: seen.got, "the laptop is told what is said behind its linking")
        seen.begins = {conversation: shown[0].seq - 1 for conversation, shown in seen.got.items()}
        await laptop.leave()
        await load.goes_on("before", 10)
        await mover.run("--to", "cassandra", "--workers", "2")
        await load.goes_on("copied once", 10)
        await mover.run("--to", "cassandra", "--workers", "2", "--compare")
        await load.goes_on("copied and compared", 10)
        for point in deaths:
            (system.data / "faults" / f"kill-{point}").touch()
            async with mover.running("--to", "cassandra", "--cut-over", "--wait", "120") as process:
                if point == "move-emptied":  # it waits until nobody lives before it empties the hot node
                    await until(
                        lambda p=process: WAITS in mover.said or p.returncode is not None, "it waits", 120
                    )
                    await stopped(system)
            assert process.returncode == -signal.SIGKILL, mover.said
            if point == "move-copied":
                await load.goes_on("killed before the fence", 3)
                continue
            if point != "move-emptied":
                await refused(load)
            await mover.run("--back")
            if point == "move-emptied":
                await started(system)
            await load.goes_on(f"killed at {point} and taken back", 3)
        # One gateway is as good as dead, and comes back when all is over.
        await asyncio.to_thread(system.stack.join_gateway, OLD)
        child = system.stack.children[OLD]
        child.spec.env = dict(child.spec.env)  # its own: it is not switched
        old = Device(load.history, await sign_up(system), [system.gateways[OLD]["ws"]])
        await old.online()
        friend = load.writers[0].phone
        talk = await old.phone.direct(friend)
        load.history.talk(talk, [old.phone.user, friend.user])
        await old.say(talk, "before")
        system.kill(OLD, signal.SIGSTOP)
        async with mover.running("--to", "cassandra", "--cut-over", "--wait", "120") as process:
            await until(lambda: "Writes are stopped" in mover.said or process.returncode, mover.said, 120)
            await refused(load)
            await until(lambda: WAITS in mover.said or process.returncode is not None, "it waits", 120)
            await stopped(system)
        assert process.returncode == 0, mover.said
        print(f"\n{mover.said}")
        assert re.search(r"Nothing was written for [\d.]+ s", mover.said)
        switch(system)
        await started(system)
        # The old one wakes up: what it is sent it does not confirm, and it ends by itself.
        old.urls.append(system.gateways["gateway-1"]["ws"])
        late = old.prepare(talk, "to the old one")
        system.kill(OLD, signal.SIGCONT)
        await old.attempt(late)
        assert not late.seq, "confirmed by who does not keep the log any more"
        await until(lambda: system.processes[OLD] is None, "the old gateway ends", 60)
        assert "The log has moved" in system.log(OLD)
        await starts_not(system, OLD, "has moved")
        while not await old.attempt(late):
            if not old.alive:
                await old.connect()
        await load.goes_on("on Cassandra", 10)
        await load.all_is_well()
        await laptop.online()
        await until(lambda: not load.history.missing(laptop.id), "the laptop has its backlog", 60)
        load.history.check(laptop.id)
        await old.leave()
        await laptop.leave()
        load.tell("the log moves to Cassandra")
    assert await life.told() == before
    await goes_on(system, life)


async def stopped(system: System) -> None:
    """Who uses the log ends in its orderly way."""
    for name in USERS:
        await asyncio.to_thread(system.stop_part, name)


async def started(system: System) -> None:
    await asyncio.gather(*[asyncio.to_thread(system.restart, name) for name in USERS])


async def refused(load: Load) -> None:
    """Until each writer was told ``unavailable`` by a system that goes on."""
    told = [load.unavailable(device) for device in load.writers]
    for device, number in zip(load.writers, told, strict=True):
        await until(lambda d=device, n=number: load.unavailable(d) > n, "its sender is told unavailable", 60)


async def starts_not(system: System, name: str, why: str) -> None:
    child = system.stack.children[name]
    child.start()
    assert await asyncio.to_thread(child.wait, 200)
    assert why in system.log(name)


async def goes_on(system: System, life: Life) -> None:
    """Counts, the view-once rule, the block and the backlog of a device are what they were."""
    async with await Peer.open(system.ws, life.ann) as ann, await Peer.open(system.ws, life.cat) as cat:
        answer = await ann.attempt(life.talk, "out of order", seq_num=life.count + 5)
        assert isinstance(answer, frames.Error), answer
        assert answer.code == "out_of_order"
        await ann.say(life.talk, "five", seq_num=life.count + 1)
        await cat.say(life.hidden, "still not seen")
        events = (await life.ann.rest("GET", f"/conversations/{life.hidden}/events?limit=100")).json()[
            "items"
        ]
        assert len([one for one in events if one.get("senderId") == life.cat.user]) == 1, events
    async with await Peer.open(system.ws, life.laptop, sync=False) as laptop:
        batches = await laptop.sync()
        got = [
            one.encrypted_content
            for batch in batches
            for one in batch.events
            if isinstance(one, frames.Message)
        ]
        assert b"five" in got
        assert b"to all" in got


async def test_a_living_system_moves_and_nothing_is_lost(system: System) -> None:
    await move(system, ())


@pytest.mark.long
async def test_a_living_system_moves_although_the_command_is_killed_at_every_step(system: System) -> None:
    await move(system, ("move-copied", "move-fenced", "move-compared", "move-emptied"))


async def test_processes_that_look_for_the_log_where_it_is_not_do_not_start(system: System) -> None:
    async with Load.on(system, pairs=1) as load:
        await load.goes_on("before", 1)
    await stopped(system)
    switch(system)
    for name in ("gateway-1", "worker-1"):
        await starts_not(system, name, "has not moved")
