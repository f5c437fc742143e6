"""Messages without a server, for tests of the screens: what the library does with one, in memory."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable
from typing import Any

from whatsapp_client import Entry, Found, Outgoing, Poll, Shown, events


class FakeMessages:
    """Everything is said at once; ``calls`` of :class:`FakeGroups` has what was asked for. ``hold``: changes wait for their ✓."""

    logs: dict[str, list[Entry]]

    def __init__(self) -> None:
        self.reactions: dict[str, dict[str, str]] = {}  # message → user → emoji
        self.votes: dict[str, dict[str, list[str]]] = {}  # message → user → options

    def _message(self, conversation_id: str, message_id: str) -> Entry:
        for entry in self.logs[conversation_id]:
            if entry.message_id == message_id and entry.type == "message":
                return entry
        raise ValueError("there is no such message here")

    def _changed(self, kind: str, conversation_id: str, message_id: str, **fields: Any) -> Outgoing:
        self.calls.append((kind, conversation_id, message_id, fields))  # type: ignore[attr-defined]
        event = Entry(
            conversation_id,
            self.logs[conversation_id][-1].seq + 1,
            "me",
            type=kind,
            kind="event",
            server_timestamp=1,
            fields={"type": "event", "targetId": message_id},
        )
        self.logs[conversation_id].append(event)
        self.emit(events.Change(event))  # type: ignore[attr-defined]
        return Outgoing(
            str(uuid.uuid4()), conversation_id, b"", 0, kind=kind, fields={"targetId": message_id}
        )

    # -- what the test does ------------------------------------------------------------------------------------
    def reacts(self, conversation_id: str, message_id: str, user_id: str, emoji: str) -> None:
        """Somebody does."""
        self.reactions.setdefault(message_id, {})[user_id] = emoji
        self._changed("reaction", conversation_id, message_id)

    def votes_for(self, conversation_id: str, message_id: str, user_id: str, *options: str) -> None:
        self.votes.setdefault(message_id, {})[user_id] = list(options)
        self._changed("vote", conversation_id, message_id)

    # -- what the screens do -----------------------------------------------------------------------------------
    def view(self, conversation_id: str, before: int | None = None, limit: int = 50) -> list[Shown]:
        entries = self.messages(conversation_id, before=before, limit=limit)  # type: ignore[attr-defined]
        by_id = {entry.message_id: entry for entry in self.logs[conversation_id] if entry.message_id}
        return [self._shown(entry, by_id) for entry in entries if entry.type == "message"]

    def _shown(self, entry: Entry, by_id: dict[str, Entry]) -> Shown:
        said: dict[str, list[str]] = {}
        for user, emoji in self.reactions.get(entry.message_id, {}).items():
            if emoji:
                said.setdefault(emoji, []).append(user)
        poll = None
        if entry.kind == "poll":
            made = json.loads(entry.content or b"{}")
            votes = self.votes.get(entry.message_id, {})
            found = {o: [user for user, chosen in votes.items() if o in chosen] for o in made["options"]}
            mine = [o for o in made["options"] if o in votes.get("me", ())]
            poll = Poll(made["question"], made["options"], made["multiple"], found, mine)
        return Shown(
            entry,
            "" if entry.view_once or entry.deleted else entry.text,
            entry.edited,
            entry.deleted,
            reactions=said,
            reply_to=entry.reply_to,
            reply=by_id.get(entry.reply_to),
            forward_count=entry.forward_count,
            expires_at=entry.expires_at or None,
            view_once=entry.view_once,
            opened=entry.opened,
            starred=entry.starred,
            poll=poll,
        )

    def edit(self, conversation_id: str, message_id: str, content: str) -> Outgoing:
        entry = self._message(conversation_id, message_id)
        entry.content, entry.edited = content.encode(), True
        return self._changed("edit", conversation_id, message_id, content=content)

    def delete(self, conversation_id: str, message_id: str) -> Outgoing:
        entry = self._message(conversation_id, message_id)
        entry.content, entry.deleted = None, True
        return self._changed("delete", conversation_id, message_id)

    def react(self, conversation_id: str, message_id: str, emoji: str) -> Outgoing:
        self.reactions.setdefault(message_id, {})["me"] = emoji
        return self._changed("reaction", conversation_id, message_id, emoji=emoji)

    def forward(self, entry: Entry, conversation_ids: Iterable[str]) -> list[Outgoing]:
        fields = {"forwardCount": entry.forward_count + 1}
        return [self.send(chat, entry.text, **fields) for chat in conversation_ids]  # type: ignore[attr-defined]

    def hide(self, conversation_id: str, message_id: str) -> None:
        self.logs[conversation_id].remove(self._message(conversation_id, message_id))

    def star(self, conversation_id: str, message_id: str, on: bool = True) -> None:
        self._message(conversation_id, message_id).starred = on
        self.emit(events.ChatChanged(conversation_id))  # type: ignore[attr-defined]

    def starred(self, limit: int = 50, before: Entry | None = None) -> list[Entry]:
        found = [entry for log in self.logs.values() for entry in log if entry.starred]
        return sorted(found, key=lambda entry: -entry.server_timestamp)[:limit]

    def search(
        self, text: str, conversation_id: str | None = None, limit: int = 50, before: Found | None = None
    ) -> list[Found]:
        found = []
        for chat, log in self.logs.items():
            for entry in log:
                at = entry.text.lower().find(text.lower())
                if at >= 0 and entry.type == "message" and conversation_id in (None, chat):
                    found.append(Found(entry, entry.text[:80], ((at, at + len(text)),)))
        return sorted(found, key=lambda one: -one.entry.server_timestamp)[:limit]

    def open_once(self, conversation_id: str, message_id: str) -> bytes:
        entry = self._message(conversation_id, message_id)
        if not entry.view_once or entry.content is None:
            raise ValueError("there is nothing to open")
        content, entry.content, entry.opened = entry.content, None, True
        return content

    def send_poll(
        self, conversation_id: str, question: str, options: Iterable[str], multiple: bool = False
    ) -> Outgoing:
        said = json.dumps({"question": question, "options": list(options), "multiple": multiple})
        outgoing: Outgoing = self.send(conversation_id, said)  # type: ignore[attr-defined]
        outgoing.kind = "poll"
        return outgoing

    def vote(self, conversation_id: str, message_id: str, options: Iterable[str]) -> Outgoing:
        self.votes.setdefault(message_id, {})["me"] = list(options)
        return self._changed("vote", conversation_id, message_id, options=list(options))
