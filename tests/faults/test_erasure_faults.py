"""An erasure whose worker is killed while a store of it hangs. It is found again by its row, goes on where it was, and nothing is
left; what the account had sent comes to whoever was away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import psycopg
import pytest
from celery import Celery

from accounts.limits import DAY_MS
from accounts.services.erasure import GATHER_MS, LEASE_MS
from devtools.processes import children
from tests.faults.rig import Rig
from tests.gateway.peer import Peer, events_of, texts
from tests.gateway.phone import Phone, couple
from tests.media.test_blocking import uploaded
from tests.media.test_references import carry
from tests.staff.test_live import manage
from tests.support.patience import LONG, until
from tests.support.stack import System
from whatsapp.wire import frames

pytestmark = [pytest.mark.needs_system, pytest.mark.needs_s3, pytest.mark.long, pytest.mark.timeout(300)]

PIN = "271828"
#: Without any progress of the storage: longer than a test takes to kill who waits for it.
PATIENCE_MS = 10_000
#: For what a worker does when it is told (s); then time goes on.
TURN_S = 6
#: What is done of an erasure when its worker waits for this part: stores are visited in the order of their names.
BEFORE = {"postgres": "conversations", "valkey": "groups", "s3": "hot"}


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    env = {"WHATSAPP_TEST_BUILD": "1", "S3_TIMEOUT_MS": str(PATIENCE_MS), "S3_BREAKER_OPEN_MS": "1000"}
    with System(env=env, gateways=1, s3=True) as running:
        yield Rig(running)


def signal_all(rig: Rig, name: str, number: int) -> None:
    """A part with all its children, which PostgreSQL's backends are."""
    pid = rig.system.processes[name]
    assert pid is not None
    for one in [pid, *children(pid)]:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, number)


class Ending:
    """Ann, whose account ends, and Bob, who was away when she wrote last."""

    def __init__(self, rig: Rig, ann: Phone, bob: Phone, conversation: str) -> None:
        self.rig, self.ann, self.bob, self.conversation = rig, ann, bob, conversation
        self.clock = 0

    def sql(self, what: str) -> str:
        return self.rig.system.sql(f"SELECT {what} FROM accounts_erasure ORDER BY id DESC LIMIT 1")

    def later(self, ms: int) -> None:
        self.clock += ms
        self.rig.move_clock(self.clock)

    def as_beat(self) -> None:
        with Celery(broker=self.rig.system.env["BROKER_URL"]) as app:
            app.send_task("accounts.tasks.erase_due", queue="maintenance", retry=False)

    async def comes_to(self, *states: str) -> None:
        """As time passes: beat looks again and again, for what a lease, a pause or a search waits for."""
        for _ in range(20):
            self.later(GATHER_MS if self.sql("state") == "verifying" else LEASE_MS)
            self.as_beat()
            with contextlib.suppress(AssertionError):
                await until(lambda: self.sql("state") in states, f"it is {states}", TURN_S)
                return
        raise AssertionError(self.sql("state || ' ' || error || ' ' || stores::text"))


@asynccontextmanager
async def ending(rig: Rig) -> AsyncIterator[Ending]:
    ann, bob, conversation = await couple(rig.system)
    assert (await ann.rest("PUT", "/auth/pin", {"pin": PIN})).status_code == 204
    url = rig.one
    media, body = await uploaded(ann, conversation, b"a file of hers" * 100)
    assert body["state"] == "ready"
    async with await Peer.open(url, ann) as peer:
        for number in range(5):
            await peer.say(conversation, f"word {number}")
        assert (await carry(peer, conversation, media)).status == "sent"
    try:
        yield Ending(rig, ann, bob, conversation)
    finally:
        for name in ("postgres", "valkey", "s3"):
            signal_all(rig, name, signal.SIGCONT)
        await rig.repair()
        if rig.system.processes["worker-1"] is None:
            await rig.run("worker-1")


@pytest.mark.parametrize("part", ["valkey", "s3", "postgres"])
async def test_a_worker_dies_while_a_store_hangs(rig: Rig, part: str) -> None:
    async with ending(rig) as end:
        answer = await end.ann.rest("DELETE", "/me", {"pin": PIN})
        assert answer.status_code == 204, answer.text
        async with await Peer.open(rig.one, end.bob, sync=False) as bob:
            events = events_of(await bob.sync())
        said = texts(event for event in events if isinstance(event, frames.Message))
        assert [f"word {number}" for number in range(5)] == said[:5]
        end.later(33 * DAY_MS)
        manage(
            rig.system,
            "shell",
            "--no-imports",
            "-c",
            "from delivery.tasks import expire; expire()",
        )
        with psycopg.connect(rig.system.database_url) as lock:
            lock.execute("LOCK TABLE groups_joinrequest IN ACCESS EXCLUSIVE MODE")
            end.as_beat()
            await until(lambda: '"conversations"' in end.sql("stores::text"), "the step has begun", LONG)
            signal_all(rig, part, signal.SIGSTOP)
            if part != "postgres":
                lock.rollback()
                wanted = BEFORE[part]
                await until(lambda: f'"{wanted}"' in end.sql("stores::text"), "it waits", LONG)
            rig.system.kill("worker-1")
            signal_all(rig, part, signal.SIGCONT)
            lock.rollback()
        await rig.run("worker-1")
        await end.comes_to("verifying", "done")
        await end.comes_to("done")
        # Development's SMS, which no store of ours is, have every number in them.
        (rig.system.data / "sms.jsonl").write_text("")
        ann = end.ann
        arguments = ("residue", ann.user, "--phone", ann.number, "--device", ann.device)
        assert "Nothing is left" in await asyncio.to_thread(manage, rig.system, *arguments)
