"""Django code that changes what a badge counts has the devices of its users looked at, once it has committed."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import transaction

from delivery.absent import CHANGES_MS
from notifications.models import PushTarget
from notifications.shards import ADD, TASK_MS, keys, new_token, shard_of
from whatsapp.infra.clock import now_ms
from whatsapp.infra.valkey import Command
from whatsapp.infra.visit import visit

log = logging.getLogger(__name__)


def look_soon(user_ids: Sequence[str]) -> None:
    """On commit; it may gather for a moment. What is lost is seen with the next message. Never raises."""
    if settings.PUSH_APPS:
        transaction.on_commit(lambda: _look(user_ids))


def _look(user_ids: Sequence[str]) -> None:
    try:
        targets = PushTarget.objects.filter(device__user_id__in=user_ids)
        users = {str(user) for user in targets.values_list("device__user_id", flat=True)}
        if users:
            async_to_sync(_write)(users)
    except Exception:
        log.exception("users whose badge has changed were not noted")


async def _write(users: set[str]) -> None:
    at = now_ms() + CHANGES_MS
    async with visit(settings.HOT_URL) as hot:
        await hot.run_each([_add(user, at) for user in users])


def _add(user: str, at: int) -> Command:
    named = keys(shard_of(user))
    return ("EVAL", ADD, len(named), *named, new_token(), TASK_MS, 0, at, user)
