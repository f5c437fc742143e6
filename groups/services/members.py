"""Who is in a group, and as what."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, Literal

from django.db import transaction
from django.db.models import Case, When

from accounts.abuse import counted
from accounts.errors import Refused
from accounts.models import Account
from accounts.residency import check_conversation, check_joining, not_to_join
from accounts.selectors import account_by_id
from delivery.changes import change_group
from delivery.store.values import Change
from groups import access, events, notices
from groups.models import Group, JoinRequest, Membership, Role
from groups.services.counting import count_adds, count_change
from groups.services.groups import full
from groups.services.icons import take_icon
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code

#: What became of one of several who were added: now a member, one already, nobody we know, one too many, or one whose home
#: has a stricter law than the group's region.
Outcome = Literal["added", "member", "not_found", "limit_exceeded", "wrong_region"]


def add_member(*, account: Account, group_id: uuid.UUID, user_id: uuid.UUID) -> Membership:
    """Make a user a member (who may: ``whoAdds``). Idempotent: of a member nothing changes, the role included.

    Raises :class:`Refused`: ``not_found`` (the group, the user), ``forbidden``, ``limit_exceeded``, ``rate_limited``.
    """
    access.view(group_id=group_id, account=account)
    count_change(account)
    count_adds(account, 1)
    with transaction.atomic():
        group, me = access.enter(group_id=group_id, account=account)
        access.check_may(me, group.who_adds)
        user = account_by_id(user_id=user_id)
        known = access.membership(group_id, user_id)
        return known or join(group=group, user=user, actor=account)


def add_members(
    *, account: Account, group_id: uuid.UUID, user_ids: Sequence[uuid.UUID]
) -> dict[uuid.UUID, Outcome]:
    """Make several users members (who may: ``whoAdds``), in the order given and all in one transaction, each with an event of
    their own. What becomes of each: a stranger to us, or one more than fit, keeps nobody else out. Idempotent.

    Raises :class:`Refused`: ``not_found`` (the group), ``forbidden``, ``rate_limited`` (each counts as a change).
    """
    asked = list(dict.fromkeys(user_ids))
    access.view(group_id=group_id, account=account)
    count_change(account, len(asked))
    count_adds(account, len(asked))
    with transaction.atomic():
        group, me = access.enter(group_id=group_id, account=account)
        access.check_may(me, group.who_adds)
        known = set(Account.objects.filter(pk__in=asked, retired_at=None).values_list("pk", flat=True))
        members = set(
            Membership.objects.filter(group=group, user__in=asked, left_at=None).values_list(
                "user_id", flat=True
            )
        )
        elsewhere = not_to_join(str(group_id), known - members)
        room = LIMITS.group_members - group.member_count
        outcomes: dict[uuid.UUID, Outcome] = {}
        new: list[uuid.UUID] = []
        for user in asked:
            if user in members:
                outcomes[user] = "member"
            elif user not in known:
                outcomes[user] = "not_found"
            elif user in elsewhere:
                outcomes[user] = "wrong_region"
            elif len(new) >= room:  # below 0 when the limit was lowered
                outcomes[user] = "limit_exceeded"
            else:
                outcomes[user] = "added"
                new.append(user)
        if new:
            _admit(group=group, users=new, actor=account)
    return outcomes


def join(*, group: Group, user: Account, actor: Account, **data: Any) -> Membership:
    """Make ``user``, who is no member, one, in a transaction that has locked the group; its last statement.

    Raises :class:`Refused` (``limit_exceeded``, ``wrong_region``).
    """
    check_conversation(str(group.pk))
    check_joining(str(group.pk), [user.pk])
    if group.member_count >= LIMITS.group_members:
        raise full()
    _admit(group=group, users=[user.pk], actor=actor, **data)
    member = Membership.objects.get(group=group, user=user)
    member.user = user
    return member


def _admit(*, group: Group, users: Sequence[uuid.UUID], actor: Account, **data: Any) -> None:
    """``users``, for whom there is room and of whom none is a member, become members."""
    now = now_ms()
    # Who comes back is as new: the former role is gone, and nothing from the gap is owed.
    Membership.objects.bulk_create(
        (Membership(group=group, user_id=user, role=Role.MEMBER, joined_at=now) for user in users),
        update_conflicts=True,
        unique_fields=["group", "user"],
        update_fields=["role", "joined_at", "left_at", "removed", "last_name"],
    )
    group.member_count += len(users)
    group.save(update_fields=["member_count"])
    requests = JoinRequest.objects.filter(group=group, user__in=users)
    for user in list(requests.values_list("user_id", flat=True)):
        if user != actor.pk:
            notices.answered(group_id=group.pk, user_id=user, accepted=True)
    requests.delete()
    counted.added(user_id=actor.pk, number=sum(user != actor.pk for user in users))
    change_group(
        conversation=str(group.pk),
        sender=str(actor.pk),
        changes=[events.added([str(user)], **data) for user in users],
    )


def remove_member(*, account: Account, group_id: uuid.UUID, user_id: uuid.UUID) -> None:
    """Leave, or remove somebody as an admin (not the creator). Idempotent, also for oneself.

    Raises :class:`Refused`: ``not_found``, ``forbidden``, ``rate_limited``.
    """
    if user_id == account.pk:
        leave(account=account, group_id=group_id)
        return
    access.view(group_id=group_id, account=account)
    count_change(account)
    with transaction.atomic():
        group, me = access.enter(group_id=group_id, account=account, ending=True)
        access.check_admin(me)
        member = access.membership(group_id, user_id)
        if member is None:
            return
        if member.role == Role.CREATOR:
            raise Refused(Code.FORBIDDEN, "Who created the group cannot be removed.")
        _end(group=group, member=member, removed=True)
        change_group(
            conversation=str(group.pk), sender=str(account.pk), changes=[events.removed(str(user_id))]
        )


def leave(*, account: Account, group_id: uuid.UUID) -> None:
    """Leave a group. A creator's successor is the oldest admin, else the oldest member; with the last member the group ends.

    Raises :class:`Refused` (``not_found``) for who never was a member.
    """
    with transaction.atomic():
        try:
            group, me = access.enter(group_id=group_id, account=account, ending=True)
        except Refused:
            if Membership.objects.filter(group_id=group_id, user=account).exists():
                return  # said twice
            raise
        leave_locked(group=group, member=me)


def leave_locked(*, group: Group, member: Membership) -> None:
    """:func:`leave`, in a transaction that has locked the group; its last statement."""
    changes: list[Change] = []
    heir = heir_of(group, member) if member.role == Role.CREATOR else None
    _end(group=group, member=member, removed=False)
    if heir is not None:
        heir.role = Role.CREATOR
        heir.save(update_fields=["role"])
        changes.append(events.role(str(heir.user_id), Role.CREATOR))
    if group.member_count == 0:
        now = now_ms()
        group.dissolved_at = now
        group.save(update_fields=["dissolved_at"])
        take_icon(group)
        group.invites.filter(revoked_at=None).update(revoked_at=now)
        JoinRequest.objects.filter(group=group).delete()
    user = str(member.user_id)
    # The heir first: who leaves sees who follows.
    changes.append(events.removed(user))
    change_group(conversation=str(group.pk), sender=user, changes=changes)


def leave_everywhere(*, account: Account) -> None:
    """An account that ends leaves all its groups, each in a transaction of its own, and asks for nothing any more; may be
    repeated after a crash."""
    JoinRequest.objects.filter(user=account).delete()
    joined = Membership.objects.filter(user=account, left_at=None)
    for group_id in list(joined.values_list("group_id", flat=True)):
        leave(account=account, group_id=group_id)


def change_role(*, account: Account, group_id: uuid.UUID, user_id: uuid.UUID, role: str | None) -> Membership:
    """Make a member an admin or an admin a member (who may: admins), or hand over the group (who may: its creator, who is an
    admin then). Idempotent.

    Raises :class:`Refused`: ``not_found`` (the group, the member), ``forbidden``, ``rate_limited``.
    """
    access.view(group_id=group_id, account=account)
    count_change(account)
    with transaction.atomic():
        group, me = access.enter(group_id=group_id, account=account)
        access.check_admin(me)
        member = access.membership(group_id, user_id)
        if member is None:
            raise Refused(Code.NOT_FOUND, "There is no such member.")
        if role is None:
            return member
        if Role.CREATOR in (role, member.role) and me.role != Role.CREATOR:
            raise Refused(Code.FORBIDDEN, "Only who created the group may do this.")
        if member.role == role:
            return member
        if member.role == Role.CREATOR:
            raise Refused(Code.FORBIDDEN, "Make somebody else the creator first.")
        changes = [events.role(str(user_id), role)]
        if role == Role.CREATOR:
            me.role = Role.ADMIN
            me.save(update_fields=["role"])  # first: a group has one creator at a time
            changes.append(events.role(str(account.pk), Role.ADMIN))
        member.role = role
        member.save(update_fields=["role"])
        change_group(conversation=str(group.pk), sender=str(account.pk), changes=changes)
        return member


def heir_of(group: Group, leaver: Membership | None = None) -> Membership | None:
    """Who becomes the creator when ``leaver`` is none any more: the oldest admin, else the oldest member."""
    others = Membership.objects.filter(group=group, left_at=None)
    if leaver is not None:
        others = others.exclude(pk=leaver.pk)
    admins_first = Case(When(role=Role.ADMIN, then=0), default=1)
    return others.order_by(admins_first, "joined_at", "pk").first()


def _end(*, group: Group, member: Membership, removed: bool) -> None:
    member.left_at, member.removed, member.role, member.last_name = now_ms(), removed, Role.MEMBER, group.name
    member.save(update_fields=["left_at", "removed", "role", "last_name"])
    group.member_count -= 1
    group.save(update_fields=["member_count"])
