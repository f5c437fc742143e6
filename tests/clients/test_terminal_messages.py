"""What one does with a message in the terminal: answer, edit, delete, react, forward, star, view once, polls, search."""

from __future__ import annotations

import json

from textual.widgets import Button, Input, OptionList

from tests.clients.fake_backend import BOB, EVE, ME, FakeBackend, now_ms
from tests.clients.group_pilots import choose
from tests.clients.pilots import Driver, driven, people, until
from whatsapp_client import Entry, Outgoing, events
from whatsapp_terminal.composer import Composer
from whatsapp_terminal.conversation import MessagesView

MINUTE = 60_000


async def pick(d: Driver, words: str) -> None:
    """Choose the message with these words, in the chat with Bob."""
    if d.screen.open is None:
        await d.open()
    view = d.screen.query_one(MessagesView)

    def keys() -> list[str]:
        return [block.key for block in view.blocks if words in block_text(block)]

    await until(keys)  # on the screen they may stand in the list of chats alone
    await d.sees(words)
    view.focus()
    view.pick(keys()[-1])
    await d.pilot.pause()


def block_text(block: object) -> str:
    return "".join(span.text for row in block.rows for span in row)  # type: ignore[attr-defined]


def place(d: Driver, words: str) -> tuple[int, int]:
    """Where these words are on the screen."""
    lines = d.text().splitlines()
    row = next(n for n, line in enumerate(lines) if words in line)
    return lines[row].index(words) + 1, row


async def test_an_answer_quotes_its_original_and_leads_to_it():
    fake = people()
    first = fake.have("c-bob", "shall we sail on Sunday?", BOB)
    for n in range(120):
        fake.have("c-bob", f"filler {n}", BOB if n % 7 else ME)
    async with driven(fake) as d:
        await d.open()
        fake.have("c-bob", "yes", BOB, fields={"replyTo": first.message_id})
        d.screen.stale()
        await d.sees("yes", "shall we sail on Sunday?")
        await d.pilot.click(offset=place(d, "shall we sail"))  # the quote, not the message: that is far above
        await d.loses("filler 119")
        await until(lambda: d.screen.query_one(MessagesView).picked == "m 1")
        await d.sees("shall we sail on Sunday?", "↓ Newest")
        await d.pilot.press("r")
        await d.sees("Reply to Bob Carter")
        await d.type(*"I am in", "enter")
        (sent,) = d.fake.pending("c-bob")
        assert (sent.text, sent.fields) == ("I am in", {"replyTo": first.message_id})
        await d.loses("Reply to Bob Carter")
        await d.sees("I am in")
        # Esc takes an answer back; what is written stays.
        await pick(d, "filler 119")
        await d.pilot.press("r")
        await d.type(*"half")
        await d.pilot.press("escape")
        await d.loses("Reply to")
        assert d.screen.query_one(Composer).text == "half"
        await d.pilot.press("enter")
        assert d.fake.pending("c-bob")[-1].fields == {}


async def test_an_edit_happens_in_the_text_field_and_gives_the_draft_back():
    fake = people()
    fake.have("c-bob", "an old one", ME, now_ms() - 16 * MINUTE)
    fake.have("c-bob", "teh boat", ME, now_ms() - 14 * MINUTE)
    async with driven(fake) as d:
        await d.open()
        await d.type(*"a draft")
        await pick(d, "an old one")
        await d.pilot.press("e")
        await d.sees("can be edited for 15 minutes")
        await pick(d, "teh boat")
        await d.pilot.press("e")
        await d.sees("Edit your message")
        assert d.screen.query_one(Composer).text == "teh boat"
        d.screen.query_one(Composer).put("the boat")
        await d.pilot.press("enter")
        await d.sees("the boat", "edited", "a draft")
        assert [call[0] for call in fake.calls] == ["edit"]
        assert not fake.pending("c-bob")
        # Given up: nothing is sent, the draft is back.
        await pick(d, "the boat")
        await d.pilot.press("e", "escape")
        assert d.screen.query_one(Composer).text == "a draft"
        assert len(fake.calls) == 1


async def test_deleting_asks_for_whom_and_shows_what_is_left():
    fake = people()
    fake.have("c-bob", "theirs", BOB)
    fake.have("c-bob", "mine, too old", ME, now_ms() - 49 * 60 * MINUTE)
    fake.have("c-bob", "mine", ME)
    async with driven(fake) as d:
        for words, offered in (("theirs", False), ("mine, too old", False), ("mine", True)):
            await pick(d, words)
            await d.pilot.press("d")
            await d.sees("Delete for me")
            assert ("Delete for everyone" in d.text()) is offered
            if not offered:
                await d.pilot.press("escape")
        await choose(d, "Delete for everyone")
        await d.sees("This message was deleted")
        await pick(d, "theirs")
        await d.pilot.press("d")
        await choose(d, "Delete for me")
        await d.loses("theirs")
        assert [call[0] for call in fake.calls] == ["delete"]


async def test_a_reaction_is_given_changed_counted_and_taken_back():
    fake = people()
    message = fake.have("c-bob", "look at this", BOB)
    async with driven(fake) as d:
        await pick(d, "look at this")
        await d.pilot.press("enter")
        await d.sees("Reply", "Forward", "Star", "👍")
        await d.pilot.press("1")
        await d.sees(" 👍 ")
        fake.reacts("c-bob", message.message_id, BOB, "👍")
        fake.reacts("c-bob", message.message_id, EVE, "🎉")
        await d.sees("👍 2", "🎉")
        spans = {
            s.text.strip(): s.role for b in d.screen.query_one(MessagesView).blocks for r in b.rows for s in r
        }
        assert (spans["👍 2"], spans["🎉"]) == ("reacted", "reaction")
        # A click on somebody's takes it too, in place of one's own; another click takes it back.
        await d.pilot.click(offset=place(d, "🎉"))
        await d.sees("🎉 2")
        await d.pilot.click(offset=place(d, "🎉"))
        await d.loses("🎉 2")
        assert fake.reactions[message.message_id]["me"] == ""
        # Any emoji, by its name.
        await pick(d, "look at this")
        await d.pilot.press("plus")
        await d.sees("React with")
        await d.type(*"octopus", "enter")
        await d.sees("🐙")
        assert fake.reactions[message.message_id]["me"] == "🐙"


async def test_forwarding_goes_to_five_chats_at_most_and_to_one_what_went_round_often():
    fake = people()
    for n in range(6):
        fake.chat(f"c-{n}", f"friend {n}", f"u-{n}")
    fake.chat("c-shut", "announcements", kind="group", read_only="announcements")
    fake.have("c-bob", "news", BOB)
    fake.have("c-bob", "chain letter", BOB, fields={"forwardCount": 6})
    async with driven(fake) as d:
        await pick(d, "news")
        await d.sees("Forwarded many times")
        await d.pilot.press("f")
        await d.sees("Forward to", "friend 5")
        offered = [str(option.prompt) for option in d.app.screen.query_one(OptionList).options]
        assert not any("announcements" in row for row in offered)
        for n in range(6):
            await choose(d, f"friend {n}")
        await d.sees("At most 5 chats")
        d.app.screen.query_one("#go", Button).press()
        await d.sees("Forwarded to 5 chats")
        sent = [fake.pending(f"c-{n}") for n in range(6)]
        assert [len(outgoing) for outgoing in sent] == [1, 1, 1, 1, 1, 0]
        assert sent[0][0].fields["forwardCount"] == 1
        await pick(d, "chain letter")
        await d.pilot.press("f")
        await d.sees("to one chat at a time")
        await choose(d, "friend 0")
        await choose(d, "Eve")
        d.app.screen.query_one("#go", Button).press()
        await d.sees("Message to Eve")  # one chat: it is opened
        await d.sees("⇒ Forwarded many times", "chain letter")
        assert len(fake.pending("c-0")) == 1


async def test_stars_are_a_list_that_leads_to_the_messages():
    fake = people()
    fake.have("c-eve", "the address is 5 Quay Street", EVE)
    for n in range(90):
        fake.have("c-eve", f"filler {n}", EVE)
    fake.have("c-bob", "and the phone is off", BOB)
    async with driven(fake) as d:
        await d.pilot.press("f8")
        await d.sees("Nothing has a star yet")
        await d.pilot.press("escape")
        await pick(d, "and the phone")
        await d.pilot.press("s")
        await d.sees("★")
        fake.star("c-eve", "id-c-eve-1")
        await d.pilot.press("f8")
        await d.sees("5 Quay Street", "and the phone is off")
        await choose(d, "Quay Street")
        await d.sees("Message to Eve", "the address is 5 Quay Street")


async def test_what_can_be_viewed_once_is_shown_once():
    fake = people()
    fake.have("c-bob", "the secret word", BOB, fields={"viewOnce": True})
    async with driven(fake) as d:
        await pick(d, "View once")
        assert "the secret word" not in d.text()
        await d.pilot.press("o")
        await d.sees("the secret word", "closed, it is gone")
        await d.pilot.press("escape")
        await d.sees("Opened")
        await d.pilot.press("enter")
        await d.sees("Reply")
        assert not any(words in d.text() for words in ("the secret word", "seen once", "Forward", "Copy"))
        await d.pilot.press("escape")
        d.screen.query_one(Composer).focus()
        await d.pilot.press("f7")
        await d.sees("can be viewed once")
        await d.type(*"mine", "enter")
        assert fake.pending("c-bob")[0].fields == {"viewOnce": True}
        await d.sees("① Can be viewed once")
        await d.loses("This message can be viewed once")


async def test_a_poll_is_asked_voted_in_and_counted():
    fake = people()
    async with driven(fake) as d:
        await d.open()
        await d.pilot.press("f6")
        await d.sees("New poll")
        screen = d.app.screen
        screen.query_one("#question", Input).value = "Where?"
        options = list(screen.query(".option").results(Input))
        options[0].value = "Here"
        screen.query_one("#go", Button).press()
        await d.sees("At least 2 options")
        options[1].value, options[2].value = "There", "Nowhere"
        await until(lambda: len(screen.query(".option")) == 4)  # another field for another option
        screen.query_one("#go", Button).press()
        await d.sees("Where?", "○ Here", "○ Nowhere")
        (outgoing,) = fake.pending("c-bob")
        fake.tick(outgoing)
        view = d.screen.query_one(MessagesView)
        await until(lambda: any(block.key == "m 1" for block in view.blocks))
        await d.sees("Nobody has voted yet")
        await d.pilot.click(offset=place(d, "○ There"))
        await d.sees("◉ There", "1 voted")
        fake.votes_for("c-bob", outgoing.message_id, BOB, "There")
        fake.votes_for("c-bob", outgoing.message_id, EVE, "Here")
        await d.sees("3 voted")
        bars = [line.count("━") for line in d.text().splitlines() if "━" in line]
        assert len(bars) == 2
        assert bars[1] == 2 * bars[0]
        await d.pilot.click(offset=place(d, "○ Here"))  # one choice: it moves
        await d.sees("◉ Here", "○ There")
        await pick(d, "Where?")
        await d.pilot.press("v")
        await d.sees("Enter marks")
        await d.pilot.press("escape", "enter")
        await d.sees("Reply")
        await d.pilot.press("v")  # the menu's own key
        await choose(d, "Here")  # again: taken back
        d.app.screen.query_one("#go", Button).press()
        await d.sees("○ Here", "2 voted")
        assert fake.votes[outgoing.message_id]["me"] == []


async def test_a_poll_can_be_written_with_enter_alone():
    fake = people()
    async with driven(fake) as d:
        await d.open()
        await d.pilot.press("f6")
        await d.sees("New poll")
        for words in ("Where?", "Here", "There", ""):
            field = d.app.focused
            await d.type(*words, "enter")
            await until(lambda field=field: d.app.focused is not field)
        await d.pilot.press("enter")
        await d.sees("○ Here", "○ There")
        await d.loses("New poll")


async def test_from_the_newest_message_on_when_one_has_gone_there():
    fake = people()
    for n in range(3):
        fake.have("c-bob", f"word {n}", BOB)
    async with driven(fake) as d:
        await pick(d, "word 0")
        await d.pilot.press("e")
        await d.sees("Only your own messages can be edited")
        await d.pilot.press("end", "up", "r")
        await d.sees("word 2  Esc")


async def test_search_in_a_chat_and_in_all_of_them_leads_to_the_message():
    fake = people()
    fake.have("c-bob", "the boat is red", BOB)
    for n in range(100):
        fake.have("c-bob", f"filler {n}", BOB)
    fake.have("c-eve", "a boat of paper", EVE)
    async with driven(fake) as d:
        await d.open()
        await d.pilot.press("ctrl+f")
        await d.sees("In “Bob Carter”")
        await d.type(*"boat")
        await d.sees("the boat is red")
        assert "a boat of paper" not in d.text()
        await d.pilot.press("ctrl+f")
        await d.sees("In all chats", "a boat of paper")
        await d.pilot.press("down")
        await choose(d, "the boat is red")
        await d.sees("the boat is red", "filler 0")
        await until(lambda: d.screen.query_one(MessagesView).picked == "m 1")
        await d.pilot.press("ctrl+f")
        await d.type(*"zebra")
        await d.sees("Nothing found.")


async def test_disappearing_messages_say_when_they_go_and_the_history_who_set_it():
    fake = people()
    async with driven(fake) as d:
        await d.open()
        await d.pilot.press("f2")
        await d.sees("Sails on Sundays", "Disappearing messages: off")
        await choose(d, "Disappearing messages")
        await choose(d, "7 days")
        await d.sees("You made new messages disappear after 7 days", "Message to Bob Carter  ◷ 7 days")
        entry: Entry = fake.have("c-bob", "soon gone", BOB)
        entry.expires_at = now_ms() + 3 * 60 * MINUTE + 1_000
        d.screen.stale()
        await d.sees("◷ 3 h")
        # Its time is over: the library has taken it out of the store.
        fake.have("c-bob", "this one stays", BOB)
        fake.logs["c-bob"].remove(entry)
        d.screen.stale()
        await d.loses("soon gone")
        await d.sees("this one stays")
        fake.change("c-bob", "timer", BOB, seconds=None)
        await d.sees("Bob Carter turned disappearing messages off")


async def test_a_change_that_is_refused_is_told_and_one_with_its_tick_is_no_message():
    fake = people()
    message = fake.have("c-bob", "hello", ME)
    async with driven(fake) as d:
        await d.open()
        vote = Outgoing("v", "c-bob", b'{"options":["x"]}', 0, kind="vote", fields={"targetId": "id-c-bob-1"})
        vote.state = "sent"
        fake.emit(events.Sent(vote))
        edit = Outgoing("e", "c-bob", b"hallo", 0, kind="edit", fields={"targetId": message.message_id})
        fake.emit(events.Failed(edit, "window_expired", "It is too late\x1b[2J."))
        await d.sees("The message was not edited: It is too late�[2J.")
        await d.settle()
        assert "options" not in d.text()


async def test_what_others_write_into_polls_quotes_and_reactions_stays_harmless():
    fake = FakeBackend()
    fake.chat("c", "Mallory", BOB)
    nasty = "\x1b]0;x\x07[red]\u202e\nb"
    first = fake.have("c", nasty, BOB)
    poll = json.dumps({"question": nasty, "options": [nasty, "ok"], "multiple": True})
    fake.have("c", poll, BOB, kind="poll")
    fake.have("c", "answer", BOB, fields={"replyTo": first.message_id})
    fake.reactions[first.message_id] = {BOB: nasty}
    async with driven(fake, size=(60, 40)) as d:
        await d.open("c")
        await d.sees("answer", "[red]", "□ ")
        for keys in (("enter",), ("escape", "r"), ("escape",)):
            d.screen.query_one(MessagesView).focus()
            d.screen.query_one(MessagesView).pick("m 1")
            await d.pilot.press(*keys)
            await d.settle()
            assert not set(d.text()) & {
                chr(c) for c in (*range(10), *range(11, 32), *range(127, 160), 0x202E)
            }
            strips = d.app.screen._compositor.render_strips()
            assert {strip.cell_length for strip in strips} == {60}
        await d.pilot.press("ctrl+f")
        await d.type(*"red")
        await until(lambda: d.app.screen.query_one(OptionList).option_count > 0)
        await d.settle()
        assert not set(d.text()) & {chr(c) for c in (*range(10), *range(11, 32), *range(127, 160), 0x202E)}
