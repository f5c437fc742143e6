"""Which build this process is. A test build has fault points, protections that can be switched off and a movable clock;
production refuses to be one."""

from __future__ import annotations

import os

#: As in pyproject.toml. Which commit it is says the variable WHATSAPP_BUILD, set where images are made.
VERSION = "0.1.0"

TEST_BUILD: bool = (
    os.environ.get("WHATSAPP_TEST_BUILD") == "1" and os.environ.get("WHATSAPP_ENV") != "production"
)


def data_folder() -> str:
    """Folder of local state (development SMS, generated secrets, logs)."""
    return os.environ.get("WHATSAPP_DATA", ".local")
