"""Limits of one account on a running system: on open sockets within a second, and until they end."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import pytest

from devtools.paths import REPO
from tests.gateway.peer import Peer
from tests.gateway.phone import Phone, couple, new_id, sign_up
from tests.support import early
from tests.support.patience import until
from whatsapp.wire import frames
from whatsapp.wire.errors import Code

pytestmark = pytest.mark.timeout(400)

#: Which limits are met here, and to what they are lowered.
MET: Final = {
    "messages_per_minute": 2,
    "frames_per_second": 10,
    "syncs_per_minute": 2,
    "typing_per_minute": 3,
    "typing_per_chat_10s": 2,
    "presence_per_minute": 2,
    "presence_subscriptions": 1,
    "open_chats": 1,
    "pending_sends": 1,
    "forward_chats": 1,
    "forward_many_chats": 1,
}


_LOOP: Final = """
import sys
from accounts.models import Account
from accounts.services import limit_overrides as o
print("ready", flush=True)
for line in sys.stdin:
    exec(line)
    print("done", flush=True)
"""


class Office:
    """A process of its own that calls services, as the admin and the workers are."""

    def __init__(self, env: dict[str, str]) -> None:
        self._run = subprocess.Popen(
            [sys.executable, "manage.py", "shell", "--no-imports", "-c", _LOOP],
            cwd=REPO, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        self._wait("ready")

    def do(self, *lines: str) -> None:
        assert self._run.stdin is not None
        for line in lines:
            self._run.stdin.write(line + "\n")
            self._run.stdin.flush()
            self._wait("done")

    def _wait(self, word: str) -> None:
        assert self._run.stdout is not None
        assert self._run.stdout.readline().strip() == word

    def close(self) -> None:
        assert self._run.stdin is not None
        self._run.stdin.close()
        self._run.wait(30)
        assert self._run.stdout is not None
        self._run.stdout.close()


@pytest.fixture(scope="module")
def office(stack: Any) -> Iterator[Office]:
    office = Office(stack.env)
    yield office
    office.close()


async def service(office: Office, *lines: str) -> None:
    await asyncio.to_thread(office.do, *lines)


def lowered(phone: Phone, name: str, value: int, lasts_ms: int | None = None) -> str:
    end = f"o.now_ms() + {lasts_ms}" if lasts_ms is not None else "None"
    return (
        f'o.set_override(scope="user", subject="{phone.user}", name="{name}", value={value}, until={end},'
        ' reason="a test", by="ann")'
    )


def cleared(phone: Phone, name: str) -> str:
    return f'o.clear_override(scope="user", subject="{phone.user}", name="{name}")'


def classed(phone: Phone, limit_class: str) -> str:
    return (
        f'o.set_class(account=Account.objects.get(pk="{phone.user}"), limit_class="{limit_class}", by="ann")'
    )


async def follows(check: Callable[[], Awaitable[bool]], what: str) -> None:
    """It does within a second of when it was committed; what was called said so by ending."""
    began = time.monotonic()
    await until(check, what)
    assert time.monotonic() - began < (5 if early.WORKER else 2)


async def refused(peer: Peer, frame: Any) -> frames.Error | None:
    """The answer to a frame that has none when all is well."""
    await peer.send(frame)
    await peer.round_trip()
    errors = peer.waiting(frames.Error)
    for _ in errors:
        await peer.expect(frames.Error)
    return errors[0] if errors else None


async def test_every_rate_of_the_socket_is_lowered_while_it_is_open(stack: Any, office: Office) -> None:
    ann, bob, chat = await couple(stack)
    others = [await ann.direct(await sign_up(stack)) for _ in range(3)]
    async with await Peer.open(stack.ws, ann) as a, await Peer.open(stack.ws, bob) as b:
        for peer in (a, b):
            for _ in range(5):
                await peer.say(chat)
        # Messages last: who meets that limit has the others too.
        low = [name for name in MET if name.endswith(("_minute", "_10s")) and name != "messages_per_minute"]
        await service(office, *[lowered(ann, name, MET[name]) for name in (*low, "messages_per_minute")])

        async def slowed() -> Any:
            answer = await a.attempt(chat)
            return answer if isinstance(answer, frames.Error) else None

        error = await until(slowed, "the lower limit is met")
        assert (error.code, error.retryable) == ("rate_limited", True)
        assert 0 < error.retry_after_ms <= 60_000

        rates: dict[str, Callable[[], Any]] = {
            "syncs_per_minute": lambda: frames.Sync(ref="x"),
            "typing_per_chat_10s": lambda: frames.Typing(chat, True, ref="x"),
            "presence_per_minute": lambda: frames.Presence("online", ref="x"),
        }
        for name, made in rates.items():
            found = [await refused(a, made()) for _ in range(MET[name] + 1)]
            last = found[-1]
            assert last is not None, name
            assert (last.code, last.ref) == ("rate_limited", "x")
            assert last.retry_after_ms > 0
        # One of the three that a minute has is left; typing elsewhere is not over its own ten seconds.
        found = [await refused(a, frames.Typing(other, True, ref="x")) for other in others]
        assert found[-1] is not None
        assert found[-1].code == "rate_limited"
        # Nobody else is held to any of it.
        for made in rates.values():
            assert [await refused(b, made()) for _ in range(4)] == [None] * 4
        await b.say(chat)
        await service(office, cleared(ann, "messages_per_minute"), cleared(ann, "presence_per_minute"))

        async def sent() -> bool:
            return isinstance(await a.attempt(chat), frames.StatusUpdate)

        await follows(sent, "messages pass again")


async def test_counts_are_lowered_while_it_is_open(stack: Any, office: Office) -> None:
    ann, bob, chat = await couple(stack)
    other = await ann.direct(await sign_up(stack))
    async with await Peer.open(stack.ws, ann) as a, await Peer.open(stack.ws, bob) as b:
        counts = ("presence_subscriptions", "open_chats", "forward_chats", "forward_many_chats")
        await service(office, *[lowered(ann, name, MET[name]) for name in counts])
        for subscribed in (
            frames.PresenceSubscribe([new_id(), new_id()], ref="x"),
            frames.PresenceSubscribe([], conversation_ids=[chat, other], ref="x"),
        ):

            async def over(subscribed: Any = subscribed) -> Any:
                return await refused(a, subscribed)

            error = await until(over, "the lower count is met")
            assert error.code == Code.LIMIT_EXCEEDED
            assert await refused(b, subscribed) is None or subscribed.conversation_ids
        for times in (0, 9):
            act = new_id()
            await a.say(chat, forward_id=act, forward_count=times)
            error = await a.attempt(other, forward_id=act, forward_count=times)
            assert error.code == Code.LIMIT_EXCEEDED


async def test_frames_and_sends_that_wait(stack: Any, office: Office) -> None:
    ann, bob, chat = await couple(stack)
    await service(
        office,
        lowered(ann, "frames_per_second", MET["frames_per_second"]),
        lowered(ann, "pending_sends", MET["pending_sends"]),
    )
    async with await Peer.open(stack.ws, ann) as a, await Peer.open(stack.ws, bob) as b:
        sends = [a.message(chat) for _ in range(5)]
        answers = await asyncio.gather(*[a.ask(send) for send in sends])
        assert isinstance(answers[0], frames.StatusUpdate)
        over = [answer for answer in answers if isinstance(answer, frames.Error)]
        assert over
        assert all(error.code in ("unavailable", "rate_limited") for error in over)
        with contextlib.suppress(Exception):
            for peer in (b, a):
                for _ in range(300):
                    await peer.send(frames.Ack({new_id(): 1}))
        assert await a.closed() == 4429
        warned = a.waiting(frames.Error)
        assert warned
        assert all(error.code == "rate_limited" and error.retry_after_ms > 0 for error in warned)
        await b.round_trip()


async def test_what_ends_ends_by_itself(stack: Any, office: Office) -> None:
    ann, _, chat = await couple(stack)
    async with await Peer.open(stack.ws, ann) as a:
        await a.say(chat)
        await service(office, lowered(ann, "typing_per_minute", 0, lasts_ms=6_000))

        async def over() -> Any:
            return await refused(a, frames.Typing(chat, True, ref="x"))

        found = await until(over, "the limit is met")
        assert found.code == "rate_limited"

        async def typed() -> bool:
            return await refused(a, frames.Typing(chat, True, ref="x")) is None

        await until(typed, "the limit has ended")


async def test_a_class_is_told_at_ready_and_follows_when_it_changes(stack: Any, office: Office) -> None:
    ann, bob, chat = await couple(stack)
    name = f"c{new_id()[:8]}"
    row = (
        f'o.set_override(scope="class", subject="{name}", name="typing_per_minute", value={{}}, until=None,'
        ' reason="a test", by="ann")'
    )
    await service(office, row.format(0), classed(ann, name), classed(bob, "slowed"))
    async with await Peer.open(stack.ws, ann) as a, await Peer.open(stack.ws, bob) as b:
        assert a.ready is not None
        assert b.ready is not None
        assert b.ready.limits.per_minute == 10 < a.ready.limits.per_minute

        async def typed() -> bool:
            return await refused(a, frames.Typing(chat, True, ref="x")) is None

        assert not await typed(), "from its opening"
        await service(office, row.format(500))
        await follows(typed, "the class has another limit")
        await service(office, row.format(0), classed(ann, ""))
        await follows(typed, "it is of no class any more")
