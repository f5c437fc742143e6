"""Frames that this server does not serve (yet), and ``auth`` at the wrong time."""

from __future__ import annotations

from chats.connection import Connection
from delivery.session import Session
from whatsapp.wire import frames
from whatsapp.wire.errors import Code


def not_yet(connection: Connection, session: Session, frame: frames.Frame) -> None:
    message_id = getattr(frame, "message_id", None)
    connection.error(
        Code.FEATURE_DISABLED, "this server does not do that yet", frame.ref, message_id=message_id
    )


def again(connection: Connection, session: Session, frame: frames.Auth) -> None:
    connection.error(Code.BAD_REQUEST, "this socket is authenticated already", frame.ref)
