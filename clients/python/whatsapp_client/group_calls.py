"""Groups over REST: making and changing them, members, invites, who has a message."""

from __future__ import annotations

import base64
import urllib.parse
from collections.abc import Iterable, Mapping
from types import EllipsisType
from typing import Any

from .database import Database
from .entry import LARGEST
from .errors import LimitExceeded, NotFound
from .flags import Flags
from .groups import (
    Group,
    GroupSettings,
    Invite,
    InvitePreview,
    JoinRequest,
    Member,
    MemberReceipt,
    Page,
    wire_settings,
)
from .session import Session
from .shelf import Shelf
from .writes import Writes, repeated

MAX_PAGE = 500
MAX_ADDED = 100  # in one request
#: How often a question is asked whose answer was older than what the log said meanwhile.
OVERTAKEN = 3
FOR_EVER = LARGEST  #: for ``muted_until``


class GroupCalls(Shelf):
    """The part of a :class:`Client` that deals with groups.

    Everything raises :class:`RestError` (:class:`NotFound` for who is no member, :class:`Forbidden` for who lacks the role,
    :class:`LimitExceeded`, :class:`RateLimited`) and :class:`Unreachable`. All of it may be repeated: the second time
    nothing happens. What changes comes as events of the log too, so the chat list follows by itself.
    """

    def __init__(self, url: str, session: Session, database: Database) -> None:
        super().__init__(url, session, database)
        self._writes = Writes(self.rest, database)
        self._names_wanted: set[str] = set()
        self._names_asked: set[str] = set()  # once a process: who came later is no reason

    # -- the group -----------------------------------------------------------------------------------------
    async def create_group(
        self,
        name: str,
        user_ids: Iterable[str],
        description: str | None = None,
        settings: Mapping[str, str] | GroupSettings | None = None,
    ) -> str:
        """A new group of this user, who becomes its creator, and these users. Its ``conversation_id``. After
        :class:`Unreachable` the same call finds the group if it was made, also in another process."""
        body: dict[str, Any] = {"name": name, "members": list(user_ids)}
        if description is not None:
            body["description"] = description
        if settings is not None:
            body["settings"] = wire_settings(settings)
        return str((await self._writes.post("/groups", body))["groupId"])

    async def group(self, conversation_id: str) -> Group:
        """The group as it is now; kept in the file, for :meth:`known_group` and the chat list."""
        for _ in range(OVERTAKEN):
            mark = self._chats.groups.mark
            group = Group.of(await self._read(f"/groups/{part(conversation_id)}"))
            if self._chats.groups.described(group, mark):
                break
        return group

    async def update_group(
        self,
        conversation_id: str,
        *,
        name: str | None = None,
        description: str | None = None,
        settings: Mapping[str, str] | GroupSettings | None = None,
    ) -> Group:
        """Change what is given; the rest stays."""
        body: dict[str, Any] = {}
        if name is not None:
            body["name"] = name
        if description is not None:
            body["description"] = description
        if settings is not None:
            body["settings"] = wire_settings(settings)
        mark = self._chats.groups.mark
        group = Group.of(await self._do("PATCH", f"/groups/{part(conversation_id)}", body))
        self._chats.groups.described(group, mark)
        return group

    async def dissolve_group(self, conversation_id: str) -> None:
        """End it for everybody; for its creator."""
        await self._do("DELETE", f"/groups/{part(conversation_id)}")

    async def set_group_icon(self, conversation_id: str, image: bytes | None) -> None:
        """A JPEG, PNG or WebP of at most 512 KiB, or None for no picture. Raises :class:`RestError` (``unsupported_media``,
        ``too_large``)."""
        path = f"/groups/{part(conversation_id)}/icon"
        if image is None:
            await self._do("DELETE", path)
            return
        await repeated(lambda: self.rest.call("PUT", path, image, media_type=media_type(image)))

    async def group_icon(self, conversation_id: str, *, thumb: bool = False) -> bytes:
        """The picture, a JPEG of at most 640 pixels (``thumb``: 150). Raises :class:`NotFound` when there is none."""
        size = "thumb" if thumb else "full"
        return bytes(await self._read(f"/groups/{part(conversation_id)}/icon?size={size}"))

    # -- members -------------------------------------------------------------------------------------------
    async def group_members(
        self, conversation_id: str, after: str | None = None, limit: int = 100
    ) -> Page[Member]:
        """A page of the members, by user id. Their names are known to :meth:`name_of` then."""
        shown = await self._page(f"/groups/{part(conversation_id)}/members", after, limit)
        self._chats.people(shown["items"])
        return Page([Member.of(item) for item in shown["items"]], shown.get("next"))

    async def add_members(self, conversation_id: str, user_ids: Iterable[str]) -> dict[str, str]:
        """Make these users members, in this order. What became of each: ``added``, ``member`` (already), ``not_found``, or
        ``limit_exceeded`` (the group is full). Raises :class:`NotFound` or :class:`LimitExceeded` when it is that for all."""
        wanted, states = list(dict.fromkeys(user_ids)), dict[str, str]()
        for i in range(0, len(wanted), MAX_ADDED):
            body = {"members": wanted[i : i + MAX_ADDED]}
            shown = await self._writes.post(f"/groups/{part(conversation_id)}/members", body)
            states |= {str(item["userId"]): str(item["state"]) for item in shown["items"]}
        refused = set(states.values())
        if refused == {"not_found"}:
            raise NotFound(404, "not_found", "There is no such user.")
        if refused == {"limit_exceeded"}:
            raise LimitExceeded(409, "limit_exceeded", "The group is full.")
        return states

    async def remove_member(self, conversation_id: str, user_id: str) -> None:
        await self._do("DELETE", f"/groups/{part(conversation_id)}/members/{part(user_id)}")

    async def leave_group(self, conversation_id: str) -> None:
        """What was said before stays readable; the chat becomes read-only."""
        await self.remove_member(conversation_id, self.session.user_id)

    async def set_role(self, conversation_id: str, user_id: str, role: str) -> Member:
        """``admin`` or ``member``; ``creator`` hands the group over, and its creator is an admin then."""
        path = f"/groups/{part(conversation_id)}/members/{part(user_id)}"
        return Member.of(await self._do("PATCH", path, {"role": role}))

    # -- invites -------------------------------------------------------------------------------------------
    async def create_invite(
        self,
        conversation_id: str,
        expires_in: int | None = None,
        max_uses: int | None = None,
        approval: bool = False,
    ) -> Invite:
        """A link into the group. ``expires_in``: seconds; ``approval``: an admin lets in who uses it."""
        body: dict[str, Any] = {"approval": approval}
        if expires_in is not None:
            body["expiresIn"] = expires_in
        if max_uses is not None:
            body["maxUses"] = max_uses
        return Invite.of(await self._writes.post(f"/groups/{part(conversation_id)}/invites", body))

    async def invites(self, conversation_id: str) -> list[Invite]:
        """Open ones, newest first; for admins."""
        shown = await self._read(f"/groups/{part(conversation_id)}/invites")
        return [Invite.of(item) for item in shown["items"]]

    async def revoke_invite(self, conversation_id: str, code: str) -> None:
        await self._do("DELETE", f"/groups/{part(conversation_id)}/invites/{part(code)}")

    async def preview_invite(self, code: str) -> InvitePreview:
        """What a link leads to. Raises :class:`Gone` for one that is no longer valid."""
        return InvitePreview.of(await self._read(f"/invites/{part(code)}"))

    async def join(self, code: str) -> str:
        """Use a link: ``joined``, or ``requested`` when an admin must let this user in. Raises :class:`Gone`, and
        :class:`Forbidden` for who was removed by an admin."""
        return str((await self._writes.post(f"/invites/{part(code)}/join", {}))["state"])

    async def join_requests(
        self, conversation_id: str, after: str | None = None, limit: int = 100
    ) -> Page[JoinRequest]:
        """Who wants to be let in, by user id; for admins."""
        shown = await self._page(f"/groups/{part(conversation_id)}/requests", after, limit)
        self._chats.people(shown["items"])
        return Page([JoinRequest.of(item) for item in shown["items"]], shown.get("next"))

    async def answer_request(self, conversation_id: str, user_id: str, accept: bool) -> None:
        method = "PUT" if accept else "DELETE"
        await self._do(method, f"/groups/{part(conversation_id)}/requests/{part(user_id)}")

    # -- messages and chats --------------------------------------------------------------------------------
    async def receipts(self, conversation_id: str, message_id: str) -> list[MemberReceipt]:
        """How far each other member is with a message of this user. Raises :class:`Forbidden` for somebody else's."""
        path = f"/conversations/{part(conversation_id)}/messages/{part(message_id)}/receipts"
        found: list[MemberReceipt] = []
        after: str | None = None
        while True:
            shown = await self._page(path, after, MAX_PAGE)
            found += [MemberReceipt.of(item) for item in shown["items"]]
            after = shown.get("next")
            if after is None:
                break
        seq = self.history[conversation_id].log.seq_of(message_id, self.session.user_id)
        return self._chats.groups.details(conversation_id, seq, found) if seq else found

    async def set_flags(
        self,
        conversation_id: str,
        *,
        muted_until: int | EllipsisType | None = ...,
        pinned: bool | None = None,
        archived: bool | None = None,
        draft: bytes | EllipsisType | None = ...,
    ) -> Flags:
        """What this user sets for a chat, on all devices; what is not given stays. ``muted_until``: ms since the epoch, None to
        unmute, :data:`FOR_EVER`. Raises :class:`LimitExceeded` for a sixth pinned chat or a draft above 15 KiB."""
        body: dict[str, Any] = {}
        if not isinstance(muted_until, EllipsisType):
            body["mutedUntil"] = muted_until
        if pinned is not None:
            body["pinned"] = pinned
        if archived is not None:
            body["archived"] = archived
        if not isinstance(draft, EllipsisType):
            body["draft"] = base64.b64encode(draft).decode() if draft else None
        shown = await self._do("PATCH", f"/conversations/{part(conversation_id)}", body)
        self._chats.flags.told(shown)
        return self._chats.flags.of(conversation_id)

    # -- inside --------------------------------------------------------------------------------------------
    def _want_names(self, conversation_id: str) -> bool:
        """Whether the names of the members must be asked for; :meth:`_look_up` does it then."""
        members = self._chats.groups.members(conversation_id)
        if members is None:
            wanted = conversation_id not in self._names_asked
        else:
            wanted = not all(map(self._chats.knows, members))
        if wanted:
            self._names_wanted.add(conversation_id)
        return wanted

    async def _look_up(self, conversation_id: str) -> bool:
        """What the log did not say of a group; False if nothing is missing."""
        groups = self._chats.groups
        asked = False
        names = conversation_id in self._names_wanted
        if groups.unnamed(conversation_id) or (names and not groups.described_in_full(conversation_id)):
            await self.group(conversation_id)
            asked = True
        for _ in range(OVERTAKEN):
            if not names and not groups.lacks_members(conversation_id):
                break
            mark, asked = groups.mark, True
            members = [member.user_id for member in await self._all_members(conversation_id)]
            if groups.lacks_members(conversation_id):
                groups.roster(conversation_id, members, mark)
            if names:
                names = False
                self._chats.touch(conversation_id)
                self.database.begin()
        self._names_wanted.discard(conversation_id)
        self._names_asked.add(conversation_id)
        return asked

    async def _all_members(self, conversation_id: str) -> list[Member]:
        found: list[Member] = []
        after: str | None = None
        while True:
            page = await self.group_members(conversation_id, after, MAX_PAGE)
            found += page.items
            after = page.next
            if after is None:
                return found

    async def _read(self, path: str) -> Any:
        return await repeated(lambda: self.rest.call("GET", path))

    async def _do(self, method: str, path: str, body: Any = None) -> Any:
        """PUT, PATCH and DELETE say what shall be, so a repetition changes nothing."""
        return await repeated(lambda: self.rest.call(method, path, body))

    async def _page(self, path: str, after: str | None, limit: int) -> Any:
        query = {"limit": str(limit)} | ({"after": after} if after else {})
        return await self._read(f"{path}?{urllib.parse.urlencode(query)}")


def part(text: str) -> str:
    """One part of an address: what is no id must not become another address."""
    return urllib.parse.quote(text, safe="")


def media_type(image: bytes) -> str:
    """By its first bytes; the server looks at the rest."""
    for start, kind in ((b"\xff\xd8\xff", "jpeg"), (b"\x89PNG", "png"), (b"RIFF", "webp")):
        if image.startswith(start):
            return f"image/{kind}"
    return "application/octet-stream"
