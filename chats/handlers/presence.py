"""``presence``, ``presence_subscribe`` and ``typing``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.session import Session, State
from whatsapp.infra.limits import LIMITS
from whatsapp.wire import frames
from whatsapp.wire.errors import Code

if TYPE_CHECKING:
    from chats.connection import Connection


def presence(connection: Connection, session: Session, frame: frames.Presence) -> None:
    if not connection.allowed("presence", LIMITS.presence_per_minute, frame.ref):
        return
    away = frame.status != "online"
    if away != session.away:
        session.away = away
        connection.spawn(connection.gateway.node.sessions.announce(session))


def subscribe(connection: Connection, session: Session, frame: frames.PresenceSubscribe) -> None:
    if not connection.allowed("presence", LIMITS.presence_per_minute, frame.ref):
        return
    users = list(dict.fromkeys(frame.user_ids))
    states = connection.gateway.node.presence
    if len(states.watched(session).union(users)) > LIMITS.presence_subscriptions:
        connection.error(Code.LIMIT_EXCEEDED, "too many presence subscriptions", frame.ref)
        return
    ttl = min(frame.ttl, LIMITS.presence_ttl_s)
    if users:
        states.follow(session, users, ttl)  # in this turn: the next frame is counted with it
        connection.spawn(states.answer(session, users, ttl))


def typing(connection: Connection, session: Session, frame: frames.Typing) -> None:
    if session.state is not State.CLOSED and connection.allowed(
        "typing", LIMITS.typing_per_minute, frame.ref
    ):
        connection.gateway.node.presence.typing(
            session, frame.conversation_id, frame.active, frame.kind, frame.ref
        )
