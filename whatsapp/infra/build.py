"""Which build this process is. A test build has fault points, protections that can be switched off and a movable clock;
production refuses to be one."""

from __future__ import annotations

import os

TEST_BUILD: bool = (
    os.environ.get("WHATSAPP_TEST_BUILD") == "1" and os.environ.get("WHATSAPP_ENV") != "production"
)


def data_folder() -> str:
    """Folder of local state (development SMS, generated secrets, logs)."""
    return os.environ.get("WHATSAPP_DATA", ".local")
