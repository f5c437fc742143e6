"""Making a group, what it is called and allows, and its end."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Final

from django.db import transaction

from accounts import limits
from accounts.abuse import counted
from accounts.errors import Refused
from accounts.models import Account
from accounts.residency import homes_of, region_for
from delivery.changes import change_group
from delivery.ids import conversation_id
from delivery.store.sync import store
from groups import access, events
from groups.access import Seen
from groups.models import Group, JoinRequest, Membership, Role, Who
from groups.services.counting import count_adds, count_change
from groups.services.icons import take_icon
from whatsapp.infra.clock import now_ms
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code

#: Wire name → column.
SETTINGS: Final = {"whoSends": "who_sends", "whoEdits": "who_edits", "whoAdds": "who_adds"}


def create_group(
    *,
    account: Account,
    name: str,
    members: Iterable[uuid.UUID],
    description: str = "",
    allowed: Mapping[str, str] | None = None,
) -> Group:
    """A new group of the caller, its creator, and ``members``. ``allowed``: of :data:`SETTINGS`.

    Raises :class:`Refused`: ``bad_request`` (nobody but the caller), ``limit_exceeded``, ``rate_limited``, ``not_found``
    (one of them), ``wrong_region``.
    """
    others = [user for user in dict.fromkeys(members) if user != account.pk]
    if not others:
        raise Refused(
            Code.BAD_REQUEST, "A group needs somebody besides yourself.", details={"field": "members"}
        )
    if len(others) + 1 > LIMITS.group_members:
        raise full()
    now = now_ms()
    limits.count(
        scope="groups_hour",
        subject=str(account.pk),
        limit=limits.limit_for(account, "groups_per_hour"),
        window_ms=limits.HOUR_MS,
        now=now,
    )
    count_adds(account, len(others))
    with transaction.atomic():
        if Account.objects.filter(pk__in=others, retired_at=None).count() != len(others):
            raise Refused(Code.NOT_FOUND, "There is no such user.", details={"field": "members"})
        id_ = conversation_id(now, "group", region_for(homes_of([account.pk, *others])))
        group = Group.objects.create(
            id=uuid.UUID(id_),
            name=name,
            description=description,
            member_count=len(others) + 1,
            created_at=now,
            **{SETTINGS[key]: value for key, value in (allowed or {}).items()},
        )
        Membership.objects.bulk_create(
            Membership(group=group, user_id=user, role=role, joined_at=now)
            for user, role in ((account.pk, Role.CREATOR), *((user, Role.MEMBER) for user in others))
        )
        counted.added(user_id=account.pk, number=len(others))
        store.create_group(id_, now)
        change_group(
            conversation=id_,
            sender=str(account.pk),
            changes=events.created(group, str(account.pk), map(str, others)),
        )
    return group


def update_group(*, account: Account, group_id: uuid.UUID, changes: Mapping[str, Any]) -> Seen:
    """Change ``name``, ``description`` (who may: ``whoEdits``) or ``settings`` (admins). What is as it was makes no event.

    Raises :class:`Refused`: ``not_found``, ``forbidden``, ``rate_limited``.
    """
    access.view(group_id=group_id, account=account)
    count_change(account)
    with transaction.atomic():
        group, me = access.enter(group_id=group_id, account=account)
        if "name" in changes or "description" in changes:
            access.check_may(me, group.who_edits)
        if "settings" in changes:
            access.check_admin(me)
        said: dict[str, Any] = {}
        for field in ("name", "description"):
            if field in changes and changes[field] != getattr(group, field):
                setattr(group, field, changes[field])
                said[field] = changes[field]
        different = {
            key: value
            for key, value in changes.get("settings", {}).items()
            if value != getattr(group, SETTINGS[key])
        }
        for key, value in different.items():
            setattr(group, SETTINGS[key], value)
        if different:
            said["settings"] = events.settings_of(group)
        if said:
            group.save(update_fields=["name", "description", *SETTINGS.values()])
            restricted = group.who_sends == Who.ADMINS if "whoSends" in different else None
            change_group(
                conversation=str(group.pk),
                sender=str(account.pk),
                changes=[events.info(said, restricted)],
            )
    return Seen(group, me)


def dissolve_group(*, account: Account, group_id: uuid.UUID) -> None:
    """End a group: everybody leaves with its last event. Raises :class:`Refused`: ``not_found``, ``forbidden``."""
    with transaction.atomic():
        group, me = access.enter(group_id=group_id, account=account, ending=True)
        if me.role != Role.CREATOR:
            raise Refused(Code.FORBIDDEN, "Only who created the group may delete it.")
        _end(group, str(account.pk))


def close_group(*, group_id: uuid.UUID) -> bool:
    """End a group by a decision of moderators; to its members it is as if its creator had done it. False: there is no such group
    any more, or nobody in it."""
    with transaction.atomic():
        group = Group.objects.select_for_update().filter(pk=group_id, dissolved_at=None).first()
        if group is None:
            return False
        present = Membership.objects.filter(group=group, left_at=None)
        creator = present.filter(role=Role.CREATOR).first() or present.order_by("pk").first()
        if creator is None:
            return False
        _end(group, str(creator.user_id))
    return True


def _end(group: Group, sender: str) -> None:
    """Under the lock of its row."""
    now = now_ms()
    members = Membership.objects.filter(group=group, left_at=None)
    users = [str(user) for user in members.order_by("pk").values_list("user_id", flat=True)]
    members.update(left_at=now, role=Role.MEMBER, last_name=group.name)
    group.invites.filter(revoked_at=None).update(revoked_at=now)
    JoinRequest.objects.filter(group=group).delete()
    group.dissolved_at, group.member_count = now, 0
    group.save(update_fields=["dissolved_at", "member_count"])
    take_icon(group)
    change_group(conversation=str(group.pk), sender=sender, changes=[events.dissolved(users)])


def full() -> Refused:
    return Refused(
        Code.LIMIT_EXCEEDED,
        f"A group has at most {LIMITS.group_members} members.",
        details={"limit": LIMITS.group_members},
    )
