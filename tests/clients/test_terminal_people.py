"""Requests of strangers, blocks, and the settings of an account in the terminal."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from textual.widgets import Button, Input, OptionList

from tests.clients.fake_account import CODE
from tests.clients.fake_backend import BOB, EVE, ME, now_ms
from tests.clients.group_pilots import choose
from tests.clients.pilots import Driver, driven, people, until
from whatsapp_client import Contact, RestError, events
from whatsapp_client.link import LinkRequest
from whatsapp_terminal import qr
from whatsapp_terminal.chat_list import ChatList
from whatsapp_terminal.contacts_screen import numbers_in
from whatsapp_terminal.security_screens import wrong_pin

STRANGER = "stranger"


async def settings(d: Driver, row: str) -> None:
    """Open one of the settings."""
    await d.pilot.press("f9")
    await d.sees("Settings ·")
    await choose(d, row)


def fill(d: Driver, **fields: str) -> None:
    for field, value in fields.items():
        d.app.screen.query_one(f"#{field}", Input).value = value


def press(d: Driver, button: str) -> None:
    d.app.screen.query_one(f"#{button}", Button).press()


async def test_a_stranger_has_a_section_of_their_own_and_is_accepted_blocked_or_deleted():
    fake = people()
    for name in ("one", "two"):
        fake.chat(f"c-{name}", f"stranger {name}", f"{STRANGER}-{name}", request=True)
        fake.have(f"c-{name}", f"hello from {name}", f"{STRANGER}-{name}")
    for n in range(250):
        fake.have("c-two", f"and {n}", f"{STRANGER}-two")
    async with driven(fake) as d:
        await d.sees("▾ Message requests", "2 people you do not know", "hello from one")
        rows = d.screen.query_one(ChatList).rows
        assert [row.title for row in rows if row.request] == [row.title for row in rows[1:3]]
        d.screen.query_one(ChatList).focus()
        await d.pilot.press("home", "enter")  # folded, and unfolded again
        await d.loses("hello from one")
        await d.sees("▸ Message requests")
        await d.pilot.press("enter")
        await d.open("c-one")
        await d.sees("is not among your contacts", "Accept", "Block", "Delete")
        press_in(d, "accept")
        await d.sees("stranger one is accepted", "1 person you do not know")
        await d.loses("is not among your contacts")
        await d.open("c-two")
        press_in(d, "block")
        await d.sees("Block stranger two?")
        await d.pilot.press("y")
        await d.sees("stranger two is blocked", "You have blocked this person", "Unblock")
        await d.type(*"anything", "enter")
        assert fake.pending("c-two") == []
        press_in(d, "unblock")
        await d.sees("is not blocked any more")
        press_in(d, "remove")
        await d.sees("Delete this chat on this device?")
        await d.pilot.press("y")
        await d.loses("and 249")
        assert [call[0] for call in fake.calls] == ["accept", "block", "unblock", "flags"]
        assert fake.logs["c-two"] == []


async def test_who_accepts_us_is_followed_once_more():
    fake = people()
    fake.have("c-bob", "hello", ME)
    async with driven(fake) as d:
        await until(lambda: BOB in fake.watched)
        fake.watched.clear()
        fake.receipt("c-bob", "delivered", 1)  # nothing was known of when he is here
        await until(lambda: fake.watched == {BOB})
        fake.watched.clear()
        fake.receipt("c-bob", "read", 1)
        await d.settle()
        assert fake.watched == set()


def press_in(d: Driver, button: str) -> None:
    """A button of the bar over the text field."""
    d.screen.query_one(f"RequestBar #{button}", Button).press()


async def test_who_is_blocked_is_seen_in_the_list_and_in_the_settings():
    fake = people()
    fake.have("c-eve", "buy coins", EVE)
    async with driven(fake) as d:
        await d.open("c-eve")
        await d.pilot.press("f2")
        await choose(d, "Block…")
        await d.pilot.press("y")
        await d.sees("⊗", "Blocked")
        row = next(r for r in d.screen.query_one(ChatList).rows if r.conversation_id == "c-eve")
        assert (row.blocked, row.preview) == (True, "Blocked")
        await settings(d, "Blocked people")
        await choose(d, "Eve")
        await d.pilot.press("y")
        await d.sees("Nobody is blocked.")
        assert fake.blocked == []


async def test_privacy_goes_round_and_says_what_the_server_refuses():
    fake = people()
    async with driven(fake) as d:
        await settings(d, "Privacy")
        await d.sees("Last seen           Everyone")
        for expected in ("My contacts", "Nobody", "Everyone"):
            await choose(d, "Read receipts")
            await d.sees(f"Read receipts       {expected}")
        fake.refuse = RestError(429, "rate_limited", "", retry_after=60.0)
        await choose(d, "Online")
        await d.sees("Too many tries. Try again in 60 s.", "Online              Everyone")
        assert fake.privacy_set["readReceipts"] == "everyone"


async def test_my_data_is_saved_beside_what_is_there_and_purposes_are_agreed_to_and_taken_back(
    tmp_path: Path,
):
    fake = people()
    async with driven(fake) as d:
        d.app.settings.folder = str(tmp_path)
        await settings(d, "My data")
        await d.sees("diagnostics           No")
        await choose(d, "diagnostics")
        await d.sees("diagnostics           Yes, since 2026-")
        await choose(d, "diagnostics")
        await d.sees("diagnostics           No")
        for number in (1, 2):
            await choose(d, "Save an archive")
            await until(lambda wanted=number: len(list(tmp_path.glob("my-data-*.zip"))) == wanted)
        await d.sees("Saved as")
        assert len(os.listdir(tmp_path)) == 2, "no unfinished one"
        fake.archive = None
        await choose(d, "Save an archive")
        await d.sees("the archive could not be made")
    assert fake.agreed == {}


async def test_the_profile_is_saved_and_a_photo_set_from_a_file(tmp_path: Path):
    fake = people()
    photo = tmp_path / "me.png"
    photo.write_bytes(b"\x89PNG\r\n\x1a\n" + b"0" * 100)
    (tmp_path / "no.txt").write_text("no photo")
    async with driven(fake) as d:
        await settings(d, "Profile")
        await until(lambda: d.app.screen.query_one("#name", Input).value == "Me Myself")
        fill(d, about="On the water")
        press(d, "go")
        await d.sees("Saved.")
        assert fake.rest.asked[-1] == ("PATCH", "/me", {"name": "Me Myself", "about": "On the water"})
        for path, words in (("nowhere.png", "cannot be read"), ("no.txt", "no JPEG, PNG or WebP")):
            fill(d, photo=str(tmp_path / path))
            press(d, "set")
            await d.sees(words)
        fill(d, photo=str(photo))
        press(d, "set")
        await d.sees("The photo is set.", "You have a photo.")
        press(d, "remove")
        await d.sees("The photo is gone.")
        assert [call[0] for call in fake.calls] == ["photo", "photo"]
        assert fake.calls[0][1] == photo.read_bytes()


async def test_a_pin_is_set_changed_with_the_old_one_and_removed():
    fake = people()
    async with driven(fake) as d:
        await settings(d, "PIN")
        await d.sees("You have none yet.")
        assert "The PIN now" not in d.text()
        fill(d, new="123")
        press(d, "go")
        await d.sees("A PIN has 6 to 20")
        fill(d, new="sea-otter", again="sea-otte")
        press(d, "go")
        await d.sees("The two are not the same.")
        assert fake.pin == ""
        fill(d, again="sea-otter")
        press(d, "go")
        await d.sees("The PIN is set.", "The PIN now")
        assert fake.pin == "sea-otter"
        assert "sea-otter" not in d.text()
        fill(d, old="wrong!", new="another-1", again="another-1")
        press(d, "go")
        await d.sees("This is not the PIN.")
        fill(d, old="sea-otter")
        press(d, "go")
        await until(lambda: fake.pin == "another-1")
        fill(d, old="another-1")
        press(d, "remove")
        await d.sees("There is no PIN any more.")
        await d.loses("The PIN now")
        await d.pilot.press("escape")
        fake.rest.mine = {"pinSet": True, "pinFailedAt": now_ms()}
        await choose(d, "PIN")
        await d.sees("You have a PIN. Somebody with a code", "wrong one: Today,")


@pytest.mark.parametrize("pin", ["", "12345", "a" * 21, "with space", "höhe-77", "line\nline"])
def test_what_can_be_no_pin_is_known_before_the_server_is_asked(pin: str):
    assert wrong_pin(pin)
    assert not wrong_pin("27-18-28")


async def test_the_number_is_changed_with_the_code_of_the_new_one_and_the_pin():
    fake = people()
    fake.pin = "sea-otter"
    async with driven(fake) as d:
        await settings(d, "Phone number")
        await d.sees("Now +15550001")
        fill(d, number="nonsense")
        press(d, "go")
        await d.sees("A phone number is + and digits")
        fill(d, number="+1 555 0009")
        press(d, "go")
        await d.sees("A code is on its way to +15550009")
        assert fake.rest.asked == [("POST", "/auth/register", "+15550009")]
        fill(d, code="000000")
        press(d, "go")
        await d.sees("The code is wrong")
        fill(d, code=CODE)
        press(d, "go")
        await d.sees("Your PIN, please.")
        fill(d, pin="sea-otter")
        press(d, "go")
        await d.sees("Your number is +15550009 now.")
        assert ("number", "+15550009") in fake.calls
        await d.sees("Settings · +15550009")
        await d.pilot.press("escape")
        await d.sees("● +15550009")
        # What other devices of this user, and somebody else with a code, have done.
        fake.session.phone_number = "+15550010"
        fake.emit(
            events.Notice("number_changed", {"userId": fake.session.user_id, "phoneNumber": "+15550010"})
        )
        await d.sees("Your number is +15550010 now", "● +15550010")
        fake.emit(events.Notice("pin", {"event": "failed", "at": now_ms()}))
        await d.sees("Somebody had a code for your number")


async def test_devices_are_listed_unlinked_and_let_in_after_a_question():
    fake = people()
    fake.rest.linked = [
        {"deviceId": "a", "name": "terminal", "primary": True, "current": True, "lastSeenAt": now_ms()},
        {"deviceId": "b", "name": "old laptop", "primary": False, "lastSeenAt": now_ms() - 86_400_000},
    ]
    fake.asking["wa-link:1:id:secret"] = LinkRequest("tablet\x1b[2J", now_ms() - 30_000, 0, False, "pending")
    async with driven(fake) as d:
        await settings(d, "Linked devices")
        await d.sees("terminal  primary  this one", "old laptop")
        await choose(d, "terminal")
        await d.sees("the one you sit at")
        await choose(d, "old laptop")
        await d.sees("Unlink old laptop?")
        await d.pilot.press("y")
        await d.loses("old laptop")
        press(d, "link")
        await d.sees("Paste the text of its code")
        fill(d, code="wa-link:1:other:x")
        press(d, "go")
        await d.sees("This code is too old.")
        fill(d, code="  wa-link:1:id:\nsecret ")
        press(d, "go")
        await d.sees("Let “tablet�[2J” read and write everything", "It asked 3", "from ANOTHER")
        assert fake.calls == []
        await d.pilot.press("y")
        await choose(d, "7 days")
        await d.sees("The new device may come in now.")
        assert fake.calls == [("link", "wa-link:1:id:secret", 7)]
        # It comes in, and the open list shows it.
        fake.rest.linked.append(
            {"deviceId": "c", "name": "new tablet", "primary": False, "lastSeenAt": now_ms()}
        )
        fake.emit(events.Notice("device_linked", {"deviceId": "c", "name": "new tablet"}))
        await d.sees("new tablet  last seen just now", "“new tablet” was added to your account")
        unlink_at = now_ms() + 3 * 86_400_000
        fake.emit(
            events.Notice("device_idle", {"deviceId": "c", "name": "new tablet", "unlinkAt": unlink_at})
        )
        await d.sees("“new tablet” will be unlinked in")
        fake.rest.linked.pop()
        fake.emit(events.Notice("device_removed", {"deviceId": "c", "name": "new tablet", "reason": "idle"}))
        await d.loses("new tablet  last seen just now")
        await d.sees("“new tablet” was unlinked")


async def test_contacts_are_added_found_renamed_removed_and_synced(tmp_path: Path):
    fake = people()
    fake.address_book = {"u-zoe": Contact("u-zoe", "zz", "Zoe"), "u-al": Contact("u-al", "Al", "")}
    book = tmp_path / "book.vcf"
    book.write_text("TEL:+1 (555) 0007\nTEL:+15550008\nTEL:+1 (555) 0007\n")
    async with driven(fake) as d:
        await settings(d, "Contacts")
        await d.sees("Al", "Zoe  ~zz")
        press(d, "add")
        await d.sees("Add a contact")
        await d.type(*"+1 555 0042", "enter")
        await d.sees("+15550042 is added.")
        await choose(d, "Zoe")
        await choose(d, "Rename")
        await d.sees("Rename Zoe")
        await d.type(*"Zoë", "enter")
        await d.sees("Zoë")
        await choose(d, "Al")
        await choose(d, "Remove")
        await d.pilot.press("y")
        await until(lambda: "u-al" not in fake.address_book)
        press(d, "sync")
        await d.sees("Find people of an address book")
        await d.type(*str(book), "enter")
        await d.sees("2 numbers looked for, 1 new.")
        assert ("sync", ["+15550007", "+15550008"]) in fake.calls


def test_phone_numbers_are_found_in_whatever_an_address_book_looks_like():
    assert numbers_in("a,+49 170-123 45 67;b\n+15550001 / +15550001") == ["+491701234567", "+15550001"]
    assert numbers_in("no number, 12345, +12") == []


async def test_a_broadcast_list_is_made_written_to_and_deleted():
    fake = people()
    async with driven(fake) as d:
        await settings(d, "Broadcast lists")
        await d.sees("No list yet")
        press(d, "new")
        await d.sees("New broadcast list")
        press(d, "go")
        await d.sees("The list needs a name.")
        fill(d, name="Crew")
        for name in ("Bob", "Eve"):
            await choose(d, name)
        press(d, "go")
        await d.sees("Crew  Bob Carter and Eve")
        await choose(d, "Crew")
        await choose(d, "Write to 2")
        await d.type(*"nine o'clock", "enter")
        await d.sees("On its way to 2 people.")
        assert fake.calls == [("list", "list-0", "nine o'clock")]
        assert list(fake.lists["list-0"].user_ids) == [BOB, EVE]
        await choose(d, "Crew")
        await choose(d, "Delete the list")
        await d.pilot.press("y")
        await d.sees("No list yet")


async def test_all_settings_fit_into_a_small_window():
    size = (40, 12)
    fake = people()
    async with driven(fake, size=size) as d:
        await d.pilot.press("f9")
        await d.sees("Settings")
        count = d.app.screen.query_one(OptionList).option_count
        for row in range(count - 2):
            view = d.app.screen.query_one(OptionList)
            view.highlighted = row
            view.focus()
            await d.pilot.press("enter")
            await until(lambda: len(d.app.screen_stack) == 4)
            await d.pilot.pause()
            strips = d.app.screen._compositor.render_strips()
            assert {strip.cell_length for strip in strips} == {size[0]}
            for button in d.app.screen.query(Button):
                assert d.app.screen.region.contains_region(button.region), (row, button)
            await d.pilot.press("escape")
            await until(lambda: len(d.app.screen_stack) == 3)


def test_a_code_is_drawn_with_a_light_border_and_can_be_read_back():
    rows = qr.half_blocks("wa-link:1:5b2d1f0c-7a3e-4c55-9f06-2f6a8d9c1e70:" + "x" * 43)
    assert len({len(row) for row in rows}) == 1
    assert set("".join(rows)) <= set("█▀▄ ")
    assert rows[0] == "█" * len(rows[0])
    assert len(rows) * 2 - len(rows[0]) in (0, 1)
    assert ME not in "".join(rows)
