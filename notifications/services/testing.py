"""A notification that staff ask for, to learn whether a device is reached."""

from __future__ import annotations

import asyncio
import logging
import uuid

from django.db import transaction

from notifications import dispatch
from notifications.models import PushTarget
from notifications.senders.interface import Outcome, Result, Target
from notifications.services.targets import clear_target
from whatsapp.infra.clock import now_ms

log = logging.getLogger(__name__)


def send(device_id: uuid.UUID) -> Result | None:
    """Send it, and write down what its provider answered as of any notification: success, error, or the end of a dead token.
    None: there is nothing set (any more)."""
    target = PushTarget.objects.select_related("device").filter(pk=device_id).first()
    if target is None:
        return None
    result = asyncio.run(dispatch.send_test(_target(target)))
    log.info("a test notification of %s: %s %s", target.app, result.outcome.value, result.reason)
    with transaction.atomic():
        same = PushTarget.objects.select_for_update().filter(pk=device_id, token_hash=target.token_hash)
        if not same.exists():
            return result  # the answer is about a token that is set no more
        if result.outcome is Outcome.ACCEPTED:
            same.update(success_at=now_ms())
        elif result.outcome is Outcome.GONE:
            clear_target(device_id)
        else:
            same.update(error_at=now_ms(), error=result.reason or result.outcome.value)
    return result


def _target(target: PushTarget) -> Target:
    return Target(
        user=str(target.device.user_id),
        device=str(target.pk),
        app=target.app,
        token=target.token,
        p256dh=None if target.p256dh is None else bytes(target.p256dh),
        auth=None if target.auth is None else bytes(target.auth),
        set_at=target.set_at,
        call_token=target.call_token or None,
    )
