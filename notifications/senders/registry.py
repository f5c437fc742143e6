"""Which sender serves which app: opened from ``settings.PUSH_APPS`` in the process that sends."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Final

from django.utils.module_loading import import_string

from notifications.senders.interface import Outcome, Push, PushApp, Result, Sender, Target

log = logging.getLogger(__name__)

#: By provider; loaded only where an app needs it. Each has ``from_options(app: PushApp)``.
_CLASSES: Final = {
    "apns": "notifications.senders.apns.ApnsSender",
    "fcm": "notifications.senders.fcm.FcmSender",
    "webpush": "notifications.senders.webpush.WebPushSender",
}


class Unusable:
    """Stands for an app whose credentials cannot be read: it accepts nothing, and what is to be sent waits."""

    def __init__(self, provider: str) -> None:
        self.provider = provider

    async def send(self, target: Target, push: Push) -> Result:
        return Result(Outcome.MISCONFIGURED, "credentials", of_app=True)

    async def close(self) -> None: ...


def open_senders(apps: Mapping[str, PushApp]) -> dict[str, Sender]:
    """A sender for each app, by its name. An app whose options are wrong is logged and becomes :class:`Unusable`: the others
    are served."""
    return {name: _open(app) for name, app in apps.items()}


def make(app: PushApp) -> Sender:
    """Raises ``ImproperlyConfigured``, or whatever else its options lead to."""
    sender: Sender = import_string(_CLASSES[app.provider]).from_options(app)
    return sender


def _open(app: PushApp) -> Sender:
    try:
        return make(app)
    except Exception as error:
        # Its text may hold a piece of a key.
        log.error("the push app %s cannot be used: %s", app.name, type(error).__name__)
        return Unusable(app.provider)
