"""Names of notifications: the same for the same notification, and telling a provider nothing. HMAC-SHA-256 of ids."""

from __future__ import annotations

import base64
import hashlib
import hmac
import uuid

from django.conf import settings


def _hash(*parts: object) -> bytes:
    message = "push:" + ":".join(map(str, parts))
    return hmac.digest(settings.SECRET_KEY.encode(), message.encode(), hashlib.sha256)


def collapse_key(device: str, conversation: str) -> str:
    """Under which one device shows one conversation: 32 characters of base64url. ``conversation`` "": what is not shown."""
    return base64.urlsafe_b64encode(_hash("collapse", device, conversation)[:24]).decode()


def push_id(device: str, *about: object) -> str:
    """The UUID (version 8, RFC 9562) of what one device is sent."""
    number = int.from_bytes(_hash("id", device, *about)[:16])
    number = number & ~(0xF << 76) & ~(0b11 << 62) | 0x8 << 76 | 0b10 << 62
    return str(uuid.UUID(int=number))
