"""``edit_message``, ``delete_message``, ``react``, ``vote``: what is written about an earlier message. The store judges them."""

from __future__ import annotations

from hashlib import blake2b

from chats.connection import Connection
from chats.handlers.messages import admitted, franked, refuse
from delivery.session import Session
from delivery.store.values import Amendment
from delivery.view import pack_target
from whatsapp.infra import clock
from whatsapp.infra.limits import LIMITS
from whatsapp.wire import frames
from whatsapp.wire.emoji import is_emoji
from whatsapp.wire.errors import Code

Amending = frames.EditMessage | frames.DeleteMessage | frames.React | frames.Vote


def edit_message(connection: Connection, session: Session, frame: frames.EditMessage) -> None:
    """Another content for one's own message."""
    if not frame.encrypted_content:
        refuse(connection, frame, Code.BAD_REQUEST, "encryptedContent: is missing")
        return
    if franked(connection, frame):
        _submit(connection, session, frame, "edit", frame.encrypted_content, LIMITS.edit_window_ms)


def delete_message(connection: Connection, session: Session, frame: frames.DeleteMessage) -> None:
    """One's own message, or as an admin anybody's in the group."""
    _submit(connection, session, frame, "delete", b"", LIMITS.delete_window_ms)


def react(connection: Connection, session: Session, frame: frames.React) -> None:
    """An emoji, or nothing to take one's reaction back."""
    emoji = frame.emoji.encode()
    if emoji and (len(emoji) > LIMITS.reaction_bytes or not is_emoji(frame.emoji)):
        refuse(connection, frame, Code.BAD_REQUEST, "emoji: one emoji, or nothing")
        return
    _submit(connection, session, frame, "reaction", emoji, None)


def vote(connection: Connection, session: Session, frame: frames.Vote) -> None:
    """What one chooses of a poll, or nothing to take one's vote back. Only clients know what it means."""
    content = frame.encrypted_content or b""
    if len(content) > LIMITS.vote_bytes:
        details = {"limit": LIMITS.vote_bytes}
        refuse(connection, frame, Code.TOO_LARGE, "encryptedContent: too large for a vote", details=details)
        return
    _submit(connection, session, frame, "vote", content, None)


def _submit(
    connection: Connection,
    session: Session,
    frame: Amending,
    kind: str,
    content: bytes,
    window_ms: int | None,
) -> None:
    now = admitted(connection, session, frame, len(content))
    if now is None:
        return
    send = Amendment(
        frame.conversation_id,
        session.user,
        session.device,
        frame.message_id,
        kind,
        content,
        body_hash(frame, kind, content),
        frame.timestamp,
        frame.seq_num or 0,
        pack_target(frame.target_id, frame.franking if isinstance(frame, frames.EditMessage) else None),
        target=frame.target_id,
        oldest=clock.now_ms() - window_ms if window_ms is not None else 0,
        distinct=LIMITS.reactions_per_message,
    )
    connection.gateway.node.log.submit(session, send, frame.ref, now)


def body_hash(frame: Amending, kind: str, content: bytes) -> bytes:
    """16 bytes over what makes two of them the same, as for a message."""
    digest = blake2b(content, digest_size=16)
    digest.update(frame.conversation_id.encode())
    digest.update(kind.encode())
    digest.update(frame.target_id.encode())
    return digest.digest()
