"""From bytes that are stored to a file that may be sent: who takes the next step, and when."""

from __future__ import annotations

import uuid


def begin_soon(media_id: uuid.UUID) -> None:
    return None
