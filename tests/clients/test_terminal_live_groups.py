"""Groups between terminal clients on the real library and a real running system."""

from __future__ import annotations

from typing import Any

from textual.widgets import Button, Input, OptionList

from tests.clients.pilots import shown, until
from tests.clients.test_terminal_live import TIMEOUT, Person, other, person, two_numbers
from whatsapp_terminal.chat_list import ChatList
from whatsapp_terminal.composer import Composer
from whatsapp_terminal.conversation import MessagesView


async def called(who: Person, name: str) -> None:
    await who.client.rest.call("PATCH", "/me", {"name": name})


async def choose(who: Person, row: str) -> None:
    """Take a row of the list of the sheet on top."""
    await until(lambda: who.app.screen.query(OptionList), TIMEOUT)
    view = who.app.screen.query_one(OptionList)
    await until(lambda: any(row in str(option.prompt) for option in view.options), TIMEOUT)
    view.highlighted = next(n for n, option in enumerate(view.options) if row in str(option.prompt))
    view.focus()
    await who.pilot.press("enter")
    await who.pilot.pause()


async def press(who: Person, button: str) -> None:
    who.app.screen.query_one(button, Button).press()
    await who.pilot.pause()


def flag(who: Person, conversation: str, what: str) -> None:
    """As its key in the list does."""
    who.screen.post_message(ChatList.Acted(conversation, what))


async def make_group(who: Person, name: str, *numbers: str) -> str:
    """With the dialog; the conversation of the group, which is open then."""
    await who.pilot.press("f3")
    await who.sees("New group")
    who.app.screen.query_one("#name", Input).value = name
    field = who.app.screen.query_one("#who", Input)
    for count, number in enumerate(numbers, 1):
        field.focus()
        field.value = number
        await who.pilot.press("enter")
        await who.sees(f"{count} chosen:")
    await press(who, "#go")
    await who.sees(f"Message to {name}")
    assert who.screen.open is not None
    return who.screen.open.id


async def test_a_group_is_made_talked_in_and_left(stack: Any):
    ann_number, bob_number = two_numbers()
    eve_number, _ = two_numbers()
    async with (
        person(stack, ann_number) as ann,
        person(stack, bob_number, codec="protobuf") as bob,
        person(stack, eve_number) as eve,
    ):
        await called(ann, "Ann Lee")
        await called(bob, "Bob")
        await called(eve, "Eve")
        group = await make_group(ann, "Sailing", bob_number, eve_number)
        await ann.sees("You made the group with", "The group is called “Sailing”", "3 members")
        await bob.sees("Sailing")
        bob.screen.open_chat(group)
        await bob.sees("Ann Lee made the group with you and Eve", "Message to Sailing", "3 members")
        # Typing and presence of those who have it open.
        await ann.sees("3 members, 3 online")
        bob.screen.query_one(Composer).insert("I am")
        await ann.sees("Bob is typing…")
        bob.screen.query_one(Composer).put("")
        # A mention is completed, sent and shown.
        await until(lambda: len(bob.screen.open.book.people()) == 2, TIMEOUT)  # type: ignore[union-attr]
        bob.screen.query_one(Composer).insert("hello @ann")
        await bob.sees("@ Ann Lee")
        await bob.pilot.press("tab", "enter")
        await ann.sees("hello @Ann Lee")
        roles = [
            span.role for b in ann.screen.query_one(MessagesView).blocks for row in b.rows for span in row
        ]
        assert {"mentioned", "other mention"} <= set(roles)
        # Who has a message.
        await ann.says("ready?")
        await bob.sees("ready?")
        ann.screen.query_one(MessagesView).focus()
        await ann.pilot.press("up", "i")
        await ann.sees("read by 1 of 2", "Bob", "Eve")
        eve.screen.open_chat(group)
        await ann.sees("read by 2 of 2")
        await ann.pilot.press("escape")
        # Bob becomes an admin, changes the name, removes Eve; Ann leaves and Bob owns it.
        await ann.pilot.press("f2")
        await ann.sees("you are the owner")
        await choose(ann, "Bob")
        await choose(ann, "Make an admin")
        await ann.pilot.press("y")
        await ann.sees("Bob  ", "  admin")
        await bob.sees("Ann Lee made you an admin")
        await bob.pilot.press("f2")
        await bob.sees("you are an admin")
        await bob.pilot.press("e")
        bob.app.screen.query_one("#name", Input).value = "Rowing"
        await press(bob, "#go")
        await ann.sees("Rowing")
        await choose(bob, "Eve")
        await choose(bob, "Remove from the group")
        await bob.pilot.press("y")
        await eve.sees("Bob removed you", "You were removed from this group")
        await ann.pilot.press("l", "y")
        await ann.sees("You left this group", "You left")
        await bob.pilot.press("escape")
        await bob.sees("Ann Lee left", "Rowing  1 member")


async def test_a_link_is_used_and_an_admin_decides(stack: Any):
    ann_number, bob_number = two_numbers()
    eve_number, _ = two_numbers()
    async with (
        person(stack, ann_number) as ann,
        person(stack, bob_number) as bob,
        person(stack, eve_number) as eve,
    ):
        await called(eve, "Eve")
        group = await make_group(ann, "Climbing", bob_number)
        await ann.sees("2 members")
        await ann.pilot.press("f2")
        await ann.sees("you are the owner")
        await ann.pilot.press("i")
        await ann.sees("There is none.")
        await ann.pilot.press("n")
        ann.app.screen.query_one("#for", Input).value = "2d"
        ann.app.screen.query_one("#approval").toggle()  # type: ignore[attr-defined]
        await press(ann, "#go")
        await ann.sees("ends in 48 h", "an admin decides")
        (invite,) = await ann.client.invites(group)
        await eve.pilot.press("f4")
        eve.app.screen.query_one("#code", Input).value = invite.code
        await eve.pilot.press("enter")
        await eve.sees("Climbing", "2 members", "Ask to join")
        await eve.pilot.press("enter")
        await eve.sees("You have asked to join.")
        await ann.pilot.press("escape", "i")
        await choose(ann, "Eve")
        await choose(ann, "Let in")
        await eve.sees("Climbing")
        await bob.sees("Climbing")
        await until(lambda: "Asking to join" not in shown(ann.app), TIMEOUT)
        await choose(ann, invite.code)
        await choose(ann, "End this link")
        await ann.pilot.press("y")
        await ann.sees("There is none.")
        await eve.pilot.press("f4")
        eve.app.screen.query_one("#code", Input).value = invite.code
        await eve.pilot.press("enter")
        await eve.sees("This invite is not valid any more.")


async def test_mute_pin_and_archive_are_the_same_on_another_device(stack: Any, tmp_path: Any):
    ann_number, bob_number = two_numbers()
    async with person(stack, ann_number) as ann, person(stack, bob_number) as bob:
        group = await make_group(ann, "Chess", bob_number)
        async with person(stack, ann_number, data=other(stack, tmp_path)) as tablet:
            await tablet.sees("Chess")
            for what, sign in (("pin", "▴"), ("archive", "1 chat put away")):
                flag(ann, group, what)
                await tablet.sees(sign)
                await ann.sees(sign)
            flag(tablet, group, "archive")
            await ann.sees("▴")
            flag(ann, group, "mute")
            await choose(ann, "Always")
            await tablet.sees("▴⊘")
        await bob.sees("Chess")
