"""What the admin shows; found by Django's autodiscovery."""

from whatsapp.staff.admins import (
    blocked,
    conversations,
    devices,
    jobs,
    media,
    pending,
    people,
    push,
    sanctions,
    staff_users,
)

__all__ = [
    "blocked",
    "conversations",
    "devices",
    "jobs",
    "media",
    "pending",
    "people",
    "push",
    "sanctions",
    "staff_users",
]
