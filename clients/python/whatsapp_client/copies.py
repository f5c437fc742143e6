"""Messages as items of a report, and forms of them that have left the file a short while ago: whoever was sent something may
report it, although its sender has taken it back or edited it since, or it was to be seen once."""

from __future__ import annotations

import base64

from .codecs import Frame
from .entry import Entry

#: Of a franked message; one without the others proves nothing.
PROOF = ("frankingKey", "franking", "frankingTag")
MOST = 500
MOST_BYTES = 2 * 1024 * 1024  # of contents
KEPT_MS = 24 * 3_600_000

_Key = tuple[str, str, int]  # conversation, message, number of the entry that says so


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
    """Items of messages whose content is not in the file any more; of one that was edited, each form. In the memory of this
    process, a day, and not many: no trace of them is on the disk."""

    def __init__(self) -> None:
        self._kept: dict[_Key, tuple[int, Frame]] = {}  # in the order in which they came
        self._bytes = 0

    def keep(self, item: Frame, seq: int, now: int) -> None:
        """``seq``: of the entry that says what the item says, the message or an edit. ``now``: ms."""
        key = (item["conversationId"], item["messageId"], seq)
        self._drop(key)
        self._kept[key] = (now, item)
        self._bytes += len(item["content"])
        while len(self._kept) > MOST or self._bytes > MOST_BYTES:
            self._drop(next(iter(self._kept)))

    def get(self, conversation_id: str, message_id: str, now: int) -> Frame | None:
        """The last form that was kept."""
        found = self.forms(conversation_id, message_id, now)
        return found[-1] if found else None

    def forms(self, conversation_id: str, message_id: str, now: int) -> list[Frame]:
        """All that were kept, ascending."""
        for key in [key for key, (at, _) in self._kept.items() if not 0 <= now - at < KEPT_MS]:
            self._drop(key)
        return [self._kept[key][1] for key in self._keys(conversation_id, message_id)]

    def forget(self, conversation_id: str, message_id: str) -> None:
        for key in self._keys(conversation_id, message_id):
            self._drop(key)

    def _keys(self, conversation_id: str, message_id: str) -> list[_Key]:
        return sorted(key for key in self._kept if key[:2] == (conversation_id, message_id))

    def _drop(self, key: _Key) -> None:
        _, item = self._kept.pop(key, (0, None))
        self._bytes -= len(item["content"]) if item is not None else 0
