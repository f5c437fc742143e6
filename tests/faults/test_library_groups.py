"""C4 in a group with the client library as the people: who is owed what while members come and go, offline and online, while
programs are killed; and that nobody asks for ever for what lies between two memberships."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.faults.history import LEAKED, LOST, History, Seen, Sent
from tests.faults.library import LibraryDevice
from tests.faults.rig import Rig, grow_up
from tests.gateway.phone import link, sign_up
from tests.support.patience import LONG, until
from tests.support.stack import System
from whatsapp.wire import frames

pytestmark = pytest.mark.needs_system


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with System(env={"WHATSAPP_TEST_BUILD": "1"}, fanout=True) as system:
        yield Rig(system)


class Club:
    """Ann, who made the group and writes; Bob with two devices, who comes and goes; Eve, who stays."""

    def __init__(self, rig: Rig, devices: list[LibraryDevice], group: str) -> None:
        self.rig = rig
        self.history = devices[0].history
        self.devices = devices
        self.ann, self.phone, self.laptop, self.eve = devices
        self.group = group

    @classmethod
    async def found(cls, rig: Rig) -> Club:
        ann, bob, eve = [await sign_up(rig.system) for _ in range(3)]
        phones = [ann, bob, await link(bob), eve]
        answer = await ann.rest("POST", "/groups", {"name": "Club", "members": [bob.user, eve.user]})
        assert answer.status_code == 201, answer.text
        await grow_up(rig, [ann.user, bob.user, eve.user])
        history = History()
        one, two = rig.one, rig.two
        club = cls(
            rig, [LibraryDevice(history, phone, urls) for phone, urls in zip(
                phones, ([one, two], [two, one], [one, two], [two, one]), strict=True
            )],
            str(answer.json()["groupId"]),
        )  # fmt: skip
        await asyncio.gather(*[device.online() for device in club.devices])
        for device in club.devices:
            await until(
                lambda d=device: d.client.history[club.group].position == 2, "everybody sees the group", LONG
            )
        return club

    async def bob(self, method: str) -> None:
        """Ann adds (PUT) or removes (DELETE) Bob; again until there is an answer."""
        path = f"/groups/{self.group}/members/{self.phone.phone.user}"

        async def said() -> bool:
            try:
                answer = await self.ann.phone.rest(method, path)
            except OSError:
                return False
            return answer.status_code in (200, 204)

        await until(said, f"{method} of bob", LONG)

    async def say(self, device: LibraryDevice, count: int = 1) -> None:
        for i in range(count):
            await device.say(self.group, f"{device.id} {i}", timeout=LONG)

    async def settle(self) -> None:
        """Everybody has what they are owed, by the log as Ann reads it, and nothing more; nobody waits for anything."""
        await self.learn()
        for device in self.devices:
            await device.online(timeout=LONG)
            await until(lambda d=device: not self.history.missing(d.id), f"{device.id} has all", LONG)
        self.history.check()
        for device in self.devices:
            await until(
                lambda d=device: not d.client.history[self.group].hole, f"{device.id} waits for nothing", LONG
            )

    async def learn(self) -> None:
        """The memberships, from the log."""
        joined: dict[str, int] = {}
        after = 0
        while True:
            answer = await self.ann.phone.rest(
                "GET", f"/conversations/{self.group}/events?after={after}&limit=100"
            )
            page = answer.json()
            for event in page["items"]:
                if event["type"] != "event":
                    continue
                users = event["data"].get("userIds") or [event.get("userId")]
                if event["kind"] == "member_added":
                    joined |= dict.fromkeys(users, event["seq"])
                elif event["kind"] == "member_removed":
                    for user in users:
                        self.history.member(self.group, user, joined.pop(user), event["seq"])
            after = page["through"]
            if after >= page["head"]:
                break
        for user, seq in joined.items():
            self.history.member(self.group, user, seq)

    async def leave(self) -> None:
        await asyncio.gather(*[device.leave() for device in self.devices], return_exceptions=True)


@asynccontextmanager
async def club(rig: Rig) -> AsyncIterator[Club]:
    people = await Club.found(rig)
    try:
        yield people
    finally:
        await people.leave()
        await rig.repair()


async def test_library_removed_and_added_while_offline(rig: Rig) -> None:
    async with club(rig) as people:
        group, phone, laptop = people.group, people.phone, people.laptop
        await laptop.leave()
        await people.say(people.ann, 3)
        await people.bob("DELETE")
        await people.say(people.ann, 3)
        await until(lambda: phone.client.chat(group).read_only == "removed", "the phone knows")
        await laptop.online()
        await until(lambda: laptop.client.chat(group).read_only == "removed", "the laptop knows")
        assert [device.client.history[group].position for device in (phone, laptop)] == [6, 6]
        await people.say(phone)
        assert phone.refused == 1

        await phone.leave()
        await people.bob("PUT")
        await people.say(people.eve, 3)
        await until(lambda: laptop.client.chat(group).read_only == "", "the laptop is back")
        await people.say(laptop, 2)
        await people.settle()
        assert phone.client.chat(group).title == "Club"
        for device in (phone, laptop):
            seqs = [entry.seq for entry in device.client.history[group].entries]
            assert seqs == [1, 2, 3, 4, 5, 6, 10, 11, 12, 13, 14, 15]
            assert device.seen.repeats == 0


@pytest.mark.timeout(180)
async def test_library_members_come_and_go(rig: Rig) -> None:
    """Everybody writes while Bob is removed and added, his programs are killed, the network goes and a gateway dies."""
    chance = random.Random(int(os.environ.get("WHATSAPP_SEED", "5")))
    async with club(rig) as people:
        stop = asyncio.Event()

        async def chatter(device: LibraryDevice) -> None:
            while not stop.is_set():
                if device.alive:
                    await people.say(device)
                await asyncio.sleep(chance.random() / 20)

        async def pause() -> None:
            count = len(people.history.sends)
            await until(lambda: len(people.history.sends) > count + 5, "they go on", LONG)

        async def away(device: LibraryDevice) -> None:
            await device.leave()
            await pause()
            await device.online(timeout=LONG)

        async def die() -> None:
            rig.system.kill("gateway-1")
            await pause()
            await rig.run("gateway-1")

        writers = [people.ann, people.eve, people.phone]
        talking = [asyncio.create_task(chatter(device)) for device in writers]
        happenings: list[Any] = [
            people.phone.kill, lambda: away(people.laptop), people.phone.cut, die,
        ]  # fmt: skip
        chance.shuffle(happenings)
        # Whose program was away each time has written nothing that was refused.
        happenings.append(lambda: until(lambda: people.phone.refused, "who is no member writes", LONG))
        try:
            for happens in happenings:
                await asyncio.gather(people.bob("DELETE"), happens())
                await pause()
                await people.bob("PUT")
                await pause()
            stop.set()
            await asyncio.gather(*talking)
        finally:
            for task in talking:
                task.cancel()
            await asyncio.gather(*talking, return_exceptions=True)
        await people.settle()
        assert {device.seen.repeats for device in people.devices} == {0}
        for device in people.devices:
            chat = device.client.chat(people.group)
            assert (chat.title, chat.read_only, chat.member_count) == ("Club", "", 3)


def test_the_check_finds_what_is_not_owed_and_misses_nothing_that_is() -> None:
    history = History()
    history.member("g", "bob", 2, 4)
    history.member("g", "bob", 8)
    seen: Seen = history.device("bob", "phone")
    for seq in range(1, 11):
        history.sending(Sent("g", "ann", "a", f"m{seq}", b"x", seq))
    assert {sent.seq for sent in history.missing(next(iter(history.devices)))} == {2, 3, 4, 8, 9, 10}
    for seq in (2, 3, 4, 6, 8, 9):
        got = frames.Message(
            message_id=f"m{seq}", conversation_id="g", sender_id="ann", sender_device_id="a", seq=seq, encrypted_content=b"x",
            timestamp=1, server_timestamp=1, kind="text",
        )  # fmt: skip
        history.received("phone", got)
    assert [problem.kind for problem in history.problems()] == [LOST, LEAKED]
    assert seen.repeats == 0
