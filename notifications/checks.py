"""What ``manage.py check --deploy`` says of notifications."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Warning
from django.core.exceptions import ImproperlyConfigured

from notifications.senders import registry
from notifications.vapid import BadVapid

#: ``manage.py check --deploy --tag notifications``.
TAG: Final = "notifications"


def usable(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """A warning for each app whose credentials are not there, or cannot be read by this process."""
    found: list[CheckMessage] = []
    for app in settings.PUSH_APPS.values():
        try:
            registry.make(app)
        except Exception as error:
            # Of another error the text may hold a piece of a key.
            said = str(error) if isinstance(error, ImproperlyConfigured | BadVapid) else type(error).__name__
            found.append(
                Warning(
                    f"Nothing can be sent for the push app {app.name} ({app.provider}): {said}",
                    hint=f"Set PUSH_{app.name.upper().replace('-', '_')}_… for the workers of the queue push (docs/push.md).",
                    id="notifications.W001",
                )
            )
    return found
