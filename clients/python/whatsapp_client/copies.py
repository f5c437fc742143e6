"""Messages as items of a report, and those that have left the file a short while ago: whoever was sent something may report it,
although its sender has taken it back or it was to be seen once."""

from __future__ import annotations

import base64

from .codecs import Frame
from .entry import Entry

#: Of a franked message; one without the others proves nothing.
PROOF = ("frankingKey", "franking", "frankingTag")
MOST = 500
MOST_BYTES = 2 * 1024 * 1024  # of contents
KEPT_MS = 24 * 3_600_000


def item_of(entry: Entry, said: Entry, content: bytes) -> Frame:
    """An item of ``POST /reports``. ``said``: the entry that says what the message says now (``Reading.form_of``)."""
    proof: Frame = {name: said.fields[name] for name in PROOF if said.fields.get(name)}
    if len(proof) < len(PROOF):
        said, proof = entry, {}
    device = said.device_id or str(said.fields.get("actorDeviceId") or "")
    context = {name: entry.fields[name] for name in ("mediaUrl", "replyTo") if entry.fields.get(name)}
    return {
        "messageId": entry.message_id, "conversationId": entry.conversation_id, "senderId": entry.sender_id,
        "senderDeviceId": device, "serverTimestamp": said.server_timestamp, "kind": entry.kind,
        "content": base64.b64encode(content).decode(), **context, **proof,
    }  # fmt: skip


class Copies:
    """Items of messages whose content is not in the file any more. In the memory of this process, a day, and not many: no trace
    of them is on the disk."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[int, Frame]] = {}  # in the order in which they came
        self._bytes = 0

    def keep(self, item: Frame, now: int) -> None:
        """``now``: ms."""
        key = (item["conversationId"], item["messageId"])
        self.forget(*key)
        self._kept[key] = (now, item)
        self._bytes += len(item["content"])
        while len(self._kept) > MOST or self._bytes > MOST_BYTES:
            self.forget(*next(iter(self._kept)))

    def get(self, conversation_id: str, message_id: str, now: int) -> Frame | None:
        for key in [key for key, (at, _) in self._kept.items() if not 0 <= now - at < KEPT_MS]:
            self.forget(*key)
        found = self._kept.get((conversation_id, message_id))
        return found[1] if found is not None else None

    def forget(self, conversation_id: str, message_id: str) -> None:
        _, item = self._kept.pop((conversation_id, message_id), (0, None))
        self._bytes -= len(item["content"]) if item is not None else 0
