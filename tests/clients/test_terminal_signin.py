"""Signing in inside the terminal client, and what can go wrong there."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from textual.widgets import Input

from tests.clients.fake_backend import FakeBackend
from tests.clients.pilots import shown, until
from whatsapp_client import ClientError, Gone, RestError, Session, Unreachable
from whatsapp_terminal.app import TerminalApp
from whatsapp_terminal.chat_screen import ChatScreen
from whatsapp_terminal.signin import ServerRegistrar, is_number, session_path
from whatsapp_terminal.signin_screen import SignInScreen


class FakeRegistrar:
    """``right``: the code that is taken; ``by_itself``: the code that comes from the development file."""

    def __init__(self, *, by_itself: str = "", error: ClientError | None = None) -> None:
        self.by_itself = by_itself
        self.error = error
        self.asked: list[str] = []
        self.tried: list[str] = []
        self.pin = ""
        self.terms = ""
        self.agreed: list[str] = []
        self.pins: list[str] = []
        self.offers: list[FakeOffer] = []
        self.kept: list[Session] = []

    async def request(self, number: str) -> dict[str, Any]:
        if self.error is not None:
            raise self.error
        self.asked.append(number)
        return {}

    async def code(self, number: str) -> str:
        return self.by_itself

    async def verify(self, number: str, code: str, *, pin: str = "", terms: str = "") -> Session:
        self.tried.append(code)
        self.agreed.append(terms)
        if code != "123456":
            raise RestError(401, "unauthenticated", "The code is wrong or has expired.")
        if terms != self.terms:
            details = {"termsRequired": self.terms}
            raise RestError(403, "forbidden", "The terms have to be agreed to.", details=details)
        if self.pin:
            self.pins.append(pin)
        if pin != self.pin:
            details = {"pinRequired": True} if not pin else {"pinWrong": True}
            raise RestError(403, "forbidden", "This is not the PIN.", details=details)
        return Session(number, "me", "device", "token", "refresh")

    @contextlib.asynccontextmanager
    async def link(self) -> AsyncIterator[FakeOffer]:
        offer = FakeOffer(f"wa-link:1:id-{len(self.offers)}:secret")
        self.offers.append(offer)
        yield offer

    async def keep(self, session: Session) -> None:
        self.kept.append(session)


class FakeOffer:
    """``answer``: what comes of it: a session, or an error."""

    def __init__(self, qr: str) -> None:
        self.qr = qr
        self.answer: asyncio.Future[Session] = asyncio.get_running_loop().create_future()

    async def wait(self) -> Session:
        return await self.answer


def application(registrar: FakeRegistrar, number: str = "") -> tuple[TerminalApp, FakeBackend]:
    fake = FakeBackend()

    def make(session: Session) -> FakeBackend:
        fake.session = session
        return fake

    return TerminalApp(make, registrar, number=number), fake  # type: ignore[arg-type]


async def sees(app: TerminalApp, words: str) -> None:
    try:
        await until(lambda: words in shown(app))
    except TimeoutError:
        raise AssertionError(f"not on screen: {words}\n{shown(app)}") from None


async def test_development_signs_in_by_itself():
    registrar = FakeRegistrar(by_itself="123456")
    app, fake = application(registrar, "+15550001")
    async with app.run_test():
        await until(lambda: isinstance(app.screen, ChatScreen) and fake.started)
        assert registrar.asked == ["+15550001"]
        await sees(app, "+15550001  online")


async def test_number_and_code_by_hand_with_the_mistakes_of_a_person():
    registrar = FakeRegistrar()
    app, _ = application(registrar)
    async with app.run_test() as pilot:
        await sees(app, "Sign in")
        field = app.screen.query_one("#number", Input)
        field.value = "0049 nonsense"
        await pilot.press("enter")
        await sees(app, "A phone number is + and digits")
        field.value = "+49 170 1234567"
        await pilot.press("enter")
        await sees(app, "A code is on its way to +491701234567")
        code = app.screen.query_one("#code", Input)
        code.value = "12"
        await pilot.press("enter")
        await sees(app, "The code has 6 digits.")
        code.value = "000000"
        await pilot.press("enter")
        await sees(app, "The code is wrong or has expired.")
        code.value = "123456"
        await pilot.press("enter")
        await until(lambda: isinstance(app.screen, ChatScreen))
    assert registrar.tried == ["000000", "123456"]


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Unreachable("refused"), "The server does not answer."),
        (RestError(429, "rate_limited", "", retry_after=1800.0), "Too many tries. Try again in 30 min."),
        (RestError(400, "bad_request", "This is not\x1b a number."), "This is not� a number."),
        (RestError(503, "unavailable", ""), "The server is busy."),
        (RestError(403, "banned", ""), "This account is banned."),
    ],
)
async def test_what_the_server_says_is_said_in_words_and_one_can_try_again(error: ClientError, words: str):
    registrar = FakeRegistrar(error=error, by_itself="123456")
    app, _ = application(registrar, "+15550001")
    async with app.run_test() as pilot:
        await sees(app, words)
        registrar.error = None
        await pilot.press("enter")
        await until(lambda: isinstance(app.screen, ChatScreen))


async def test_escape_goes_back_to_the_number():
    app, _ = application(FakeRegistrar(), "+15550001")
    async with app.run_test() as pilot:
        await sees(app, "A code is on its way")
        await pilot.press("escape")
        await until(lambda: app.screen.query_one("#number", Input).has_focus)
        assert isinstance(app.screen, SignInScreen)


async def test_an_account_with_a_pin_asks_for_it_and_the_code_stays_good():
    registrar = FakeRegistrar(by_itself="123456")
    registrar.pin = "sea-otter"
    app, _ = application(registrar, "+15550001")
    async with app.run_test() as pilot:
        await sees(app, "This account has a PIN")
        field = app.screen.query_one("#pin", Input)
        field.value = "wrong"
        await pilot.press("enter")
        await sees(app, "This is not the PIN.")
        assert field.value == ""
        field.value = "sea-otter"
        await pilot.press("enter")
        await until(lambda: isinstance(app.screen, ChatScreen))
    assert registrar.asked == ["+15550001"]
    assert registrar.pins == ["", "wrong", "sea-otter"]


async def test_terms_are_agreed_to_by_a_second_enter_and_the_code_stays_good():
    registrar = FakeRegistrar(by_itself="123456")
    registrar.terms = "2026-11"
    app, _ = application(registrar, "+15550001")
    async with app.run_test() as pilot:
        await sees(app, "version 2026-11")
        assert registrar.agreed == [""]
        app.screen.query_one("#code", Input).focus()
        await pilot.press("enter")
        await until(lambda: isinstance(app.screen, ChatScreen))
    assert registrar.agreed == ["", "2026-11"]
    assert registrar.asked == ["+15550001"]


@pytest.mark.parametrize(("size", "drawn"), [((100, 50), True), ((60, 20), False)])
async def test_a_code_lets_this_device_in_and_one_that_is_too_old_is_followed_by_another(
    size: tuple[int, int], drawn: bool
):
    registrar = FakeRegistrar()
    app, _ = application(registrar)
    async with app.run_test(size=size) as pilot:
        await sees(app, "Link to a phone")
        await pilot.press("f2")
        await sees(app, "wa-link:1:id-0:secret")
        assert ("▄" in shown(app) and "█" in shown(app)) is drawn  # one that is cut off is of no use
        registrar.offers[0].answer.set_exception(Gone(410, "gone", "too old"))
        await sees(app, "wa-link:1:id-1:secret")
        await pilot.press("escape")
        await sees(app, "Send me a code")
        await pilot.press("f2")
        await sees(app, "wa-link:1:id-2:secret")
        session = Session("+15550001", "me", "device", "token", "refresh")
        registrar.offers[2].answer.set_result(session)
        await until(lambda: isinstance(app.screen, ChatScreen))
    assert registrar.kept == [session]


def test_numbers_are_no_paths(tmp_path: Path):
    assert is_number("+15550001")
    assert not any(is_number(text) for text in ("", "+", "15550001", "+1/../../x", "+1555000\n", "+١٢٣٤٥٦"))
    assert session_path(tmp_path, "+15550001").parent == tmp_path


async def test_codes_older_than_the_request_are_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sms = tmp_path / "sms.jsonl"
    line = json.dumps({"to": "+15550001", "body": "Your code is 111111.", "at": 1})
    sms.write_text(line + "\n")
    registrar = ServerRegistrar("http://127.0.0.1:1", tmp_path, sms=sms)

    async def register(number: str) -> dict[str, Any]:
        with sms.open("a") as file:
            file.write(line.replace("111111", "222222") + "\n")
        return {}

    monkeypatch.setattr(registrar._rest, "register", register)
    await registrar.request("+15550001")
    assert await asyncio.wait_for(registrar.code("+15550001"), 10) == "222222"
