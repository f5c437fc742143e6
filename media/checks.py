"""What ``manage.py check --deploy`` says of media."""

from __future__ import annotations

from typing import Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Warning

#: ``manage.py check --deploy --tag media``.
TAG: Final = "media"


def scanned(app_configs: Any, **_: Any) -> list[CheckMessage]:
    """A warning where no file is scanned."""
    if settings.CLAMD_URL:
        return []
    return [
        Warning(
            "CLAMD_URL is not set: no uploaded file is scanned, and harmful documents are passed on.",
            hint="Set CLAMD_URL to a ClamAV daemon, tcp://host:port or unix:///path, for the workers of the queue media.",
            id="media.W001",
        )
    ]
