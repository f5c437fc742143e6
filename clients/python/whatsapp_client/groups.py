"""What the server says about groups, as values. A group's id is its ``conversation_id``; times are ms since the epoch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from .codecs import Frame
from .entry import whole

CREATOR, ADMIN, MEMBER = "creator", "admin", "member"
ALL, ADMINS = "all", "admins"
_SETTINGS = {"who_sends": "whoSends", "who_edits": "whoEdits", "who_adds": "whoAdds"}

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Page(Generic[Item]):
    """Part of a list. ``next``: give it as ``after`` for what follows; None at the end."""

    items: list[Item]
    next: str | None = None


@dataclass(frozen=True, slots=True)
class GroupSettings:
    """Each ``all`` or ``admins``: who may send messages, change name and description, add members."""

    who_sends: str = ALL
    who_edits: str = ALL
    who_adds: str = ALL

    @classmethod
    def of(cls, shown: Mapping[str, Any]) -> GroupSettings:
        return cls(**{name: text(shown.get(wire) or ALL) for name, wire in _SETTINGS.items()})


@dataclass(frozen=True, slots=True)
class Group:
    """A group as its members see it. ``my_role``: ``creator``, ``admin`` or ``member``; "" for who is none any more.
    ``icon_url``: None without a picture (:meth:`Client.group_icon` reads it), ``icon_version``: another one is another one."""

    conversation_id: str
    name: str
    description: str = ""
    my_role: str = MEMBER
    settings: GroupSettings = GroupSettings()
    member_count: int = 0
    creator_id: str | None = None
    created_at: int = 0
    icon_url: str | None = None
    icon_version: str = ""

    @property
    def is_admin(self) -> bool:
        return self.my_role in (CREATOR, ADMIN)

    @property
    def may_send(self) -> bool:
        return self._may(self.settings.who_sends)

    @property
    def may_edit(self) -> bool:
        """Change name, description and icon; settings are for admins."""
        return self._may(self.settings.who_edits)

    @property
    def may_add(self) -> bool:
        return self._may(self.settings.who_adds)

    def _may(self, who: str) -> bool:
        return bool(self.my_role) and (who != ADMINS or self.is_admin)

    @classmethod
    def of(cls, shown: Frame) -> Group:
        """An answer of ``/groups/{id}``. Raises KeyError, ValueError, TypeError for what is none."""
        return cls(
            text(shown["groupId"]),
            text(shown["name"]),
            text(shown.get("description") or ""),
            text(shown.get("role") or ""),
            GroupSettings.of(shown.get("settings") or {}),
            whole(shown.get("memberCount")),
            _text(shown.get("creatorId")),
            whole(shown.get("createdAt")),
            *icon_of(shown.get("icon")),
        )


@dataclass(frozen=True, slots=True)
class Member:
    """``name``: of their profile; :meth:`Client.name_of` prefers one's own nickname for them."""

    user_id: str
    name: str
    role: str
    joined_at: int = 0

    @classmethod
    def of(cls, shown: Frame) -> Member:
        return cls(
            text(shown["userId"]),
            text(shown.get("name") or ""),
            text(shown["role"]),
            whole(shown.get("joinedAt")),
        )


@dataclass(frozen=True, slots=True)
class Invite:
    """A link into a group. ``expires_at``, ``max_uses``: None for no end."""

    code: str
    created_by: str = ""
    created_at: int = 0
    expires_at: int | None = None
    max_uses: int | None = None
    uses: int = 0
    approval: bool = False

    @classmethod
    def of(cls, shown: Frame) -> Invite:
        return cls(
            text(shown["code"]),
            text(shown.get("createdBy") or ""),
            whole(shown.get("createdAt")),
            _number(shown.get("expiresAt")),
            _number(shown.get("maxUses")),
            whole(shown.get("uses")),
            bool(shown.get("approval")),
        )


@dataclass(frozen=True, slots=True)
class InvitePreview:
    """What a link leads to. ``approval``: joining by it asks an admin."""

    conversation_id: str
    name: str
    description: str = ""
    member_count: int = 0
    approval: bool = False
    expires_at: int | None = None

    @classmethod
    def of(cls, shown: Frame) -> InvitePreview:
        return cls(
            text(shown["groupId"]),
            text(shown["name"]),
            text(shown.get("description") or ""),
            whole(shown.get("memberCount")),
            bool(shown.get("approval")),
            _number(shown.get("expiresAt")),
        )


@dataclass(frozen=True, slots=True)
class JoinRequest:
    """Somebody who used a link that needs an approval."""

    user_id: str
    name: str
    requested_at: int = 0

    @classmethod
    def of(cls, shown: Frame) -> JoinRequest:
        return cls(text(shown["userId"]), text(shown.get("name") or ""), whole(shown.get("requestedAt")))


@dataclass(frozen=True, slots=True)
class MemberReceipt:
    """How far one member is with a message: ``sent``, ``delivered`` or ``read``. The times are None as long as the
    server does not tell them."""

    user_id: str
    status: str
    delivered_at: int | None = None
    read_at: int | None = None

    @classmethod
    def of(cls, shown: Frame) -> MemberReceipt:
        return cls(
            text(shown["userId"]),
            text(shown["status"]),
            _number(shown.get("deliveredAt")),
            _number(shown.get("readAt")),
        )


def wire_settings(settings: Mapping[str, str] | GroupSettings) -> dict[str, str]:
    """For a request; names as in :class:`GroupSettings` or as on the wire."""
    if isinstance(settings, GroupSettings):
        return {wire: getattr(settings, name) for name, wire in _SETTINGS.items()}
    return {_SETTINGS.get(name, name): text(value) for name, value in settings.items()}


def icon_of(shown: Any) -> tuple[str | None, str]:
    """Address and version; of a group without a picture None and ""."""
    if not isinstance(shown, dict) or not shown.get("url"):
        return None, ""
    return text(shown["url"]), text(shown.get("version") or "")


def text(value: Any) -> str:
    """What the file can hold of what a server said."""
    return str(value).encode("utf-8", "replace").decode()


def _text(value: Any) -> str | None:
    return text(value) if value else None


def _number(value: Any) -> int | None:
    return None if value is None else whole(value)
