"""Driving the screens of groups: a group to open, its dialogs, rows of a list to choose."""

from __future__ import annotations

from textual.widgets import OptionList

from tests.clients.fake_backend import BOB, EVE, ME, FakeBackend
from tests.clients.pilots import Driver, people, until

ANN, ZOE = "ann", "zoe-with-a-longer-id"
G = "g-sail"


def sailing(own_role: str = "creator", **options: object) -> FakeBackend:
    """Bob and Eve are contacts, Ann is not."""
    fake = people()
    fake.chat(G, "Sailing", kind="group")
    members = {
        ME: ("Me Myself", own_role), BOB: ("bobby", "admin"), EVE: ("Eve", "member"), ANN: ("Ann Lee", "member"),
    }  # fmt: skip
    if own_role != "creator":
        members[EVE] = ("Eve", "creator")
    fake.make(G, "Sailing", members, description="Sundays at nine", **options)  # type: ignore[arg-type]
    fake._chats[G].member_count = 4
    return fake


async def info(d: Driver) -> None:
    await d.open(G)
    await d.sees("4 members")
    await d.pilot.press("f2")
    await d.sees("Find a member", "Ann Lee")


def members(d: Driver) -> list[str]:
    """The rows of the list on top."""
    return [str(option.prompt) for option in d.app.screen.query_one(OptionList).options]


async def choose(d: Driver, row: str) -> None:
    """Take a row of the list on top."""
    view = d.app.screen.query_one(OptionList)
    await until(lambda: any(row in str(option.prompt) for option in view.options))
    view.highlighted = next(n for n, option in enumerate(view.options) if row in str(option.prompt))
    view.focus()
    await d.pilot.press("enter")
    await d.pilot.pause()
