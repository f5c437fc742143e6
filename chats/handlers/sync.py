"""``sync``: asked for after ``ready``, and again whenever the client sees a hole."""

from __future__ import annotations

from chats.connection import Connection
from delivery.session import Session
from whatsapp.infra.limits import LIMITS
from whatsapp.wire import frames
from whatsapp.wire.errors import Code


def sync(connection: Connection, session: Session, frame: frames.Sync) -> None:
    have = connection.have_more if connection.have_more is not None else {}
    have.update(frame.have or {})
    if len(have) > LIMITS.have_per_sync:
        connection.have_more = None
        connection.error(Code.TOO_LARGE, "have names too many conversations", frame.ref)
        return
    if frame.more:
        connection.have_more = have
        return
    connection.have_more = None
    if connection.allowed("sync", session.limits.syncs_per_minute, frame.ref):
        connection.gateway.node.sync.start(session, have, frame.limit, frame.since or 0, frame.ref)
