"""``send_message``: limits here, everything durable in ``delivery.log``."""

from __future__ import annotations

import asyncio
import re
from hashlib import blake2b
from typing import Any

from chats.connection import Connection
from delivery.attachments import media_of
from delivery.envelopes import Seal, pack
from delivery.franking import COMMITMENT
from delivery.sending import Forward
from delivery.session import Session
from delivery.store.values import Send
from delivery.view import pack_extra
from whatsapp.infra import metrics, residency
from whatsapp.infra.limits import LIMITS
from whatsapp.wire import frames
from whatsapp.wire.errors import Code


def send_message(connection: Connection, session: Session, frame: frames.SendMessage) -> None:
    content = frame.encrypted_content
    if frame.mentions is not None and len(frame.mentions) > LIMITS.mentions:
        message = f"a message mentions at most {LIMITS.mentions} users"
        refuse(connection, frame, Code.LIMIT_EXCEEDED, message, details={"limit": LIMITS.mentions})
        return
    seal = None
    if frame.envelopes or frame.member_hash is not None:
        seal = Seal(frame.envelopes or (), frame.member_hash or "")
        if field := _unsound(seal, frame):
            details = {"field": field}
            refuse(connection, frame, Code.BAD_REQUEST, f"{field}: {_UNSOUND[field]}", details=details)
            return
    if not franked(connection, frame):
        return
    now = admitted(connection, session, frame, len(content))
    if now is None:
        return
    forward = None
    if frame.forward_id is not None:
        forward = Forward(
            session.user, frame.forward_id, frame.conversation_id, frame.forward_count or 0, session.limits
        )
    extra = pack_extra(frame)
    send = Send(
        frame.conversation_id,
        session.user,
        session.device,
        frame.message_id,
        frame.kind,
        content,
        body_hash(frame, extra if frame.franking is None else pack_extra(frame, franked=False)),
        frame.timestamp,
        frame.seq_num or 0,
        extra,
        pack(seal.envelopes) if seal is not None else None,
        mentions=frame.mentions or (),
        lasts=(frame.expires_in or 0) * 1000,
    )
    connection.gateway.node.log.submit(
        session,
        send,
        frame.ref,
        now,
        frame.recipient_ids,
        frame.reply_to,
        seal,
        forward,
        media_of(frame.media_url),
    )


_UNSOUND = {"envelopes": "two for one device", "memberHash": "64 lower-case hexadecimal digits"}
_is_hash = re.compile("[0-9a-f]{64}").fullmatch


def _unsound(seal: Seal, frame: frames.SendMessage) -> str:
    """The field that no list of devices or members could make right, "" for none."""
    if len({one.device_id for one in seal.envelopes}) != len(seal.envelopes):
        return "envelopes"
    if frame.member_hash is not None and not _is_hash(frame.member_hash):
        return "memberHash"
    return ""


def franked(connection: Connection, frame: frames.SendMessage | frames.EditMessage) -> bool:
    """Whether its commitment may be one; otherwise the client was refused. Whether it is one, receivers find out."""
    if frame.franking is None or len(frame.franking) == COMMITMENT:
        return True
    details = {"field": "franking"}
    refuse(connection, frame, Code.BAD_REQUEST, f"franking: {COMMITMENT} bytes", details=details)
    return False


Written = frames.SendMessage | frames.EditMessage | frames.DeleteMessage | frames.React | frames.Vote


def admitted(connection: Connection, session: Session, frame: Written, size: int) -> float | None:
    """What holds for everything that is written to a log: its loop time, or None once the client was refused."""
    if connection.gateway.draining:
        # What is in flight must come to an end; the client has been told to go elsewhere.
        refuse(connection, frame, Code.UNAVAILABLE, "this gateway is going away", 1_000)
        return None
    if size > LIMITS.content_bytes:
        refuse(connection, frame, Code.TOO_LARGE, "encryptedContent is too large")
        return None
    now = asyncio.get_running_loop().time()
    rate = connection.gateway.message_rate(session.user)
    over = rate.take(now * 1000, session.limits.messages_per_minute, 60_000)
    if over:
        refuse(connection, frame, Code.RATE_LIMITED, "too many messages", max(1, round(over)))
        return None
    if not residency.holds(frame.conversation_id):
        details = residency.details_of(frame.conversation_id)
        refuse(connection, frame, Code.WRONG_REGION, residency.ELSEWHERE, details=details)
        return None
    return now


def refuse(
    connection: Connection,
    frame: Written,
    code: str,
    message: str,
    retry_after_ms: int | None = None,
    details: dict[str, Any] | None = None,
) -> None:
    metrics.refused(code, frame.conversation_id)
    connection.error(
        code, message, frame.ref, message_id=frame.message_id, retry_after_ms=retry_after_ms, details=details
    )


def body_hash(frame: frames.SendMessage, extra: bytes | None) -> bytes:
    """16 bytes over what makes two sends the same message: conversation, kind, content and the optional fields, but neither
    the timestamp nor the seqNum, which a client may set anew when it sends again, nor the envelopes, which it may have to. Nor
    the commitment: the version before has stored none, and the first that was stored counts."""
    digest = blake2b(frame.encrypted_content, digest_size=16)
    digest.update(frame.conversation_id.encode())
    digest.update(frame.kind.encode())
    if extra:
        digest.update(extra)
    return digest.digest()
