"""The scheduled fsck (``chats/fsck.py``)."""

from __future__ import annotations

from whatsapp.settings import env

#: What a run may take, seconds. A batch that has begun is finished.
FSCK_SECONDS = env.number("FSCK_SECONDS", 20)
#: Events of each log that it looks at, from the end. The command looks at all.
FSCK_TAIL = env.number("FSCK_TAIL", 500)
#: 0: it only tells.
FSCK_REPAIR = bool(env.number("FSCK_REPAIR", 1))
