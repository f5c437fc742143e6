"""The dialogs of groups on a scripted library: what one sees, what one may, and what the library is asked for."""

from __future__ import annotations

import asyncio

import pytest
from textual.widgets import Button, Checkbox, Input, OptionList

from tests.clients.fake_backend import BOB, EVE, ME, now_ms
from tests.clients.fake_groups import code
from tests.clients.group_pilots import ANN, ZOE, G, choose, info, members, sailing
from tests.clients.pilots import driven, people, until
from whatsapp_client import (
    Forbidden,
    GroupSettings,
    JoinRequest,
    LimitExceeded,
    Unreachable,
)
from whatsapp_terminal.app import TerminalApp
from whatsapp_terminal.group_screen import GroupScreen


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group is read again without the pause between two readings."""
    monkeypatch.setattr("whatsapp_terminal.group_book.AGAIN", 0.05)


async def test_a_change_is_seen_in_the_member_list_that_is_open():
    fake = sailing()
    async with driven(fake) as d:
        await info(d)
        fake.groups[G].members.pop(ANN)
        fake.change(G, "member_removed", ANN, ANN)
        await d.loses("Ann Lee")
        await d.sees("3 members")


async def test_news_of_a_group_while_its_dialog_goes_away_is_no_trouble():
    async with driven(sailing()) as d:
        await info(d)
        screen = d.app.screen
        assert isinstance(screen, GroupScreen)
        screen.dismiss(None)
        while screen.is_attached:  # its parts go first
            screen.renew()
            await asyncio.sleep(0)
        screen.renew()
        await until(lambda: d.app.screen is d.screen)


async def test_a_link_that_was_just_made_is_chosen():
    async with driven(sailing()) as d:
        await info(d)
        await d.pilot.press("i")
        await d.sees("There is none")
        await d.pilot.press("n")
        await d.sees("Works for")
        await d.type("7", "d", "enter")
        await d.sees("ends in 7 days")
        await d.pilot.press("enter")
        await d.sees("Copy an invitation")


async def test_a_new_group_is_made_of_contacts_and_numbers():
    fake = people()
    fake.rest.numbers["+15550009"] = "zoe"
    fake.rest.others = ["carl"]
    async with driven(fake) as d:
        await d.pilot.press("f3")
        await d.sees("New group", "contact carl", "[ ] Bob Carter")
        d.app.screen.query_one("#go", Button).press()
        await d.sees("The group needs a name.")
        d.app.screen.query_one("#name", Input).value = "Crew"
        d.app.screen.query_one("#go", Button).press()
        await d.sees("choose at least one")
        await choose(d, "Bob Carter")
        await d.sees("[✓] Bob Carter", "1 chosen: Bob Carter")
        who = d.app.screen.query_one("#who", Input)
        who.focus()
        await d.type(*"+15550001", "enter")
        await d.sees("Nobody has registered +15550001 yet.")
        who.value = "+15550009"
        await d.pilot.press("enter")
        await d.sees("[✓] +15550009")
        fake.refuse = LimitExceeded(409, "limit_exceeded", "You have made 10 groups in this hour.")
        d.app.screen.query_one("#go", Button).press()
        await d.sees("You have made 10 groups in this hour.")
        d.app.screen.query_one("#go", Button).press()
        await d.sees("Message to Crew")
        assert fake.calls.count(("create", "Crew", [BOB, "zoe"], None)) == 2


async def test_an_owner_promotes_hands_over_removes_and_leaves_after_a_question():
    fake = sailing()
    async with driven(fake) as d:
        await info(d)
        await d.sees("you are the owner", "Sundays at nine", "All may write, edit the info and add members.")
        await choose(d, "Ann Lee")
        await d.sees("Make an admin", "Hand the group over", "Remove from the group", "Write to them alone")
        await choose(d, "Make an admin")
        await d.sees("Make Ann Lee an admin?")
        await d.pilot.press("n")
        assert not any(call[0] == "role" for call in fake.calls)
        await choose(d, "Ann Lee")
        await choose(d, "Make an admin")
        await d.pilot.press("y")
        await until(lambda: ("role", G, ANN, "admin") in fake.calls)
        await d.sees("Ann Lee  admin")
        await choose(d, "Ann Lee")
        await choose(d, "Make a plain member")
        await d.pilot.press("y")
        await until(lambda: ("role", G, ANN, "member") in fake.calls)
        await choose(d, "Eve")
        await choose(d, "Remove from the group")
        await d.pilot.press("y")
        await until(lambda: ("remove", G, EVE) in fake.calls)
        await until(lambda: len(members(d)) == 3)
        await choose(d, "Bob Carter")
        await choose(d, "Hand the group over")
        await d.pilot.press("y")
        await until(lambda: ("role", G, BOB, "creator") in fake.calls)
        await d.sees("you are an admin")
        fake.refuse = Unreachable("away")
        await d.pilot.press("l", "y")
        await d.sees("The server does not answer.")
        await d.pilot.press("l", "y")
        await until(lambda: ("leave", G) in fake.calls and d.app.screen is d.screen)


async def test_a_plain_member_is_offered_only_what_a_member_may():
    fake = sailing("member", settings=GroupSettings("all", "admins", "admins"))
    async with driven(fake) as d:
        await info(d)
        await d.sees("All may write; only admins may edit")
        allowed = {str(b.id): not b.disabled for b in d.app.screen.query(Button)}
        assert allowed == {
            "edit": False,
            "add": False,
            "invite": False,
            "timer": False,
            "report": True,
            "leave": True,
        }
        await d.pilot.press("e", "a", "i")
        assert d.app.screen.query_one("#members", OptionList)
        await choose(d, "Ann Lee")
        await d.sees("Write to them alone")
        assert "Make an admin" not in d.text()
        assert "Remove" not in d.text()
        await choose(d, "Write to them alone")
        await until(lambda: d.app.screen is d.screen)


async def test_name_description_and_settings_are_changed_and_only_what_is_different_is_sent():
    fake = sailing()
    async with driven(fake) as d:
        await info(d)
        await d.pilot.press("e")
        await d.sees("Edit the group", "Only admins may write")
        d.app.screen.query_one("#name", Input).value = " "
        d.app.screen.query_one("#go", Button).press()
        await d.sees("The group needs a name.")
        d.app.screen.query_one("#name", Input).value = "Rowing"
        d.app.screen.query_one("#whoSends", Checkbox).value = True
        fake.refuse = Forbidden(403, "forbidden", "Only admins of the group may do this.")
        d.app.screen.query_one("#go", Button).press()
        await d.sees("Only admins of the group may do this.")
        d.app.screen.query_one("#go", Button).press()
        await d.sees("All may edit the info and add members;", "Rowing")
        updates = [call[2] for call in fake.calls if call[0] == "update"]
        assert updates == [{"name": "Rowing", "settings": {"whoSends": "admins"}}] * 2


async def test_members_are_added_and_those_who_are_in_are_not_offered():
    fake = sailing()
    fake.chat("c-zoe", "Zoe", ZOE)
    async with driven(fake) as d:
        await info(d)
        await d.pilot.press("a")
        await d.sees("Add members", "[ ] Zoe")
        assert "[ ] Bob Carter" not in d.text()
        await choose(d, "Zoe")
        d.app.screen.query_one("#go", Button).press()
        await d.sees("1 added.", "5 members")
        assert ("add", G, [ZOE]) in fake.calls


async def test_a_group_of_1024_is_listed_searched_and_read_in_pages():
    fake = people()
    fake.chat("big", "Big", kind="group")
    crowd = {f"u{n:04d}": (f"Member {n:04d}", "member") for n in range(1_023)}
    fake.make("big", "Big", {ME: ("Me", "creator"), **crowd})
    async with driven(fake) as d:
        await d.open("big")
        await d.sees("1,024 members")
        await d.pilot.press("f2")
        view = d.app.screen.query_one("#members", OptionList)
        await until(lambda: view.option_count == 1_024)
        assert fake.pages_of_members >= 5
        await d.pilot.press("end")
        await d.sees("Member 1022")
        await d.pilot.press("slash")
        await d.type(*"member 0500")
        await until(lambda: view.option_count == 1)
        await d.sees("Member 0500")
        await d.type("x")
        await d.sees("No member is called so.")


async def test_links_are_made_copied_and_ended(monkeypatch: pytest.MonkeyPatch):
    copied: list[str] = []
    monkeypatch.setattr(TerminalApp, "copy_to_clipboard", lambda self, text: copied.append(text))
    fake = sailing()
    async with driven(fake) as d:
        await info(d)
        await d.pilot.press("i")
        await d.sees("There is none.")
        await d.pilot.press("n")
        d.app.screen.query_one("#for", Input).value = "soon"
        d.app.screen.query_one("#go", Button).press()
        await d.sees("12h, 7d")
        d.app.screen.query_one("#for", Input).value = "7d"
        d.app.screen.query_one("#uses", Input).value = "10"
        d.app.screen.query_one("#approval", Checkbox).value = True
        d.app.screen.query_one("#go", Button).press()
        await d.sees(code(1), "used 0 of 10", "an admin decides")
        assert ("invite", G, 7 * 86_400, 10, True) in fake.calls
        assert code(1) in copied[-1]
        assert "Sailing" in copied[-1]
        await choose(d, code(1))
        await choose(d, "Copy the code")
        assert copied[-1] == code(1)
        await choose(d, code(1))
        await choose(d, "End this link")
        await d.pilot.press("y")
        await d.sees("There is none.")


async def test_who_asks_to_join_is_let_in_or_refused():
    fake = sailing()
    fake.groups[G].requests = {user: JoinRequest(user, f"Asker {user}", now_ms()) for user in ("u1", "u2")}
    async with driven(fake) as d:
        await info(d)
        await d.pilot.press("i")
        await d.sees("Asking to join", "Asker u1", "Asker u2")
        await choose(d, "Asker u1")
        await choose(d, "Let in")
        await d.loses("Asker u1")
        await choose(d, "Asker u2")
        await choose(d, "Refuse")
        await d.loses("Asking to join")
        assert [call for call in fake.calls if call[0] == "answer"] == [
            ("answer", G, "u1", True), ("answer", G, "u2", False),
        ]  # fmt: skip


async def test_joining_by_a_code_shows_first_where_it_leads():
    fake = people()
    other = fake.make("g-other", "Rowers", {"x": ("X", "creator")}, description="On the lake")
    async with driven(fake) as d:
        await d.pilot.press("f4")
        await d.sees("Join a group")
        field = d.app.screen.query_one("#code", Input)
        field.value = "nonsense"
        await d.pilot.press("enter")
        await d.sees("A code has 22 letters and digits.")
        field.value = f"Join “Rowers” with this code: {code(1)}"
        await d.pilot.press("enter")
        await d.sees("This invite is not valid any more.")
        await fake.create_invite("g-other", approval=True)
        await d.pilot.press("enter")
        await d.sees("Rowers", "1 member", "an admin decides who may join", "On the lake", "Ask to join")
        await d.pilot.press("enter")
        await d.sees("You have asked to join.")
        await fake.create_invite("g-other")
        await d.pilot.press("f4")
        d.app.screen.query_one("#code", Input).value = code(2)
        await d.pilot.press("enter")
        await d.sees("Rowers", "Join")
        await d.pilot.press("enter")
        await d.sees("Message to Rowers")
        assert other.invites


async def test_every_dialog_of_groups_fits_a_small_window():
    size = (40, 12)
    fake = sailing()
    fake.have(G, "ready?", ME)
    await fake.create_invite(G)
    async with driven(fake, size=size) as d:
        await d.open(G)
        await d.pilot.press("f2")
        await d.sees("Edit", "Add", "Invite", "Leave", "Find a member", "Bob Carter")
        for key, words in (("e", "Save"), ("a", "Add members"), ("i", "New link")):
            await d.pilot.press(key)
            await d.sees(words)
            button = list(d.app.screen.query(Button))[-1]
            assert button.region.bottom < size[1], (key, button.region)
            await d.pilot.press("escape")
            await d.sees("Find a member")
        await d.pilot.press("escape")
        for key, words in (("f3", "Make the group"), ("f4", "Join a group")):
            await d.pilot.press(key)
            await d.sees(words)
            button = list(d.app.screen.query(Button))[-1]
            assert button.region.bottom < size[1], (key, button.region)
            await d.pilot.press("escape")
        strips = d.app.screen._compositor.render_strips()
        assert {strip.cell_length for strip in strips} == {size[0]}
