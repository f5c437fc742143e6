"""What single people are told about a group on the socket, beside the events that all members are owed. Not kept: who is not
there reads the lists over REST."""

from __future__ import annotations

import uuid

from django.db.models import Case, When

from accounts import events
from groups.models import Membership, Role
from whatsapp.infra.limits import LIMITS


def asked(*, group_id: uuid.UUID, user_id: uuid.UUID) -> None:
    """Somebody asks to be let in: the creator and the oldest admins are told after the commit."""
    admins = Membership.objects.filter(group_id=group_id, left_at=None, role__in=(Role.CREATOR, Role.ADMIN))
    creator_first = Case(When(role=Role.CREATOR, then=0), default=1)
    told = admins.order_by(creator_first, "joined_at", "pk").values_list("user_id", flat=True)
    events.notices(
        user_ids=[str(admin) for admin in told[: LIMITS.group_request_notices]],
        kind="join_request",
        data={"groupId": str(group_id), "userId": str(user_id)},
    )


def answered(*, group_id: uuid.UUID, user_id: uuid.UUID, accepted: bool) -> None:
    """An admin has decided about a request: who asked is told after the commit."""
    events.notice(
        user_id=str(user_id), kind="join_answer", data={"groupId": str(group_id), "accepted": accepted}
    )
