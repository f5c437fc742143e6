"""Reporting a message or somebody in the terminal."""

from __future__ import annotations

from textual.widgets import Button, OptionList

from tests.clients.fake_backend import BOB, ME
from tests.clients.group_pilots import choose
from tests.clients.pilots import Driver, driven, people
from tests.clients.test_terminal_messages import pick
from whatsapp_client import RestError
from whatsapp_client.reporting import CATEGORIES
from whatsapp_terminal import report_screen


def press(d: Driver, button: str) -> None:
    d.app.screen.query_one(f"#{button}", Button).press()


def reports(d: Driver) -> list[tuple[object, ...]]:
    return [call for call in d.fake.calls if call[0] == "report"]


async def test_a_message_is_reported_after_a_category_and_a_question():
    fake = people()
    bad = fake.have("c-bob", "send me money", BOB)
    fake.have("c-bob", "never", ME)
    async with driven(fake) as d:
        await pick(d, "send me money")
        await d.pilot.press("enter")
        await d.sees("Report…")
        await d.pilot.press("t")
        await d.sees(
            "Report this message",
            "Moderators get this message",
            "is not told",
            "Block Bob Carter as well",
        )
        assert d.app.screen.query_one("#yes", Button).disabled  # not without a category
        await choose(d, "Fraud or")
        await d.sees("Report: Fraud or a trick")
        assert not reports(d)  # not before the second step
        press(d, "yes")
        await d.sees("Reported and blocked. Thank you.")
        assert reports(d) == [("report", "c-bob", "fraud", "message", (bad.message_id,), BOB, True)]
        # One's own messages are nobody's to report.
        await pick(d, "never")
        await d.pilot.press("enter")
        await d.sees("Delete…")
        options = d.app.screen.query_one(OptionList)
        assert "report" not in [option.id for option in options.options]


async def test_somebody_is_reported_with_their_last_messages_and_without_a_block():
    fake = people()
    sent = [fake.have("c-bob", f"words {n}", BOB) for n in range(7)]
    async with driven(fake) as d:
        await d.open()
        d.screen.action_chat_info()
        await d.sees("Report…")
        await choose(d, "Report…")
        await d.sees("Report Bob Carter", "the last 5 messages of Bob Carter")
        await choose(d, "Spam")
        d.app.screen.query_one("#block").toggle()  # type: ignore[attr-defined]
        press(d, "yes")
        await d.sees("Reported. Thank you.")
        ids = tuple(entry.message_id for entry in sent[-5:])
        assert reports(d) == [("report", "c-bob", "spam", "user", ids, BOB, False)]


async def test_esc_reports_nobody_and_a_refusal_is_said():
    fake = people()
    fake.have("c-bob", "words", BOB)
    async with driven(fake) as d:
        await d.open()
        d.screen.action_chat_info()
        await d.sees("Report…")
        await choose(d, "Report…")
        await d.sees("the message of Bob Carter")
        await d.pilot.press("escape")
        await d.loses("Report Bob Carter")
        assert not reports(d)
        fake.refuse = RestError(429, "rate_limited", "slowly")
        d.screen.action_chat_info()
        await d.sees("Report…")
        await choose(d, "Report…")
        await choose(d, "Something else")
        press(d, "yes")
        await d.loses("Report Bob Carter")
        await d.loses("Reported. Thank you.")


def test_every_category_of_the_server_has_words():
    from accounts.models import CATEGORIES as KNOWN

    assert tuple(KNOWN) == CATEGORIES
    assert {key for key, _ in report_screen.CATEGORIES} == set(KNOWN)
