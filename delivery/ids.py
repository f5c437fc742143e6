"""Makers of public ids. Ids are lower-case UUID text; their times are the caller's clock in ms since the epoch."""

from __future__ import annotations

import secrets
import uuid
from typing import Final, Literal

ConversationKind = Literal["direct", "group"]

#: Two bits of a conversation id. Numbers are never used again for another kind.
KIND_NUMBERS: Final[dict[str, int]] = {"direct": 0, "group": 1}
MAX_REGION: Final = 1023

_VARIANT: Final = 0b10 << 62


def uuid7(now: int) -> str:
    """UUIDv7 (RFC 9562, section 5.7): 48 bits of ms, then 74 random bits. Nothing is ordered by it within one ms."""
    high = (now & 0xFFFF_FFFF_FFFF) << 16 | 0x7000 | secrets.randbits(12)
    return str(uuid.UUID(int=high << 64 | _VARIANT | secrets.randbits(62)))


def conversation_id(now: int, kind: ConversationKind, region: int = 0) -> str:
    """UUIDv8 (RFC 9562, section 5.8): 48 bits of ms, 2 bits kind, 10 bits home region (0..1023), 62 random bits.

    Raises ``ValueError`` for another kind or region.
    """
    if kind not in KIND_NUMBERS or not 0 <= region <= MAX_REGION:
        raise ValueError("unknown kind of conversation or region")
    high = (now & 0xFFFF_FFFF_FFFF) << 16 | 0x8000 | KIND_NUMBERS[kind] << 10 | region
    return str(uuid.UUID(int=high << 64 | _VARIANT | secrets.randbits(62)))


def is_direct(conversation: str) -> bool:
    """By the two bits of its id."""
    return int(conversation[15], 16) >> 2 == KIND_NUMBERS["direct"]


def region_of(conversation: str) -> int:
    """Home region in a conversation id."""
    return uuid.UUID(conversation).int >> 64 & MAX_REGION
