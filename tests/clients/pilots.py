"""Driving the terminal client without a terminal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from textual import events
from textual.keys import _character_to_key

from tests.clients.fake_backend import BOB, EVE, FakeBackend
from tests.support.patience import PATIENCE
from whatsapp_terminal.app import TerminalApp
from whatsapp_terminal.chat_screen import ChatScreen

LOOK = 0.05  # seconds between two looks at the screen: drawing it for us costs several times a look at a list


async def until(true: Callable[[], Any], timeout: float = PATIENCE, *, every: float = 0.01) -> None:
    """Wait for something to become true; fails with what it is about."""
    async with asyncio.timeout(timeout):
        while not true():
            await asyncio.sleep(every)


def shown(app: TerminalApp) -> str:
    """The text on the screen, row by row."""
    return "\n".join(strip.text for strip in app.screen._compositor.render_strips())


class Driver:
    """An app on a fake library with two chats, and what tests do with it."""

    def __init__(self, app: TerminalApp, fake: FakeBackend, pilot: Any) -> None:
        self.app = app
        self.fake = fake
        self.pilot = pilot

    @property
    def screen(self) -> ChatScreen:
        return next(s for s in self.app.screen_stack if isinstance(s, ChatScreen))

    def text(self) -> str:
        return shown(self.app)

    async def sees(self, *words: str) -> None:
        try:
            await until(lambda: all(map(self.text().__contains__, words)), every=LOOK)
        except TimeoutError:
            missing = [word for word in words if word not in self.text()]
            raise AssertionError(f"not on screen: {missing}\n{self.text()}") from None

    async def loses(self, words: str) -> None:
        try:
            await until(lambda: words not in self.text(), every=LOOK)
        except TimeoutError:
            raise AssertionError(f"still on screen: {words}\n{self.text()}") from None

    async def open(self, conversation_id: str = "c-bob") -> None:
        self.screen.open_chat(conversation_id)
        await self.pilot.pause()

    async def type(self, *keys: str) -> None:
        """Keys in one burst, as a fast typist or a paste brings them; longer ones than one character are names."""
        for key in keys:
            name = key if len(key) > 1 else _character_to_key(key)
            self.app.post_message(events.Key(name, key if len(key) == 1 else None))
        await self.pilot.pause()

    async def settle(self) -> None:
        """Everything that was asked for is drawn."""
        await until(lambda: not self.screen._scheduled)
        await self.pilot.pause()


def people() -> FakeBackend:
    fake = FakeBackend()
    fake.chat("c-bob", "Bob Carter", BOB)
    fake.chat("c-eve", "Eve", EVE)
    return fake


@asynccontextmanager
async def driven(
    fake: FakeBackend | None = None, size: tuple[int, int] = (100, 30), **options: Any
) -> AsyncIterator[Driver]:
    fake = fake or people()
    app = TerminalApp(lambda session: fake, None, session=fake.session, **options)  # type: ignore[arg-type]
    async with app.run_test(size=size, notifications=True) as pilot:
        await until(lambda: fake.started and len(app.screen_stack) > 1)
        await pilot.pause()
        yield Driver(app, fake, pilot)
