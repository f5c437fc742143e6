"""What one does with messages, between terminal clients on the real library and a real running system."""

from __future__ import annotations

from typing import Any

from textual.widgets import Button, Input

from tests.clients.pilots import until
from tests.clients.test_terminal_live import TIMEOUT, Person, person, two_numbers
from tests.clients.test_terminal_live_groups import choose
from whatsapp_terminal.cells import Block
from whatsapp_terminal.composer import Composer
from whatsapp_terminal.conversation import MessagesView


async def pick(who: Person, words: str) -> None:
    """Choose the message with these words."""
    await who.sees(words)
    view = who.screen.query_one(MessagesView)

    def key() -> str:
        """Of the log: what is still on its way has nothing to be done with."""
        found = (b.key for b in reversed(view.blocks) if b.message_id and words in (b.message or said(b)))
        return next(found, "")

    await until(key, TIMEOUT)
    view.focus()
    view.pick(key())
    await who.pilot.pause()


def said(block: Block) -> str:
    return "".join(span.text for row in block.rows for span in row)


async def test_a_conversation_with_everything_that_can_be_done_to_a_message(stack: Any):
    ann_number, bob_number = two_numbers()
    async with (
        person(stack, bob_number, codec="protobuf") as bob,
        person(stack, ann_number, to=bob_number) as ann,
    ):
        await ann.sees(f"Message to {bob_number}")
        await ann.says("shall we sail on Sunday?")
        await until(lambda: len(bob.client.chats()) == 1, TIMEOUT)
        chat = bob.client.chats()[0].conversation_id
        bob.screen.open_chat(chat)
        # An answer with its original, and a reaction.
        await pick(bob, "shall we sail")
        await bob.pilot.press("r")
        await bob.sees("Reply to")
        await bob.says("yes, at nein")
        await ann.sees("▎ You", "yes, at nein")
        await pick(bob, "shall we sail")
        await bob.pilot.press("enter")
        await bob.sees("Delete…")
        await bob.pilot.press("1")
        await ann.sees("👍")
        # An edit is seen on the other side, also in the quote of it.
        await pick(bob, "yes, at nein")
        await bob.pilot.press("e")
        await bob.sees("Edit your message")
        bob.screen.query_one(Composer).put("yes, at nine")
        await bob.pilot.press("enter")
        await ann.sees("yes, at nine", "edited")
        # A poll, and a vote of each.
        await ann.pilot.press("f6")
        await ann.sees("New poll")
        sheet = ann.app.screen
        sheet.query_one("#question", Input).value = "Whose boat?"
        for field, words in zip(sheet.query(".option").results(Input), ("Mine", "Yours"), strict=False):
            field.value = words
        sheet.query_one("#go", Button).press()
        for who, option in ((ann, "Mine"), (bob, "Yours")):
            await pick(who, "Whose boat?")
            await who.pilot.press("enter")
            await choose(who, "Vote")
            await choose(who, option)
            who.app.screen.query_one("#go", Button).press()
        for who in (ann, bob):
            await who.sees("2 voted")
        await ann.sees("◉ Mine")
        await bob.sees("◉ Yours")
        # Seen once.
        bob.screen.query_one(Composer).focus()
        await bob.pilot.press("f7")
        await bob.says("the key is under the stone")
        await pick(ann, "View once")
        await ann.pilot.press("o")
        await ann.sees("the key is under the stone")
        await ann.pilot.press("escape")
        await ann.sees("Opened")
        await bob.sees("① Can be viewed once")  # he is not told that she has opened it
        # A star, the search, and what the timer says.
        await pick(ann, "yes, at nine")
        await ann.pilot.press("s")
        await ann.sees("★")
        await ann.pilot.press("ctrl+f")
        ann.app.screen.query_one("#wanted", Input).value = "nine"
        await ann.sees("In “", "yes, at nine")
        await ann.pilot.press("escape")
        await ann.pilot.press("f2")
        await choose(ann, "Disappearing messages")
        await choose(ann, "24 hours")
        await bob.sees("made new messages disappear after 24 hours")
        await ann.says("gone tomorrow")
        await bob.sees("gone tomorrow  ◷ 23 h")
        # Deleted for everyone, and for oneself.
        await pick(ann, "shall we sail")
        await ann.pilot.press("d")
        await choose(ann, "Delete for everyone")
        await bob.sees("This message was deleted")
        await pick(bob, "gone tomorrow")
        await bob.pilot.press("d")
        await choose(bob, "Delete for me")
        await until(lambda: all("gone" not in e.text for e in bob.client.messages(chat)), TIMEOUT)
        await ann.sees("gone tomorrow")
