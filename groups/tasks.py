"""Housekeeping. May be repeated and run twice at once."""

from __future__ import annotations

from celery import shared_task

from accounts.models import Account
from groups.models import Membership
from groups.services.icon_files import drop_unused
from groups.services.members import leave_everywhere


@shared_task
def leave_retired() -> None:
    """Accounts that ended leave their groups, so that none keeps a creator or admin whom nobody is behind."""
    retired = Membership.objects.filter(left_at=None, user__retired_at__isnull=False)
    users = retired.values_list("user_id", flat=True).distinct()
    for account in Account.objects.filter(pk__in=list(users)):
        leave_everywhere(account=account)


@shared_task
def drop_icons() -> int:
    """Icons that no group shows: left behind by a crash, or by a storage that was away. Returns how many are gone."""
    return drop_unused()
