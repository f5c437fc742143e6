"""What the tables of groups hold of a person."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from typing import Final

from django.db import transaction

from accounts.models import Account
from accounts.searching import leftovers_in_tables, tables_of
from accounts.services import pictures
from accounts.stores import Leftover, Part, Person
from groups import exported
from groups.models import Group, Icon, Invite, JoinRequest, Membership
from groups.services.members import leave_everywhere

#: Groups of one call.
BATCH: Final = 100
#: An icon's files could not be deleted: again in so many ms.
AGAIN_MS: Final = 60_000


class GroupStore:
    """Memberships, requests and links. A link that others may still use is that of the group's creator from then on; what is
    gone with its last member goes wholly."""

    name = "groups"

    def erase(self, person: Person, *, now: int) -> int:
        user = uuid.UUID(person.user_id)
        account = Account.objects.filter(pk=user, retired_at__isnull=False).first()
        if account is not None:
            leave_everywhere(account=account)  # a task was lost
        JoinRequest.objects.filter(user=user).delete()
        for invite in Invite.objects.filter(created_by=user)[:BATCH]:
            self._hand_on(invite)
        groups = list(Membership.objects.filter(user=user).values_list("group_id", flat=True)[:BATCH])
        for group_id in groups:
            if not self._forget(group_id, user):
                return now + AGAIN_MS
        left = Invite.objects.filter(created_by=user).exists()
        return now if left or len(groups) == BATCH else 0

    def _hand_on(self, invite: Invite) -> None:
        with transaction.atomic():
            Group.objects.select_for_update().get(pk=invite.group_id)
            creator = Membership.objects.filter(group=invite.group_id, role="creator", left_at=None).first()
            if creator is None:
                invite.delete()
            else:
                Invite.objects.filter(pk=invite.pk).update(created_by=creator.user_id)

    def _forget(self, group_id: uuid.UUID, user: uuid.UUID) -> bool:
        """Delete what the group knows of the user, and the group with its last one. False: a storage is away."""
        with transaction.atomic():
            group = Group.objects.select_for_update().get(pk=group_id)
            others = Membership.objects.filter(group=group).exclude(user=user)
            if group.dissolved_at is None or others.exists():
                Membership.objects.filter(group=group, user=user, left_at__isnull=False).delete()
                return True
        for icon in Icon.objects.filter(group=group):
            Group.objects.filter(pk=group.pk, icon=icon).update(icon=None)
            if not pictures.discard(icon):
                return False
        group.delete()
        return True

    def export(self, person: Person) -> Iterator[Part]:
        return exported.parts(person)

    def leftovers(self, people: Sequence[Person]) -> Iterator[Leftover]:
        return leftovers_in_tables(self.name, people, tables_of("groups"))
