"""Reporting a message or somebody in the terminal."""

from __future__ import annotations

from textual.widgets import Button, OptionList

from tests.clients.fake_backend import BOB, EVE, ME
from tests.clients.group_pilots import G, choose, info, sailing
from tests.clients.pilots import Driver, driven, people, until
from tests.clients.test_terminal_files import carried
from tests.clients.test_terminal_files import pick as pick_last
from tests.clients.test_terminal_messages import pick
from whatsapp_client import RestError
from whatsapp_client.reporting import CATEGORIES
from whatsapp_terminal import report_screen
from whatsapp_terminal.conversation import MessagesView


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
        assert reports(d) == [("report", "c-bob", "fraud", "message", (bad.message_id,), BOB, {"block"})]
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
        d.app.screen.query_one("#also").toggle()  # type: ignore[attr-defined]
        press(d, "yes")
        await d.sees("Reported. Thank you.")
        ids = tuple(entry.message_id for entry in sent[-5:])
        assert reports(d) == [("report", "c-bob", "spam", "user", ids, BOB, set())]


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


async def test_a_file_is_reported_with_its_message_and_its_key() -> None:
    fake = people()
    entry = carried(fake)
    async with driven(fake) as d:
        await d.open()
        await pick_last(d)
        await d.pilot.press("enter")
        await d.sees("Report…", "Report the file…")
        await d.pilot.press("u")
        await d.sees("Report this photo", "this photo and its key", "is not told")
        await choose(d, "A child is in danger")
        press(d, "yes")
        await d.sees("Reported and blocked. Thank you.")
        file = entry.fields["mediaUrl"].split("/")[2]
        assert reports(d) == [
            ("report", "c-bob", "child_safety", "media", (entry.message_id,), file, {"block"})
        ]


async def test_a_group_is_reported_and_left() -> None:
    fake = sailing("member")
    said = [fake.have(G, f"words {n}", EVE) for n in range(3)]
    fake.have(G, "mine", ME)
    async with driven(fake) as d:
        await info(d)
        await d.pilot.press("r")
        await d.sees("Report Sailing", "the last 3 messages in this group", "Nobody in it is told")
        assert not d.app.screen.query_one("#also").value  # type: ignore[attr-defined]  # to leave is asked for
        await choose(d, "Spam")
        d.app.screen.query_one("#also").toggle()  # type: ignore[attr-defined]
        press(d, "yes")
        await d.sees("Reported and left. Thank you.")
        ids = tuple(entry.message_id for entry in said)
        assert reports(d) == [("report", G, "spam", "group", ids, "", {"leave"})]


async def test_what_its_sender_took_back_is_reported_while_there_is_a_copy() -> None:
    fake = people()
    gone, lost = fake.have("c-bob", "", BOB), fake.have("c-bob", "", BOB)
    for entry in (gone, lost):
        entry.content, entry.deleted = None, True
    fake.copies.add(gone.message_id)
    async with driven(fake) as d:
        await d.open()
        view = d.screen.query_one(MessagesView)
        for entry, offered in ((gone, True), (lost, False)):
            await until(lambda: len(view.blocks) >= 2)
            view.focus()
            view.pick(next(b.key for b in view.blocks if b.message_id == entry.message_id))
            await d.pilot.press("enter")
            await d.sees("Delete…")
            options = d.app.screen.query_one(OptionList)
            assert ("report" in [option.id for option in options.options]) == offered
            await d.pilot.press("t" if offered else "escape")
            if offered:
                await choose(d, "Harassment")
                fake.copies.clear()  # a day has passed in the meantime
                press(d, "yes")
                await d.sees("Not done: there is no such message here.")
        assert not reports(d)


def test_every_category_of_the_server_has_words():
    from accounts.models import CATEGORIES as KNOWN

    assert tuple(KNOWN) == CATEGORIES
    assert {key for key, _ in report_screen.CATEGORIES} == set(KNOWN)
