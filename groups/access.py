"""Who may do what in a group. Outsiders learn nothing (``not_found``), members without the role are told (``forbidden``)."""

from __future__ import annotations

import uuid
from typing import NamedTuple

from accounts.errors import Refused
from accounts.models import Account
from accounts.residency import check_conversation
from groups.models import Group, Membership, Who
from whatsapp.wire.errors import Code


class Seen(NamedTuple):
    """A group and the caller's own place in it."""

    group: Group
    me: Membership


def membership(group_id: uuid.UUID, user_id: uuid.UUID) -> Membership | None:
    """The membership of a member, None for everybody else."""
    return Membership.objects.filter(group_id=group_id, user_id=user_id, left_at=None).first()


def outsider() -> Refused:
    return Refused(Code.NOT_FOUND, "There is nothing here, or nothing that you may see.")


def view(*, group_id: uuid.UUID, account: Account) -> Seen:
    """For reading. Raises :class:`Refused` (``not_found``)."""
    me = (
        Membership.objects.select_related("group__icon")
        .filter(group_id=group_id, user_id=account.pk, left_at=None)
        .first()
    )
    if me is None:
        raise outsider()
    return Seen(me.group, me)


def lock(group_id: uuid.UUID) -> Group:
    """The group, locked until the end of the caller's transaction: what is read after it is in force until then.

    Raises :class:`Refused` (``not_found``).
    """
    # Not FOR UPDATE: rows that refer to the group may be inserted meanwhile.
    group = Group.objects.select_for_update(no_key=True).filter(pk=group_id, dissolved_at=None).first()
    if group is None:
        raise outsider()
    return group


def enter(*, group_id: uuid.UUID, account: Account, ending: bool = False) -> Seen:
    """For changing: :func:`lock` for a member. ``ending``: what is to be done takes something away, which may be done to a group
    that should not be here, too. Raises :class:`Refused` (``not_found``, ``wrong_region``)."""
    if membership(group_id, account.pk) is None:
        raise outsider()  # nobody outside can make members wait for the lock
    group = lock(group_id)
    me = membership(group_id, account.pk)
    if me is None:
        raise outsider()
    if not ending:
        check_conversation(str(group_id))
    return Seen(group, me)


def check_admin(me: Membership) -> None:
    """Raises :class:`Refused` (``forbidden``)."""
    if not me.is_admin:
        raise Refused(Code.FORBIDDEN, "Only admins of the group may do this.")


def check_may(me: Membership, who: str) -> None:
    """Whether a member may do what the group allows to ``who``. Raises :class:`Refused` (``forbidden``)."""
    if who == Who.ADMINS:
        check_admin(me)
