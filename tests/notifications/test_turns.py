"""Who sends first through an app: a burst of messages delays no call. Order, not time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from notifications import lane
from notifications.lane import Lane
from notifications.senders.interface import Outcome, PushApp, Result, Target, Urgency
from notifications.turns import Turns
from tests.notifications.dispatching import Recorder, push
from tests.support.patience import until
from whatsapp.infra.clock import now_ms

MANY = 5_000
TO = Target("user", "device", "ios", "token")


class Line:
    """Sends under way and waiting of one :class:`Turns`; each ends when it is told to."""

    def __init__(self, turns: Turns) -> None:
        self.turns = turns
        self.begun: list[str] = []
        self._ends: dict[str, asyncio.Event] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def come(self, name: str, urgency: Urgency) -> None:
        self._ends[name] = asyncio.Event()
        self._tasks[name] = asyncio.create_task(self._send(name, urgency))

    async def _send(self, name: str, urgency: Urgency) -> None:
        async with self.turns.turn(urgency):
            self.begun.append(name)
            await self._ends[name].wait()

    async def end(self, *names: str) -> None:
        for name in names:
            self._ends[name].set()
            await self._tasks[name]
        await settled()

    async def cancel(self, name: str) -> None:
        self._tasks[name].cancel()
        await asyncio.gather(self._tasks[name], return_exceptions=True)
        await settled()

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)


async def settled() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_calls_first_then_messages_then_what_is_silent() -> None:
    line = Line(Turns(2, 10**6))
    for name, urgency in (
        ("m1", Urgency.MESSAGE),
        ("m2", Urgency.MESSAGE),
        ("s1", Urgency.SILENT),
        ("m3", Urgency.MESSAGE),
        ("c1", Urgency.CALL),
        ("c2", Urgency.CALL),
        ("m4", Urgency.MESSAGE),
    ):
        line.come(name, urgency)
    await settled()
    assert line.begun == ["m1", "m2", "c1"]  # one place is for calls alone
    for ended, next_one in (("m1", "c2"), ("m2", None), ("c1", "m3"), ("c2", "m4"), ("m3", "s1")):
        await line.end(ended)
        assert line.begun[-1] == next_one or next_one is None
    await line.close()
    assert line.turns.under_way == line.turns.waiting == 0


async def test_a_place_is_kept_for_calls_however_many_messages_wait() -> None:
    line = Line(Turns(8, 10**6))
    for number in range(MANY):
        line.come(f"m{number}", Urgency.MESSAGE)
    await settled()
    assert len(line.begun) == 8
    line.come("call", Urgency.CALL)
    await settled()
    assert line.begun[-1] == "call"  # none of those under way has ended
    await line.close()


async def test_twin_a_message_waits_for_those_before_it() -> None:
    line = Line(Turns(8, 10**6))
    for number in range(20):
        line.come(f"m{number}", Urgency.MESSAGE)
    line.come("no call", Urgency.MESSAGE)
    await settled()
    assert len(line.begun) == 8
    await line.end("m0")
    assert line.begun[-1] == "m8"
    await line.close()


async def test_who_gives_up_takes_nobody_s_place() -> None:
    line = Line(Turns(1, 10**6))
    for name in ("m1", "m2", "m3"):
        line.come(name, Urgency.MESSAGE)
    await settled()
    await line.cancel("m2")
    await line.cancel("m1")
    assert line.begun == ["m1", "m3"]
    await line.end("m3")
    assert line.turns.under_way == line.turns.waiting == 0


async def test_so_many_a_second_and_calls_beyond_them() -> None:
    now = [100.0]
    line = Line(Turns(100, 5, lambda: now[0]))
    for number in range(20):
        line.come(f"m{number}", Urgency.MESSAGE)
    await settled()
    assert len(line.begun) == 5
    line.come("call", Urgency.CALL)
    await settled()
    assert line.begun[5:] == ["call"]
    now[0] += 1
    await until(lambda: len(line.begun) == 11, "five more, a second later")
    await line.close()


def lane_of(sender: Recorder, clock: Callable[[], float] | None = None) -> Lane:
    app = PushApp("ios", "apns", {}, concurrency=16)
    return Lane(app, sender, clock) if clock else Lane(app, sender)


async def test_a_burst_behind_a_slow_provider_does_not_hold_a_call_up() -> None:
    sender = Recorder()
    sender.gate.clear()
    mine = lane_of(sender)
    tasks = [asyncio.create_task(mine.send(TO, push(), None)) for _ in range(MANY)]
    await settled()
    assert len(sender.begun) == 16
    call = asyncio.create_task(mine.send(TO, push(Urgency.CALL), None))
    await settled()
    assert sender.begun[16].urgency is Urgency.CALL
    assert mine.waiting == MANY - 16
    sender.gate.set()
    await asyncio.gather(call, *tasks)
    assert len(sender.sent) == MANY + 1


async def test_what_waited_too_long_for_its_turn_is_not_sent() -> None:
    sender = Recorder()
    assert await lane_of(sender).send(TO, push(), now_ms() - 1) is None
    assert not sender.begun


async def test_one_push_is_tried_after_a_while() -> None:
    now = [100.0]
    sender = Recorder({"token": Result(Outcome.LATER, "ServiceUnavailable", 503, of_app=True)})
    mine = lane_of(sender, lambda: now[0])
    for _ in range(8):
        await mine.send(TO, push(), None)
    assert len(sender.sent) == 5
    assert mine.wait_ms == 5_000
    now[0] += 5
    assert mine.state == 1
    sender.gate.clear()
    trial = asyncio.create_task(mine.send(TO, push(), None))
    await settled()
    other = await mine.send(TO, push(), None)
    assert other is not None
    assert (other.reason, other.retry_after_ms) == (lane.LEFT_ALONE, 1_000)
    sender.answers.clear()
    sender.gate.set()
    assert (await trial).outcome is Outcome.ACCEPTED
    assert mine.state == 0
    assert (await mine.send(TO, push(), None)).outcome is Outcome.ACCEPTED


async def test_a_sender_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "SEND_S", 0.01)
    sender = Recorder()
    sender.gate.clear()
    result = await lane_of(sender).send(TO, push(), None)
    assert (result.outcome, result.reason, result.of_app) == (Outcome.LATER, "timeout", True)
    sender.provider = "webpush"
    result = await lane_of(sender).send(TO, push(), None)
    assert result == Result(Outcome.LATER, "timeout")  # of this push service alone
