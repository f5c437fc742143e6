"""What the open chat, and each part of the main screen, knows of that screen."""

from __future__ import annotations

from typing import Any

from textual.screen import Screen

from whatsapp_client import Chat

from .attachment import File
from .backend import Backend
from .names import Names
from .previews import Previews
from .sends import Sends
from .shell import Shell


class Frame(Screen[None]):
    """The main screen; :class:`ChatScreen` is all of it."""

    app: Shell
    client: Backend
    chats: dict[str, Chat]
    names: Names
    sends: Sends
    previews: Previews
    open: Any  # the chat that is open, an ``OpenChat``, or None

    def stale(self) -> None:
        """Draw soon."""
        raise NotImplementedError

    def note_of(self, file: File) -> str:
        """What is being done with a file of the open chat."""
        raise NotImplementedError

    def message_info(self, conversation_id: str, message_id: str, body: str) -> None:
        """Who has a message of ours."""
        raise NotImplementedError
