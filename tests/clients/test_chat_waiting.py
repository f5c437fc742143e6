"""Plain lines for somebody who is not registered yet: looked for, met, kept over the end of the program."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.clients.test_chat import Terminal, _numbers
from tests.clients.test_with_server import eventually, register
from whatsapp_client import Client, Session
from whatsapp_terminal import finding
from whatsapp_terminal.chat import Chat
from whatsapp_terminal.kept import Kept


def fresh_number() -> str:
    return f"+1555{next(_numbers)}"


class _Line:
    def mark(self, mark: str) -> None:
        """Ticks are not looked at here."""


class Screen:
    """Lines in memory."""

    interactive = True

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.typed: asyncio.Queue[str | None] = asyncio.Queue()
        self.on_edit: Any = None

    def line(self, text: str, *, mark: str = "", dim: bool = False) -> _Line:
        self.lines.append(text)
        return _Line()

    def prompt(self, text: str) -> None:
        """Not shown."""

    async def read(self) -> str | None:
        return await self.typed.get()

    def shows(self, text: str) -> bool:
        return any(text in line for line in self.lines)


@contextlib.asynccontextmanager
async def chatting(system: Any, session: Session, to: str) -> AsyncIterator[Screen]:
    screen = Screen()
    running = asyncio.create_task(Chat(Client(system.http, session), screen).run(to=to))
    yield screen
    screen.typed.put_nowait(None)
    async with asyncio.timeout(30):
        assert await running == 0


async def test_who_writes_first_is_shown_once_and_under_the_number(
    stack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "FIRST", 3600.0)  # nobody is looked up by chance
    monkeypatch.setattr(finding, "LONGEST", 3600.0)
    me, number, third = await register(stack), fresh_number(), await register(stack)
    async with chatting(stack, me, number) as screen:
        await eventually(lambda: screen.shows(f"{number} is not registered yet"))
        async with Client(stack.http, await register(stack, number=number)) as bob:
            conversation = await bob.rest.direct(me.user_id)
            for text in ("one", "two"):
                await bob.send(conversation, text).sent()
            await eventually(lambda: screen.shows("two"))
        await eventually(lambda: screen.shows(f"{number} is here now"))
        for text in ("one", "two"):
            assert [line[7:] for line in screen.lines if line.endswith(f": {text}")] == [f"{number}: {text}"]
        async with Client(stack.http, third) as eve:  # a stranger is shown as ever
            await eve.send(await eve.rest.direct(me.user_id), "three").sent()
            await eventually(lambda: screen.shows(f"user {third.user_id[-8:]}: three"))


async def test_twin_shown_at_once_it_stands_there_under_an_id(
    stack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finding, "FIRST", 3600.0)
    monkeypatch.setattr(finding.Finder, "searching", False)
    me, number = await register(stack), fresh_number()
    async with chatting(stack, me, number) as screen:
        await eventually(lambda: screen.shows(f"{number} is not registered yet"))
        session = await register(stack, number=number)
        async with Client(stack.http, session) as bob:
            await bob.send(await bob.rest.direct(me.user_id), "one").sent()
            await eventually(lambda: screen.shows(f"user {session.user_id[-8:]}: one"))


async def test_a_stranger_is_shown_while_somebody_else_is_looked_for(stack: Any) -> None:
    me, stranger = await register(stack), await register(stack)
    async with chatting(stack, me, fresh_number()) as screen:
        await eventually(lambda: screen.shows("is not registered yet"))
        async with Client(stack.http, stranger) as eve:
            await eve.send(await eve.rest.direct(me.user_id), "hello").sent()
            await eventually(lambda: screen.shows(f"user {stranger.user_id[-8:]}: hello"))


async def test_what_waits_for_somebody_outlasts_the_program(stack: Any) -> None:
    me, number = fresh_number(), fresh_number()
    kept = Path(stack.data) / "clients" / f"{me}.kept"
    async with contextlib.AsyncExitStack() as cleanup:

        async def opened(*arguments: str) -> Terminal:
            terminal = await Terminal.open(stack, *arguments)
            cleanup.callback(lambda: terminal.process.returncode is None and terminal.process.kill())
            return terminal

        first = await opened(me, "--to", number)
        await first.until("is not registered yet")
        first.type("one")
        await first.until(f"kept until {number} is here: one")
        first.type("two")
        await first.until("here: two")
        assert await first.end() == 0
        assert "2 messages for people who are not here yet; the next" in first.output
        assert stat.S_IMODE(kept.stat().st_mode) == 0o600
        second = await opened(me)  # it need not be said again for whom
        await second.until("here: two")
        second.process.kill()
        await second.process.wait()
        third = await opened(me, "--to", number)
        await third.until("here: two")
        bob = await opened(number, "--to", me)
        await bob.until(f"{me}: two")
        assert bob.output.index(f"{me}: one") < bob.output.index(f"{me}: two")
        await third.until("you: two")
        await third.end()
        assert not kept.exists()
        await bob.end()
        assert bob.output.count(": one") == 1


def test_without_a_file_or_with_a_broken_one_there_is_nothing(tmp_path: Path) -> None:
    Kept().save({"+1555": ["one"]})
    assert Kept().load() == {}
    file = tmp_path / "kept"
    for broken in ("", "[1]", "{"):
        file.write_text(broken)
        assert Kept(file).load() == {}
    Kept(file).save({"+1555": ["one", "two"]})
    assert Kept(file).load() == {"+1555": ["one", "two"]}
    Kept(file).save({})
    Kept(file).save({})
    assert os.listdir(tmp_path) == []
