"""What the admin shows; found by Django's autodiscovery."""

from whatsapp.staff.admins import (
    audit_records,
    blocked,
    consents,
    conversations,
    devices,
    erasures,
    holds,
    jobs,
    lawful,
    limits,
    media,
    pending,
    people,
    push,
    sanctions,
    staff_users,
)

__all__ = [
    "audit_records",
    "blocked",
    "consents",
    "conversations",
    "devices",
    "erasures",
    "holds",
    "jobs",
    "lawful",
    "limits",
    "media",
    "pending",
    "people",
    "push",
    "sanctions",
    "staff_users",
]
