"""``presence``, ``presence_subscribe`` and ``typing``."""

from __future__ import annotations

import asyncio

from chats.connection import Connection
from delivery.session import Session, State
from whatsapp.infra import residency
from whatsapp.infra.limits import LIMITS, Rate
from whatsapp.wire import frames
from whatsapp.wire.errors import Code

TYPING_MS = 10_000
#: Rates of typing that a session keeps; beyond, those that have their whole allowance again are forgotten.
TYPING_RATES = 64


def presence(connection: Connection, session: Session, frame: frames.Presence) -> None:
    if not connection.allowed("presence", session.limits.presence_per_minute, frame.ref):
        return
    away = frame.status != "online"
    if away != session.away:
        session.away = away
        connection.spawn(connection.gateway.node.sessions.announce(session))


def subscribe(connection: Connection, session: Session, frame: frames.PresenceSubscribe) -> None:
    """Users and open chats. What is over a limit is refused as a whole."""
    if not connection.allowed("presence", session.limits.presence_per_minute, frame.ref):
        return
    node = connection.gateway.node
    users = list(dict.fromkeys(frame.user_ids))
    closed = set(frame.closed_conversation_ids or ())
    opened = [chat for chat in dict.fromkeys(frame.conversation_ids or ()) if chat not in closed]
    if len(node.presence.watched(session).union(users)) > session.limits.presence_subscriptions:
        connection.error(Code.LIMIT_EXCEEDED, "too many presence subscriptions", frame.ref)
        return
    if len(node.chats.of(session).difference(closed).union(opened)) > session.limits.open_chats:
        connection.error(Code.LIMIT_EXCEEDED, "too many open chats", frame.ref)
        return
    ttl = min(frame.ttl, LIMITS.presence_ttl_s)
    # In this turn: the next frame is counted with it.
    node.group_presence.close(session, list(closed.intersection(session.open_chats)))
    if opened:
        node.chats.open(session, opened, ttl)
        connection.spawn(node.group_presence.show(session, opened, ttl, frame.ref), frame.ref)
    if users:
        node.presence.follow(session, users, ttl)
        connection.spawn(node.presence.answer(session, users, ttl))


def typing(connection: Connection, session: Session, frame: frames.Typing) -> None:
    if session.state is State.CLOSED or not connection.allowed(
        "typing", session.limits.typing_per_minute, frame.ref
    ):
        return
    over = _rate(session, frame.conversation_id)
    if over:
        connection.error(
            Code.RATE_LIMITED, "too much typing here", frame.ref, retry_after_ms=max(1, round(over))
        )
        return
    if not residency.holds(frame.conversation_id):
        details = residency.details_of(frame.conversation_id)
        connection.error(Code.WRONG_REGION, residency.ELSEWHERE, frame.ref, details=details)
        return
    connection.gateway.node.typing.typing(session, frame.conversation_id, frame.active, frame.kind, frame.ref)


def _rate(session: Session, conversation: str) -> float:
    """Take one of what this session may say of one conversation; ms until it may, if it is over."""
    now = asyncio.get_running_loop().time() * 1000
    rate = session.typing.get(conversation)
    if rate is None:
        if len(session.typing) >= TYPING_RATES:
            session.typing = {chat: known for chat, known in session.typing.items() if known.tat > now}
        rate = session.typing[conversation] = Rate()
    return rate.take(now, session.limits.typing_per_chat_10s, TYPING_MS)
