"""Groups without a server, for tests of the screens: what the library's group calls do, in memory."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from whatsapp_client import (
    Forbidden,
    Gone,
    Group,
    GroupSettings,
    Invite,
    InvitePreview,
    JoinRequest,
    Member,
    MemberReceipt,
    NotFound,
    Page,
)


def code(number: int) -> str:
    return f"code{number:018d}"


@dataclass
class FakeGroup:
    """What the server knows of one."""

    group: Group
    members: dict[str, Member]
    invites: dict[str, Invite] = field(default_factory=dict)
    requests: dict[str, JoinRequest] = field(default_factory=dict)


class FakeGroups:
    """``calls``: what was asked for, in order. ``refuse``: raised by the next writing call."""

    def __init__(self) -> None:
        self.groups: dict[str, FakeGroup] = {}
        self.calls: list[tuple[Any, ...]] = []
        self.refuse: Exception | None = None
        self.message_receipts: list[MemberReceipt] = []
        self.opened: list[str] = []
        self.named: dict[str, str] = {}  # what the server knows of strangers
        self.profiles: dict[str, str] = {}  # what the library knows of them
        self.pages_of_members = 0

    def make(
        self,
        conversation_id: str,
        name: str,
        members: dict[str, tuple[str, str]],
        *,
        own: str = "me",
        settings: GroupSettings = GroupSettings(),
        description: str = "",
    ) -> FakeGroup:
        """``members``: user id → name and role, with one's own."""
        made = {user: Member(user, called, role) for user, (called, role) in sorted(members.items())}
        group = Group(
            conversation_id, name, description, made[own].role if own in made else "", settings, len(made)
        )
        self.groups[conversation_id] = FakeGroup(group, made)
        return self.groups[conversation_id]

    def _do(self, *call: Any) -> None:
        self.calls.append(call)
        error, self.refuse = self.refuse, None
        if error is not None:
            raise error

    def _of(self, conversation_id: str) -> FakeGroup:
        if conversation_id not in self.groups:
            raise NotFound(404, "not_found", "There is no such group.")
        return self.groups[conversation_id]

    # -- what the screens do -----------------------------------------------------------------------------------
    async def create_group(self, name: str, user_ids: Iterable[str], description: str | None = None) -> str:
        users = list(user_ids)
        self._do("create", name, users, description)
        made = f"group {len(self.groups) + 1}"
        self.make(made, name, {"me": ("Me", "creator"), **{user: (user, "member") for user in users}})
        self.chat(made, name, kind="group")  # type: ignore[attr-defined]
        return made

    async def group(self, conversation_id: str) -> Group:
        known = self._of(conversation_id)
        return replace(known.group, member_count=len(known.members))

    async def group_members(
        self, conversation_id: str, after: str | None = None, limit: int = 100
    ) -> Page[Member]:
        self.pages_of_members += 1
        members = [m for user, m in sorted(self._of(conversation_id).members.items()) if user > (after or "")]
        items = members[:limit]
        return Page(items, items[-1].user_id if len(members) > limit else None)

    async def update_group(self, conversation_id: str, **changes: Any) -> Group:
        self._do("update", conversation_id, dict(changes))
        known = self._of(conversation_id)
        if settings := changes.pop("settings", None):
            before = known.group.settings
            wire = {
                "whoSends": before.who_sends,
                "whoEdits": before.who_edits,
                "whoAdds": before.who_adds,
            } | settings
            changes["settings"] = GroupSettings.of(wire)
        known.group = replace(known.group, **changes)
        return known.group

    async def add_members(self, conversation_id: str, user_ids: Iterable[str]) -> None:
        users = list(user_ids)
        self._do("add", conversation_id, users)
        for user in users:
            self._of(conversation_id).members[user] = Member(user, f"name of {user}", "member")

    async def remove_member(self, conversation_id: str, user_id: str) -> None:
        self._do("remove", conversation_id, user_id)
        del self._of(conversation_id).members[user_id]

    async def set_role(self, conversation_id: str, user_id: str, role: str) -> Member:
        self._do("role", conversation_id, user_id, role)
        known = self._of(conversation_id)
        if role == "creator":
            known.members["me"] = replace(known.members["me"], role="admin")
            known.group = replace(known.group, my_role="admin")
        known.members[user_id] = replace(known.members[user_id], role=role)
        return known.members[user_id]

    async def leave_group(self, conversation_id: str) -> None:
        self._do("leave", conversation_id)
        del self.groups[conversation_id]

    async def create_invite(
        self,
        conversation_id: str,
        expires_in: int | None = None,
        max_uses: int | None = None,
        approval: bool = False,
    ) -> Invite:
        self._do("invite", conversation_id, expires_in, max_uses, approval)
        known = self._of(conversation_id)
        ends = time.time_ns() // 1_000_000 + expires_in * 1000 if expires_in else None
        made = Invite(
            code(len(known.invites) + 1),
            "me",
            expires_at=ends,
            max_uses=max_uses,
            approval=approval,
        )
        known.invites[made.code] = made
        return made

    async def invites(self, conversation_id: str) -> list[Invite]:
        known = self._of(conversation_id)
        if not known.group.is_admin:
            raise Forbidden(403, "forbidden", "Only admins of the group may do this.")
        return list(known.invites.values())

    async def revoke_invite(self, conversation_id: str, code: str) -> None:
        self._do("revoke", conversation_id, code)
        del self._of(conversation_id).invites[code]

    async def preview_invite(self, code: str) -> InvitePreview:
        for conversation_id, known in self.groups.items():
            if invite := known.invites.get(code):
                return InvitePreview(
                    conversation_id,
                    known.group.name,
                    known.group.description,
                    len(known.members),
                    invite.approval,
                )
        raise Gone(410, "gone", "This invite is not valid any more.")

    async def join(self, code: str) -> str:
        self._do("join", code)
        preview = await self.preview_invite(code)
        if preview.approval:
            return "requested"
        self.chat(preview.conversation_id, preview.name, kind="group")  # type: ignore[attr-defined]
        return "joined"

    async def join_requests(
        self, conversation_id: str, after: str | None = None, limit: int = 100
    ) -> Page[JoinRequest]:
        found = [r for user, r in sorted(self._of(conversation_id).requests.items()) if user > (after or "")]
        return Page(found[:limit], found[limit - 1].user_id if len(found) > limit else None)

    async def answer_request(self, conversation_id: str, user_id: str, accept: bool) -> None:
        self._do("answer", conversation_id, user_id, accept)
        del self._of(conversation_id).requests[user_id]

    async def receipts(self, conversation_id: str, message_id: str) -> list[MemberReceipt]:
        self._do("receipts", conversation_id, message_id)
        return list(self.message_receipts)

    async def set_flags(self, conversation_id: str, **flags: Any) -> None:
        self._do("flags", conversation_id, flags)
        for name, value in flags.items():
            setattr(self._chats[conversation_id], name, value)  # type: ignore[attr-defined]

    async def learn_names(self, user_ids: Iterable[str]) -> None:
        users = list(user_ids)
        self.calls.append(("names", users))
        self.profiles |= {user: self.named[user] for user in users if user in self.named}

    def open_chat(self, conversation_id: str) -> None:
        self.opened.append(conversation_id)

    def close_chat(self, conversation_id: str) -> None:
        self.opened.remove(conversation_id)
