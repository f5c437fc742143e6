"""Reads. What the caller may see is checked first."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable
from typing import Final, NamedTuple

from accounts.errors import Refused
from accounts.models import Account
from groups import access, events
from groups.models import Group, Icon, Invite, JoinRequest, Membership, Role
from whatsapp.infra.clock import now_ms
from whatsapp.wire.errors import Code

_CODE: Final = re.compile(r"[A-Za-z0-9_-]{22}")


class Card(NamedTuple):
    """What a list of conversations shows of a group."""

    name: str
    role: str | None  # None: not a member any more
    members: int | None
    icon: dict[str, str] | None


def cards(*, user_id: str, group_ids: Iterable[str]) -> dict[str, Card]:
    """By group, for those the user is or was in; a former member sees the name of then."""
    found = Membership.objects.select_related("group__icon").filter(
        user_id=user_id, group_id__in=list(group_ids)
    )
    return {
        str(one.group_id): Card(
            one.group.name, one.role, one.group.member_count, events.icon_of(one.group.icon)
        )
        if one.left_at is None
        else Card(one.last_name, None, None, None)
        for one in found
    }


def is_group(conversation_id: uuid.UUID) -> bool:
    """Whether a conversation is a group, or was one."""
    return Group.objects.filter(pk=conversation_id).exists()


def icon(*, account: Account, group_id: uuid.UUID) -> Icon:
    """The group's picture. Raises :class:`Refused` (``not_found``)."""
    found = access.view(group_id=group_id, account=account).group.icon
    if found is None:
        raise access.outsider()
    return found


def creator_id(group_id: uuid.UUID) -> uuid.UUID | None:
    return (
        Membership.objects.filter(group_id=group_id, role=Role.CREATOR, left_at=None)
        .values_list("user_id", flat=True)
        .first()
    )


def members(*, account: Account, group_id: uuid.UUID, after: str, limit: int) -> list[Membership]:
    """By user id from behind ``after``. Raises :class:`Refused` (``not_found``)."""
    access.view(group_id=group_id, account=account)
    found = Membership.objects.filter(group_id=group_id, left_at=None).select_related("user")
    if after:
        found = found.filter(user_id__gt=after)
    return list(found.order_by("user_id")[:limit])


def open_invites(*, account: Account, group_id: uuid.UUID) -> list[Invite]:
    """Newest first, few by their limit. Raises :class:`Refused`: ``not_found``, ``forbidden``."""
    access.check_admin(access.view(group_id=group_id, account=account).me)
    now = now_ms()
    found = Invite.objects.filter(group_id=group_id, revoked_at=None).order_by("-created_at", "code")
    return [invite for invite in found if invite.is_open(now)]


def join_requests(*, account: Account, group_id: uuid.UUID, after: str, limit: int) -> list[JoinRequest]:
    """By user id from behind ``after``. Raises :class:`Refused`: ``not_found``, ``forbidden``."""
    access.check_admin(access.view(group_id=group_id, account=account).me)
    found = JoinRequest.objects.filter(group_id=group_id).select_related("user")
    if after:
        found = found.filter(user_id__gt=after)
    return list(found.order_by("user_id")[:limit])


def is_code(text: str) -> bool:
    """Whether this can be the code of an invite (PostgreSQL refuses some texts)."""
    return _CODE.fullmatch(text) is not None


def gone() -> Refused:
    return Refused(Code.GONE, "This invite is not valid any more.")


def invite(*, code: str) -> Invite:
    """The invite with its group. Raises :class:`Refused` (``not_found``)."""
    found = Invite.objects.select_related("group").filter(code=code).first() if is_code(code) else None
    if found is None:
        raise Refused(Code.NOT_FOUND, "There is no such invite.")
    return found


def open_invite(*, code: str) -> Invite:
    """:func:`invite`, and it may be used. Raises :class:`Refused`: ``not_found``, ``gone``."""
    found = invite(code=code)
    if found.group.dissolved_at is not None or not found.is_open(now_ms()):
        raise gone()
    return found
