"""Linked devices that nobody uses."""

from __future__ import annotations

from whatsapp.settings import env

#: Days after which a device that is not the primary one is unlinked when nobody used it; 0: never.
DEVICE_IDLE_DAYS = env.number("DEVICE_IDLE_DAYS", 30)
#: So many days before, its user is told; no device is unlinked that was not told of so long ago.
DEVICE_IDLE_NOTICE_DAYS = env.number("DEVICE_IDLE_NOTICE_DAYS", 3)
