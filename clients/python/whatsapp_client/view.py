"""What a screen shows of a chat: each message in its present form, with what was said about it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from .database import Database
from .entry import Entry
from .log import Log
from .outgoing import Outgoing
from .polls import Poll, tally


@dataclass(slots=True)
class Shown:
    """A message as it is now, by the log and by what this device has written and has no ✓ for yet (``waiting``).

    ``reactions``: by emoji, who reacted with it, one of each user. ``reply``: the message that it answers, in its present
    form; None when it is none (``reply_to`` is "" then) or not here. ``expires_at``: when it vanishes (ms). ``view_once``: its
    content is given by :meth:`Client.open_once` only, once; ``opened``: it was. ``outgoing``: an own message without ✓; its
    entry has no number yet (0)."""

    entry: Entry
    text: str
    edited: bool = False
    deleted: bool = False
    reactions: dict[str, list[str]] = field(default_factory=dict)
    reply_to: str = ""
    reply: Entry | None = None
    forward_count: int = 0
    expires_at: int | None = None
    view_once: bool = False
    opened: bool = False
    starred: bool = False
    poll: Poll | None = None
    waiting: bool = False
    outgoing: Outgoing | None = None

    @property
    def message_id(self) -> str:
        return self.entry.message_id


def view(
    database: Database, log: Log, user_id: str, before: int | None, limit: int, pending: Iterable[Outgoing]
) -> list[Shown]:
    """The last ``limit`` messages below ``before``, ascending; above them, without ``before``, own ones without ✓."""
    waiting = [outgoing for outgoing in pending if outgoing.state != "failed" or outgoing.is_message]
    entries = log.shown(before, limit)
    shown = [_shown(entry) for entry in entries]
    if before is None:
        shown += [_written(outgoing, user_id) for outgoing in waiting if outgoing.is_message]
    by_id: dict[str, Shown] = {}
    for one in shown:
        by_id.setdefault(one.message_id, one)
    said = _said(database, log, [one.message_id for one in shown if one.message_id])
    votes: dict[str, dict[str, bytes]] = {}
    reactions: dict[str, dict[str, str]] = {}
    for target, sender, kind, content, emoji in said:
        if kind == "vote":
            votes.setdefault(target, {}).pop(sender, None)
            if content:
                votes[target][sender] = content
        else:
            reactions.setdefault(target, {}).pop(sender, None)
            if emoji:
                reactions[target][sender] = emoji
    for outgoing in waiting:
        changed = by_id.get(outgoing.target_id) if not outgoing.is_message else None
        if changed is not None:
            _change(changed, outgoing, user_id, reactions, votes)
    for one in by_id.values():
        if one.deleted:
            continue
        for user, emoji in reactions.get(one.message_id, {}).items():
            one.reactions.setdefault(emoji, []).append(user)
        if one.entry.kind == "poll":
            one.poll = tally(one.text.encode(), votes.get(one.message_id, {}), user_id)
        if one.reply_to:
            quoted = by_id.get(one.reply_to)
            one.reply = quoted.entry if quoted is not None else log.message(one.reply_to)
    return shown


def _shown(entry: Entry) -> Shown:
    once = entry.view_once
    return Shown(
        entry, "" if once or entry.deleted else entry.text, entry.edited, entry.deleted, reply_to=entry.reply_to,
        forward_count=entry.forward_count, expires_at=entry.expires_at or None, view_once=once, opened=entry.opened,
        starred=entry.starred,
    )  # fmt: skip


def _written(outgoing: Outgoing, user_id: str) -> Shown:
    entry = Entry(
        outgoing.conversation_id, 0, user_id, outgoing.message_id, kind=outgoing.kind, content=outgoing.content,
        timestamp=outgoing.timestamp, fields=outgoing.fields,
    )  # fmt: skip
    shown = _shown(entry)
    shown.outgoing, shown.waiting = outgoing, outgoing.state == "queued"
    return shown


def _change(
    shown: Shown, outgoing: Outgoing, user_id: str, reactions: dict[str, dict[str, str]], votes: dict[str, dict[str, bytes]]
) -> None:  # fmt: skip
    """What this device has written and the server has not confirmed."""
    if shown.deleted:
        return
    shown.waiting = True
    match outgoing.kind:
        case "edit":
            shown.text, shown.edited = outgoing.text, True
        case "delete":
            shown.text, shown.deleted = "", True
        case "reaction":
            reactions.setdefault(shown.message_id, {}).pop(user_id, None)
            if outgoing.content:
                reactions[shown.message_id][user_id] = outgoing.text
        case "vote":
            votes.setdefault(shown.message_id, {}).pop(user_id, None)
            if outgoing.content:
                votes[shown.message_id][user_id] = outgoing.content


def _said(
    database: Database, log: Log, message_ids: list[str]
) -> Iterable[tuple[str, str, str, bytes | None, str]]:
    """(message, who, kind, content, emoji) of all reactions and votes, in their order."""
    if not message_ids:
        return
    for at in range(0, len(message_ids), 500):
        part = message_ids[at : at + 500]
        marks = ", ".join("?" * len(part))
        rows = database.read(
            "SELECT target, sender, type, content, fields FROM entries INDEXED BY entries_target "
            f"WHERE conversation = ? AND target IN ({marks}) "
            "AND target <> '' AND type IN ('reaction', 'vote') AND fields <> '' ORDER BY seq",
            (log.number, *part),
        ).fetchall()
        for target, sender, kind, content, fields in rows:
            data = json.loads(fields).get("data")
            emoji = data.get("emoji") if isinstance(data, dict) else None
            yield target, sender, kind, content, str(emoji or "")
