"""Housekeeping. May be repeated and run twice at once."""

from __future__ import annotations

from celery import shared_task

from accounts.models import Account
from accounts.services.pictures import drop_unused
from delivery import tasks
from groups.models import Icon, JoinRequest, Membership
from groups.services.members import leave_everywhere
from whatsapp.infra.retention import purged


@shared_task
def leave_ended(user_id: str) -> None:
    """An account that ended leaves its groups and takes back what it asked for."""
    account = Account.objects.filter(pk=user_id, retired_at__isnull=False).first()
    if account is not None:
        leave_everywhere(account=account)


def leave_ended_soon(user_id: str) -> None:
    """:func:`leave_ended` from anywhere: does not wait for the broker. Should it get lost, :func:`leave_retired` follows."""
    tasks.enqueue_soon(leave_ended, user_id)


@shared_task
def leave_retired() -> None:
    """Accounts that ended leave their groups, so that none keeps a creator or admin whom nobody is behind."""
    members = Membership.objects.filter(left_at=None, user__retired_at__isnull=False)
    asking = JoinRequest.objects.filter(user__retired_at__isnull=False)
    users = {*members.values_list("user_id", flat=True), *asking.values_list("user_id", flat=True)}
    for account in Account.objects.filter(pk__in=users):
        leave_everywhere(account=account)


@shared_task
def drop_icons() -> int:
    """Icons that no group shows: left behind by a crash, or by a storage that was away. Returns how many are gone."""
    dropped = drop_unused(Icon)
    purged("unused_icons", dropped)
    return dropped
