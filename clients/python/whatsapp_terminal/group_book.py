"""What is known of the group that is open: its facts, its members, and what this user may do in it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from whatsapp_client import ClientError, Group, Member, NotFound

from .backend import Backend
from .mentions import Person
from .names import Names, nameless

PAGE = 250
MOST = 2_000  # members; a server that lists more of them is not believed
#: Seconds between two readings while members come and go.
AGAIN = 2.0
RANKS = {"creator": 0, "admin": 1, "member": 2}
ROLES = {"creator": "owner", "admin": "admin", "member": ""}


class GroupBook:
    """Read from the server when the group is opened and after each change. :attr:`changed` is called when there is news.
    ``spawn``: runs work beside the drawing, as long as the chat's screen is there."""

    def __init__(
        self,
        client: Backend,
        names: Names,
        conversation_id: str,
        spawn: Callable[[Callable[[], Coroutine[Any, Any, None]]], None],
    ) -> None:
        self.id = conversation_id
        self.group: Group | None = None
        self.members: list[Member] = []
        self.gone = False
        self.error: ClientError | None = None
        self.changed: Callable[[], None] = lambda: None
        self._client = client
        self._names = names
        self._spawn = spawn
        self._stale = False
        self._reading = False

    # -- reading -----------------------------------------------------------------------------------------------
    def renew(self) -> None:
        """Read it soon; once more after a reading that is under way."""
        self._stale = True
        if not self._reading:
            self._reading = True
            self._spawn(self._follow)

    async def _follow(self) -> None:
        try:
            while self._stale:
                self._stale = False
                await self._read()
                await asyncio.sleep(AGAIN)
        finally:
            self._reading = False

    async def _read(self) -> None:
        try:
            self.group = await self._client.group(self.id)
            self.gone = not self.group.my_role
            self.error = None
            self.changed()
            found: list[Member] = []
            after: str | None = None
            while not self.gone and len(found) < MOST:
                page = await self._client.group_members(self.id, after=after, limit=PAGE)
                found += page.items
                for member in page.items:
                    self._names.learn(member.user_id, member.name)
                if after is None and len(found) > len(self.members):
                    self._take(found)  # the first ones at once
                after = page.next
                if not after:
                    break
            self._take(found)
        except NotFound as error:
            self.error, self.gone, self.members = error, True, []
        except ClientError as error:
            self.error = error
        self.changed()

    def _take(self, members: list[Member]) -> None:
        self.members = sorted(
            members,
            key=lambda m: (RANKS.get(m.role, 3), self._names.name(m.user_id).casefold(), m.user_id),
        )
        self.changed()

    # -- people ------------------------------------------------------------------------------------------------
    def people(self) -> list[Person]:
        """Whom one may mention."""
        found = []
        for member in self.members:
            if member.user_id == self._names.own:
                continue
            known = self._names.name(member.user_id)
            # A nickname stays here: others see what the member is called by themselves, or by number.
            written = member.name or (
                known if nameless(known, member.user_id) else f"user {member.user_id[-8:]}"
            )
            found.append(Person(member.user_id, " ".join(written.split()), known))
        return found

    # -- what one may ------------------------------------------------------------------------------------------
    @property
    def is_admin(self) -> bool:
        return self.group is not None and not self.gone and self.group.is_admin

    @property
    def owns(self) -> bool:
        return self.is_admin and self.group is not None and self.group.my_role == "creator"

    @property
    def may_edit(self) -> bool:
        """Name and description."""
        return self.group is not None and not self.gone and self.group.may_edit

    @property
    def may_add(self) -> bool:
        return self.group is not None and not self.gone and self.group.may_add

    def choices(self, member: Member) -> list[tuple[str, str]]:
        """What this user may do with a member: an action and its words."""
        if member.user_id == self._names.own:
            return []
        found = [("write", "Write to them alone")]
        if self.is_admin and member.role == "member":
            found.append(("admin", "Make an admin"))
        if self.is_admin and member.role == "admin":
            found.append(("member", "Make a plain member"))
        if self.owns:
            found.append(("creator", "Hand the group over"))
        if self.is_admin and member.role != "creator":
            found.append(("remove", "Remove from the group"))
        return found
