"""``ack`` and ``status_update``: what the device has, and what its user has read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from delivery.session import Session
from whatsapp.infra import faults
from whatsapp.wire import frames
from whatsapp.wire.errors import Code

if TYPE_CHECKING:
    from chats.connection import Connection


def ack(connection: Connection, session: Session, frame: frames.Ack) -> None:
    connection.gateway.node.sync.ack(session, frame.positions)


def status_update(connection: Connection, session: Session, frame: frames.StatusUpdate) -> None:
    if frame.up_to is None or (frame.status == "read" and frame.conversation_id not in session.acked):
        connection.spawn(_look_up(connection, session, frame))
    else:
        _apply(connection, session, frame, frame.up_to)


async def _look_up(connection: Connection, session: Session, frame: frames.StatusUpdate) -> None:
    """Find the seq of a messageId, and the position of a conversation that this session has not touched yet."""
    node = connection.gateway.node
    conversation = frame.conversation_id
    position = await node.reader.position(session.user, session.device, conversation)
    if position is None:
        connection.error(Code.NOT_FOUND, "there is no such conversation", frame.ref)
        return
    session.acked.setdefault(conversation, position.acked)
    up_to = frame.up_to
    if up_to is None:
        up_to = await node.store.find(conversation, frame.message_id or "")
        if not up_to:
            connection.error(
                Code.NOT_FOUND, "there is no such message", frame.ref, message_id=frame.message_id
            )
            return
    _apply(connection, session, frame, up_to)


def _apply(connection: Connection, session: Session, frame: frames.StatusUpdate, up_to: int) -> None:
    node = connection.gateway.node
    if frame.status == "delivered":
        node.sync.ack(session, {frame.conversation_id: up_to})
    elif up_to > session.acked.get(frame.conversation_id, 0) and not faults.off("receipt_rule"):
        connection.error(Code.BAD_REQUEST, "read is above what this device acknowledged", frame.ref)
    else:
        node.receipts.read(session, frame.conversation_id, up_to)
