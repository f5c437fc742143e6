"""``manage.py move_log``: the fence, the cut-over, the way back, and that it may die and not run twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from django.core.management import CommandError, call_command

from delivery.store.cassandra.returned import WayBack
from delivery.store.cassandra.store import CassandraStore
from delivery.store.interface import Unavailable
from delivery.store.moving import TABLES, Ledger, Running
from delivery.store.values import PageRequest, PositionWrite, ReceiptWrite
from delivery.whereabouts import judge
from tests.contract.both import Both
from tests.contract.people import T0, new_id, send

pytestmark = pytest.mark.needs_cassandra


@pytest.fixture
async def both(both: Both) -> Both:
    """Alone in the keyspace, because the way back looks at all there is."""
    mine = {both.direct, both.blocked, both.group}
    for (conversation,) in await both.session.rows("SELECT conversation FROM $.conversation"):
        if conversation not in mine:
            await both.session.run("DELETE FROM $.conversation WHERE conversation = ?", conversation)
    for (member,) in await both.session.rows("SELECT DISTINCT member FROM $.device"):
        await both.session.run(f"DELETE FROM $.device USING TIMESTAMP {2**62} WHERE member = ?", member)
    return both


class Command:
    """The command, in this process or in one of its own."""

    def __init__(self, both: Both, hot_url: str, capsys: Any, tmp_path: Path) -> None:
        self.both, self.hot_url, self._capsys, self._folder = both, hot_url, capsys, tmp_path

    async def __call__(self, *arguments: str) -> str:
        await asyncio.to_thread(call_command, "move_log", *arguments)
        return str(self._capsys.readouterr().out)

    async def cut_over(self, *arguments: str) -> str:
        return await self("--to", "cassandra", "--cut-over", "--wait", "0", *arguments)

    async def alone(self, *arguments: str, die: str = "") -> int:
        """Its exit code; ``die``: the fault point at which it is killed."""
        host, port = self.both.at
        if die:
            armed = self._folder / "faults" / f"kill-{die}"
            armed.parent.mkdir(exist_ok=True)
            armed.touch()
        env = {
            **os.environ,
            "WHATSAPP_TEST_BUILD": "1",
            "WHATSAPP_DATA": str(self._folder),
            "DATABASE_URL": self.both.url,
            "HOT_URL": self.hot_url,
            "CASSANDRA_CONTACT_POINTS": f"{host}:{port}",
            "CASSANDRA_KEYSPACE": self.both.session.keyspace,
        }
        command = [sys.executable, "manage.py", "move_log", *arguments]
        ran = await asyncio.to_thread(
            subprocess.run, command, env=env, capture_output=True, text=True, check=False
        )
        self.said = ran.stdout + ran.stderr
        return ran.returncode


@pytest.fixture
def command(both: Both, settings: Any, valkey_server: Any, capsys: Any, tmp_path: Path) -> Command:
    settings.DATABASE_URL, settings.HOT_URL = both.url, valkey_server.url(8)
    (host, port), settings.CASSANDRA_KEYSPACE = both.at, both.session.keyspace
    settings.CASSANDRA_CONTACT_POINTS, settings.CASSANDRA_PORT = [host], port
    settings.LOG_STORE = "postgres"
    with redis.Redis.from_url(settings.HOT_URL) as hot:
        hot.flushdb()
    return Command(both, settings.HOT_URL, capsys, tmp_path)


async def state(both: Both) -> str:
    rows = await both.harness.sql("SELECT state FROM delivery_move")
    return str(rows[0][0]) if rows else ""


async def test_it_cuts_over_when_nobody_uses_the_log(both: Both, command: Command, settings: Any) -> None:
    with redis.Redis.from_url(settings.HOT_URL) as hot:
        hot.set("gw:{one}:alive", "gateway-1")
        hot.set("a mark", "of before")
        assert "3 conversations, of 3 the events; 3 devices" in await command("--to", "cassandra")
        await both.old.unlink_device(both.cat, both.devices[both.cat], T0 + 60)
        with pytest.raises(CommandError, match="1 processes use the log"):
            await command.cut_over()
        assert await state(both) == "copying"
        assert hot.exists("a mark")
        await both.say(both.ann, both.direct, b"it goes on", seq_num=3)
        hot.delete("gw:{one}:alive")
        said = await command.cut_over()
        assert "of 1 the events; 2 devices" in said
        assert "of 0 the events; 2 devices" in said
        assert "8 compared" not in said
        assert "Compared, and the same" in said
        assert "Nothing was written since all processes were stopped." in said
        assert not hot.exists("a mark")
    assert await state(both) == "moved"
    old, new = await both.read(both.old), await both.read(both.new)
    for name in old:
        assert new[name] == old[name], name
    with pytest.raises(CommandError, match="has moved"):
        await command("--to", "cassandra")
    settings.LOG_STORE = "cassandra"
    with pytest.raises(CommandError, match="not on PostgreSQL any more"):
        await command("--to", "cassandra")


async def everything_written(both: Both) -> dict[str, Callable[[], Any]]:
    """What an old process may still try to write."""
    old, ann, phone = both.old, both.ann, both.devices[both.ann]
    return {
        "a message": lambda: old.append(new_id(), [send(both.direct, ann, phone, body=b"late")], T0 + 300),
        "an ack": lambda: old.save([PositionWrite(phone, both.direct, 1)], [], T0 + 300),
        "a receipt": lambda: old.save([], [ReceiptWrite(both.direct, ann, 3, 3)], T0 + 300),
        "a device": lambda: old.link_device(ann, new_id(), T0 + 300),
        "an unlinked device": lambda: old.unlink_device(ann, phone, T0 + 300),
        "a conversation": lambda: old.ensure_direct(both.bob, both.cat, new_id(), T0 + 300),
        "a block": lambda: old.withhold(both.bob, ann, True, T0 + 300),
        "a timer": lambda: old.set_timer(new_id(), both.direct, ann, new_id(), 60, b"\x80", T0 + 300),
        "a vanished message": lambda: old.vanish(T0 + 10 * 60_000, 10),
        "an old message": lambda: old.expire(T0 + 90 * 86_400_000, T0 + 91 * 86_400_000, 10),
    }


async def test_whoever_still_writes_to_postgresql_is_refused(both: Both, command: Command) -> None:
    await command.cut_over()
    for what, write in (await everything_written(both)).items():
        with pytest.raises(Unavailable, match="moved"):
            await write()
            pytest.fail(f"{what} was written")
    (page,) = await both.new.pages([PageRequest(both.direct, both.bob, 0)])
    (there,) = await both.old.pages([PageRequest(both.direct, both.bob, 0)])
    assert page.events == there.events


async def test_without_the_fence_what_an_old_process_writes_is_confirmed_and_lost(
    both: Both, command: Command
) -> None:
    """The twin."""
    await command.cut_over()
    for table in TABLES:
        await both.harness.sql(f"DROP TRIGGER delivery_moved ON {table}")
    lost = await both.say(both.ann, both.direct, b"late", seq_num=3)
    assert await both.new.stored([(both.ann, lost)]) == [None]


async def test_the_fence_waits_for_who_is_writing(both: Both, command: Command) -> None:
    """And what was begun before it is in the copy."""
    async with await psycopg.AsyncConnection.connect(both.url) as writer:
        await writer.execute(
            "UPDATE delivery_receipt SET read = 3 WHERE conversation = %s AND member = %s",
            (both.direct, both.bob),
        )
        cutting = asyncio.create_task(command.cut_over())
        await both.harness.waiting()
        assert await state(both) == "copying"
        await writer.commit()
        await cutting
    receipts = await both.new.receipts([], both.bob, 0)
    assert [one.read for one in receipts if (one.conversation, one.user) == (both.direct, both.bob)] in (
        [3],
        [],
    )
    ((read,),) = await both.session.rows(
        "SELECT read FROM $.receipt WHERE conversation = ? AND member = ?", both.direct, both.bob
    )
    assert read == 3


async def test_a_planted_difference_stops_the_cut_over(both: Both, command: Command) -> None:
    await command("--to", "cassandra", "--compare")
    await both.session.run(
        f"DELETE FROM $.event WHERE conversation = {both.direct} AND bucket = 0 AND seq = 3"
    )
    with pytest.raises(CommandError, match=f"Not moved: {both.direct}"):
        await command.cut_over()
    assert await state(both) == "copying"
    await both.say(both.ann, both.direct, b"it goes on", seq_num=3)
    await command.cut_over()
    assert await state(both) == "moved"
    new = await both.new.pages([PageRequest(both.direct, both.bob, 0)])
    assert new == await both.old.pages([PageRequest(both.direct, both.bob, 0)])


@pytest.mark.timeout(400)
@pytest.mark.parametrize("point", ["move-copied", "move-fenced", "move-compared", "move-emptied"])
async def test_it_is_killed_and_run_again(both: Both, command: Command, point: str) -> None:
    arguments = ("--to", "cassandra", "--cut-over", "--wait", "0")
    assert await command.alone(*arguments, die=point) == -signal.SIGKILL, command.said
    if point == "move-copied":
        await both.say(both.ann, both.direct, b"it goes on", seq_num=3)
    else:
        with pytest.raises(Unavailable):
            await both.old.save([PositionWrite(both.devices[both.ann], both.direct, 1)], [], T0 + 300)
        with pytest.raises(CommandError, match="under way, or was interrupted"):
            await command("--to", "cassandra")
    await command(*arguments)
    assert await state(both) == "moved"
    old, new = await both.read(both.old), await both.read(both.new)
    for name in old:
        assert new[name] == old[name], name


@pytest.mark.timeout(400)
@pytest.mark.parametrize("point", ["move-fenced", "move-compared"])
async def test_it_is_killed_and_taken_back(both: Both, command: Command, point: str) -> None:
    assert await command.alone("--to", "cassandra", "--cut-over", die=point) == -signal.SIGKILL, command.said
    assert "writes go on" in await command("--back")
    await both.say(both.ann, both.direct, b"it goes on", seq_num=3)
    await command.cut_over()
    assert await state(both) == "moved"


async def test_two_at_once_are_refused(both: Both, command: Command) -> None:
    async with Ledger.open(both.url):
        with pytest.raises(CommandError, match="Another move_log runs"):
            await command("--to", "cassandra")
        with pytest.raises(Running):
            async with Ledger.open(both.url):
                pass
    await command("--to", "cassandra")


async def test_there_is_a_way_back_until_something_was_written(both: Both, command: Command) -> None:
    await command.cut_over()
    phone = both.devices[both.bob]
    await both.new.save(
        [PositionWrite(phone, both.direct, 6)], [ReceiptWrite(both.direct, both.bob, 6, 6)], T0 + 400
    )
    flags = await both.new.flags(both.ann, both.direct)
    assert flags is not None
    await both.new.set_flags(both.ann, both.direct, flags.flags._replace(draft=b"newer"), T0 + 401)
    assert "PostgreSQL is the log" in await command("--back")
    assert await state(both) == "copying"
    # What was acknowledged, read and set meanwhile is not undone.
    old, new = await both.read(both.old), await both.read(both.new)
    for name in old:
        assert new[name] == old[name], name
    await both.say(both.ann, both.direct, b"it goes on", seq_num=3)
    await command.cut_over()
    said = await both.new.append(new_id(), [send(both.direct, both.bob, phone, body=b"new")], T0 + 500)
    assert said.results[0].seq
    with pytest.raises(CommandError, match=f"no way back: 1 conversations or devices .* {both.direct}"):
        await command("--back")
    assert await state(both) == "moved"


async def test_a_device_that_is_new_is_not_lost_by_going_back(both: Both, command: Command) -> None:
    await command.cut_over()
    device = new_id()
    await both.new.link_device(both.ann, device, T0 + 500)
    with pytest.raises(CommandError, match=f"no way back: 1 conversations or devices .* {device}"):
        await command("--back")


async def test_a_change_that_waits_is_not_lost_by_going_back(both: Both, command: Command) -> None:
    """It was told to nobody on Cassandra, and nobody tells it to PostgreSQL: who was removed would stay a member."""
    await command.cut_over()
    await both.harness.sql(
        "INSERT INTO delivery_pending (subject, due_at, written_at, operation, parked, tries, failures, error)"
        f" VALUES ('{both.group}', 0, 0, '', true, 0, 0, '') RETURNING id"
    )
    with pytest.raises(CommandError, match="no way back: 1 changes wait"):
        await command("--back")
    assert await state(both) == "moved"


async def test_who_starts_while_it_is_taken_back_is_refused(
    both: Both, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what it confirms behind the look is in neither log."""
    await command.cut_over()
    obstacles = WayBack.obstacles
    judged: list[str] = []

    async def look(way: WayBack) -> list[str]:
        found = await obstacles(way)
        judged.append(judge("cassandra", await state(both), True))
        with redis.Redis.from_url(command.hot_url) as hot:
            hot.set("gw:{late}:alive", "it had started a moment before")
        return found

    monkeypatch.setattr(WayBack, "obstacles", look)
    with pytest.raises(CommandError, match="1 processes use the log"):
        await command("--back")
    assert "on its way back" in judged[0]
    assert await state(both) == "moved"
    monkeypatch.undo()
    with redis.Redis.from_url(command.hot_url) as hot:
        hot.delete("gw:{late}:alive")
    assert await state(both) == "moved"


async def test_who_has_looked_before_it_is_taken_back_is_seen(
    both: Both, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway that a supervisor has started, which serves somebody and is ended again while it is looked for obstacles."""
    await command.cut_over()
    returning, obstacles = Ledger.returning, WayBack.obstacles

    async def begins(ledger: Ledger, on: bool) -> None:
        if on:
            with redis.Redis.from_url(command.hot_url) as hot:
                hot.set("gw:{early}:alive", "gateway-1")
            assert judge("cassandra", await state(both), True) == ""
        await returning(ledger, on)

    async def look(way: WayBack) -> list[str]:
        found = await obstacles(way)
        late = send(both.direct, both.ann, both.devices[both.ann])
        await CassandraStore(way._db).append(new_id(), [late], T0 + 300)
        with redis.Redis.from_url(command.hot_url) as hot:
            hot.delete("gw:{early}:alive")
        return found

    monkeypatch.setattr(Ledger, "returning", begins)
    monkeypatch.setattr(WayBack, "obstacles", look)
    with pytest.raises(CommandError, match="1 processes use the log"):
        await command("--back")
    assert await state(both) == "moved"
    with redis.Redis.from_url(command.hot_url) as hot:
        hot.delete("gw:{early}:alive")


async def test_finishing_deletes_what_was_left_and_ends_the_way_back(both: Both, command: Command) -> None:
    with pytest.raises(CommandError, match="nothing to finish"):
        await command("--finish")
    await command.cut_over()
    assert "on Cassandra. --back is possible" in await command("--status")
    await command("--finish")
    assert "for good" in await command("--status")
    assert await both.harness.sql("SELECT count(*) FROM delivery_event") == [(0,)]
    with pytest.raises(CommandError, match="no way back"):
        await command("--back")
    with pytest.raises(Unavailable):
        await both.say(both.ann, both.direct, b"late")
    assert json.dumps(sorted(await both.new.conversations([both.direct]))) == json.dumps([both.direct])
