"""What a client may send, a file per family of frames. A handler is ``(connection, session, frame) -> None`` and never waits."""

from __future__ import annotations

from chats.connection import Handlers
from chats.handlers import amendments, features, messages, presence, receipts, sync
from whatsapp.wire import frames

HANDLERS: Handlers = {
    frames.Auth: features.again,
    frames.SendMessage: messages.send_message,
    frames.Ack: receipts.ack,
    frames.StatusUpdate: receipts.status_update,
    frames.Sync: sync.sync,
    frames.Presence: presence.presence,
    frames.PresenceSubscribe: presence.subscribe,
    frames.Typing: presence.typing,
    frames.EditMessage: amendments.edit_message,
    frames.DeleteMessage: amendments.delete_message,
    frames.React: amendments.react,
    frames.Vote: amendments.vote,
    frames.Call: features.not_yet,
}
