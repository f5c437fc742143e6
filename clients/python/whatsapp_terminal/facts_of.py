"""From the library's view of a message to :class:`facts.Facts`."""

from __future__ import annotations

import json
from typing import Any

from whatsapp_client import Entry, Outgoing, Shown

from . import attachment
from .attachment import file_of
from .facts import CLOSED, OPENED, Facts, Option, Poll, Quote, reactions_of

SAID = 400  # characters of a message that is told in a line; more than the widest window shows


def facts_of(shown: Shown, own_id: str) -> Facts:
    if shown.deleted:
        return Facts(deleted=True, waiting=shown.waiting)
    once = ""
    if shown.view_once:
        once = OPENED if shown.opened else CLOSED
    poll = shown.poll
    made = None
    if poll is not None:
        options = tuple(
            Option(words, len(poll.votes.get(words, ())), words in poll.mine) for words in poll.options
        )
        voters = {user for users in poll.votes.values() for user in users}
        made = Poll(poll.question, options, len(voters), poll.multiple)
    return Facts(
        words=shown.text,
        edited=shown.edited,
        waiting=shown.waiting,
        starred=shown.starred,
        forwarded=shown.forward_count,
        expires_at=shown.expires_at or 0,
        once=once,
        quote=quote_of(shown.reply, shown.reply_to),
        poll=made,
        reactions=reactions_of(shown.reactions, own_id),
        file=None if once else file_of(shown.entry.kind, shown.entry.content, shown.entry.fields),
    )


def facts_of_outgoing(outgoing: Outgoing, original: Entry | None) -> Facts:
    """``original``: what it answers, if it is known."""
    fields = outgoing.fields
    count = fields.get("forwardCount")
    poll = None
    if outgoing.kind == "poll":
        question, options, multiple = poll_of(outgoing.content)
        poll = Poll(question, tuple(Option(words) for words in options), 0, multiple)
    return Facts(
        forwarded=count if isinstance(count, int) else 0,
        once=CLOSED if fields.get("viewOnce") else "",
        quote=quote_of(original, fields.get("replyTo")),
        poll=poll,
        file=None if fields.get("viewOnce") else file_of(outgoing.kind, outgoing.content, fields),
    )


def quote_of(reply: Entry | None, reply_to: Any) -> Quote | None:
    """``reply``: the original, None where it is not here; ``reply_to``: its id as the answer says it."""
    if reply is None:
        return Quote() if reply_to else None
    return Quote(reply.sender_id, said_in(reply), reply.seq)


def said_in(entry: Entry) -> str:
    """A message in a line; empty for one that was deleted."""
    if entry.view_once:
        return "① View once"
    if entry.deleted or entry.content is None:
        return ""
    return said(entry.kind, entry.content)


def said(kind: str, content: bytes) -> str:
    if kind == "poll":
        return f"Poll: {poll_of(content)[0] or '…'}"[:SAID]
    if kind in attachment.NAMES:
        return attachment.words(kind, content)[:SAID]
    return content[: 4 * SAID].decode("utf-8", "replace")[:SAID]


def poll_of(content: bytes) -> tuple[str, list[str], bool]:
    """Question, options, whether several may be chosen; empty for what is no poll."""
    try:
        said = json.loads(content)
        return str(said["question"]), [str(words) for words in said["options"]], bool(said.get("multiple"))
    except (ValueError, TypeError, LookupError, AttributeError):
        return "", [], False
