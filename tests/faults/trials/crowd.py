"""Who takes part in a trial and what they do, all of it chosen by one seed."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx

from delivery.lanes import lane_of, lease_key
from tests.faults.rig import Rig, grow_up
from tests.faults.trials.chronicle import Chronicle
from tests.faults.trials.members import Member, Socket
from tests.gateway.phone import Phone, link, sign_up
from tests.support.patience import LONG, until

#: What a device with the library does, and how often.
ACTS = {"say": 50, "edit": 8, "delete": 3, "react": 10, "read": 14, "away": 2, "cut": 2, "die": 1}
EMOJI = ("👍", "❤️", "😂", "")
#: Between two acts of one device: at most so many seconds.
PAUSE_S = 0.15


class Crowd:
    """Ann with a phone and a bare socket, Bob with two phones, Cat with a bare socket, Eve, and Dan, whom Ann adds to a group
    and removes again. Each pair of the first four has a conversation; ``house`` is a group of all five, ``guests`` the one Dan
    comes to and goes from."""

    def __init__(self, rig: Rig, seed: int, chronicle: Chronicle, patience_s: float) -> None:
        self.rig = rig
        #: How long a device waits for an answer before it counts as lost for ever: longer than any fault.
        self.patience_s = patience_s
        self.chance = random.Random(seed)
        self.chronicle = chronicle
        self.devices: list[Any] = []
        #: conversation → users that may write there, Dan apart
        self.talks: dict[str, list[str]] = {}
        self.house = self.guests = ""
        self.stop = asyncio.Event()
        #: Faults that want everybody quiet, or gone, for a moment clear it.
        self.free = asyncio.Event()
        self.free.set()
        self.resting: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def settle(self) -> None:
        """They sign up, meet and are online."""
        ann, bob, cat, dan, eve = people = [await sign_up(self.rig.system) for _ in range(5)]
        self.ann, self.dan = ann, dan
        friends = [ann, bob, cat, eve]
        for i, one in enumerate(friends):
            for other in friends[:i]:
                self._talk(await one.direct(other), one, other)
        self.house = await self._group(ann, bob, cat, dan, eve)
        self.guests = await self._group(ann, bob, cat)
        await grow_up(self.rig, [person.user for person in people])
        for kind, phone in (
            (Member, ann), (Socket, await link(ann)), (Member, bob), (Member, await link(bob)), (Socket, cat),
            (Member, dan), (Member, eve),
        ):  # fmt: skip
            urls = [self.rig.one, self.rig.two]
            self.chance.shuffle(urls)
            self.devices.append(kind(self.chronicle, phone, urls))
        await asyncio.gather(*[device.online(timeout=LONG) for device in self.devices])

    def _talk(self, conversation: str, *phones: Phone) -> None:
        self.talks[conversation] = [phone.user for phone in phones]

    async def _group(self, *phones: Phone) -> str:
        body = {"name": "trial", "members": [phone.user for phone in phones[1:]]}
        answer = await phones[0].rest("POST", "/groups", body)
        assert answer.status_code == 201, answer.text
        group = str(answer.json()["groupId"])
        self._talk(group, *phones)
        return group

    # what they do

    @property
    def members(self) -> list[Member]:
        """Devices with the client library."""
        return [device for device in self.devices if isinstance(device, Member)]

    def begin(self) -> None:
        for device in self.devices:
            self._tasks.append(asyncio.create_task(self._live(device)))
        self._tasks.append(asyncio.create_task(self._come_and_go()))

    async def end(self) -> None:
        """Everybody finishes what they do. Raises what any of them met."""
        self.stop.set()
        self.free.set()
        await asyncio.gather(*self._tasks)

    async def leave(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*[device.leave() for device in self.devices], return_exceptions=True)

    def failed(self) -> bool:
        """Somebody met what must not be; :meth:`end` raises it."""
        return any(task.done() and not task.cancelled() and task.exception() for task in self._tasks)

    async def go_on(self, count: int, what: str) -> None:
        """Until so many more ✓ have come."""
        wanted = len(self.chronicle.confirmed_at) + count
        await until(
            lambda: len(self.chronicle.confirmed_at) >= wanted or self.failed(),
            f"{what}: {count} more ✓",
            self.patience_s,
        )

    @contextlib.asynccontextmanager
    async def without(self, *devices: Any) -> AsyncIterator[None]:
        """These are offline meanwhile."""
        self.resting = {device.id for device in devices}
        try:
            await until(
                lambda: not any(device.alive for device in devices), "they have gone", self.patience_s
            )
            yield
        finally:
            self.resting = set()

    @contextlib.asynccontextmanager
    async def quiet(self) -> AsyncIterator[None]:
        """Nobody begins anything, and what groups are owed is told."""
        self.free.clear()
        try:
            lanes = [lease_key(lane_of(group)) for group in (self.house, self.guests)]
            await until(
                lambda: not any(map(self.rig.hot.exists, lanes)), "the lanes are given back", self.patience_s
            )
            yield
        finally:
            self.free.set()

    async def _live(self, device: Any) -> None:
        chance = random.Random(self.chance.random())
        while not self.stop.is_set():
            await self.free.wait()
            if device.id in self.resting:
                await device.leave()
                await until(lambda: device.id not in self.resting or self.stop.is_set(), "it comes back", 600)
                continue
            if not device.alive:
                await device.connect(timeout=self.patience_s)
            act = chance.choices(list(ACTS), list(ACTS.values()))[0]
            if isinstance(device, Member):
                await self._member_acts(device, act, chance)
            else:
                await self._socket_acts(device, act, chance)
            await asyncio.sleep(chance.random() * PAUSE_S)

    def _conversation(self, device: Any, chance: random.Random) -> str:
        user = device.phone.user
        mine = [conversation for conversation, users in self.talks.items() if user in users]
        if user == self.dan.user and device.client.history.have().get(self.guests):
            mine.append(
                self.guests
            )  # he has been told of it; whether he is a member still is for the server to say
        return chance.choice(mine)

    async def _member_acts(self, device: Member, act: str, chance: random.Random) -> None:
        conversation = self._conversation(device, chance)
        text = f"{device.id} {len(device.written)}"
        match act:
            case "say":
                await device.say(conversation, text, timeout=self.patience_s)
            case "edit" | "delete" if device.written:
                where, message = device.written.pop(chance.randrange(len(device.written)))
                client = device.client
                make: Callable[[], Any] = (
                    (lambda: client.edit(where, message, f"{text} edited")) if act == "edit"
                    else (lambda: client.delete(where, message))
                )  # fmt: skip
                await device.change(make, self.patience_s)
            case "react":
                shown = device.client.view(conversation, limit=20)
                with_place = [one for one in shown if one.entry.seq and not one.deleted]
                if with_place:
                    target, emoji = chance.choice(with_place).message_id, chance.choice(EMOJI)
                    client = device.client
                    await device.change(lambda: client.react(conversation, target, emoji), self.patience_s)
            case "read":
                device.client.mark_read(conversation)
            case "away":
                await device.leave()
                await asyncio.sleep(chance.random() * 2)
            case "cut":
                await device.cut()
            case "die":
                await device.killed_while(
                    device.say(conversation, text, timeout=self.patience_s), chance.random() / 20
                )

    async def _socket_acts(self, device: Socket, act: str, chance: random.Random) -> None:
        conversation = self._conversation(device, chance)
        match act:
            case "read":
                await device.read(conversation)
            case "away" | "die":
                await device.leave()
                await asyncio.sleep(chance.random() * 2)
            case "cut":
                await device.cut()
            case _:
                text = f"{device.id} {len(self.chronicle.sends)}"
                await device.say(conversation, text, timeout=self.patience_s)

    async def _come_and_go(self) -> None:
        """Dan is added to the group and removed from it."""
        chance = random.Random(self.chance.random())
        for method in _alternately("PUT", "DELETE"):
            if self.stop.is_set():
                return
            await self._member_change(method)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.3 + chance.random() * 2):
                    await self.stop.wait()

    async def _member_change(self, method: str) -> None:
        path = f"/groups/{self.guests}/members/{self.dan.user}"

        async def said() -> bool:
            try:
                answer = await self.ann.rest(method, path)
            except httpx.HTTPError:
                return False
            self.chronicle.note("member", method=method, status=answer.status_code)
            assert answer.status_code in (200, 204, 503, 404, 409), answer.text
            return answer.status_code != 503

        await until(said, f"{method} of Dan", self.patience_s)


def _alternately(*values: str) -> Any:
    while True:
        yield from values
