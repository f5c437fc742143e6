"""``ack`` and ``status_update``: what the device has, and what its user has read."""

from __future__ import annotations

import asyncio
import uuid

from chats.connection import Connection
from delivery.receipts import FLUSH_S
from delivery.session import Session
from whatsapp.infra import faults, residency
from whatsapp.wire import frames
from whatsapp.wire.errors import Code

#: ``status_update`` frames of a socket, a minute, for which the store must be asked.
LOOKUPS_PER_MINUTE = 600


def ack(connection: Connection, session: Session, frame: frames.Ack) -> None:
    positions = frame.positions
    elsewhere = [conversation for conversation in positions if not residency.holds(conversation)]
    if elsewhere:
        _refuse(connection, elsewhere[0], frame.ref)
        positions = {one: seq for one, seq in positions.items() if one not in elsewhere}
    _ack(connection, session, positions)


def _refuse(connection: Connection, conversation: str, ref: str) -> None:
    details = {**residency.details_of(conversation), "conversationId": conversation}
    connection.error(Code.WRONG_REGION, residency.ELSEWHERE, ref, details=details)


def _ack(connection: Connection, session: Session, positions: dict[str, int]) -> None:
    """Positions that move here were acknowledged: a position alone may be where a linked device begins, or a floor."""
    before = {conversation: session.acked.get(conversation, -1) for conversation in positions}
    connection.gateway.node.sync.ack(session, positions)
    for conversation, old in before.items():
        acked = session.acked.get(conversation, -1)
        if acked > old:
            connection.proven[conversation] = acked


def status_update(connection: Connection, session: Session, frame: frames.StatusUpdate) -> None:
    up_to, conversation = frame.up_to, frame.conversation_id
    if not residency.holds(conversation):
        _refuse(connection, conversation, frame.ref)
        return
    if up_to is not None and frame.status == "delivered":
        _ack(connection, session, {conversation: up_to})
    elif up_to is not None and (
        up_to <= connection.proven.get(conversation, 0) or faults.off("receipt_rule")
    ):
        connection.gateway.node.receipts.read(session, conversation, up_to)
    elif connection.allowed("status_update", LOOKUPS_PER_MINUTE, frame.ref):
        connection.spawn(_look_up(connection, session, frame), frame.ref)


async def _look_up(connection: Connection, session: Session, frame: frames.StatusUpdate) -> None:
    """Find the seq of a messageId, and what this device is known to have acknowledged."""
    node = connection.gateway.node
    conversation = frame.conversation_id
    async with connection.lookups:
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
        if frame.status == "delivered":
            _ack(connection, session, {conversation: up_to})
            return
        if up_to > connection.proven.get(conversation, 0) and up_to <= session.acked[conversation]:
            await _prove(connection, session, conversation, position.acked, up_to)
    if up_to > connection.proven.get(conversation, 0) and not faults.off("receipt_rule"):
        connection.error(Code.BAD_REQUEST, "read is above what this device acknowledged", frame.ref)
    else:
        node.receipts.read(session, conversation, up_to)


async def _prove(connection: Connection, session: Session, conversation: str, acked: int, up_to: int) -> None:
    """What the store knows: this device's position, as far as its user's ``delivered`` goes. What was acknowledged by a
    ``have`` a moment ago is not written yet: asked again once it must be."""
    node = connection.gateway.node
    number = uuid.UUID(conversation).int
    before = str(uuid.UUID(int=number - 1)) if number else ""
    for again in (True, False):
        rows = await node.store.listed(session.user, 1, before)
        delivered = rows[0].delivered if rows and rows[0].conversation == conversation else 0
        proven = max(connection.proven.get(conversation, 0), min(acked, delivered))
        connection.proven[conversation] = proven
        if proven >= up_to or not again:
            return
        await asyncio.sleep(2 * FLUSH_S)
        position = await node.reader.position(session.user, session.device, conversation)
        acked = position.acked if position is not None else 0
