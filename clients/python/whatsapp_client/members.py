"""``memberHash``: which members the sender of an encrypted message knows; see ``docs/wire.md``."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable


def member_hash(user_ids: Iterable[str]) -> str:
    """SHA-256 over the ids of all members, one's own too, as 16 bytes each, in ascending order; hexadecimal. Raises ValueError
    for what is no id."""
    ids = sorted(uuid.UUID(user_id).bytes for user_id in set(user_ids))
    return hashlib.sha256(b"".join(ids)).hexdigest()
