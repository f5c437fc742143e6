"""Chats in the command palette."""

from __future__ import annotations

from functools import partial

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from . import text
from .chat_screen import ChatScreen


class ChatCommands(Provider):
    """Go to a chat by typing some of its name."""

    def _chats(self) -> list[tuple[str, str]]:
        screen = self.screen
        if not isinstance(screen, ChatScreen):
            return []
        return [(chat.conversation_id, text.one_line(chat.title)) for chat in screen.client.chats()]

    async def discover(self) -> Hits:
        for conversation_id, title in self._chats()[:8]:
            # Content, not text: text would be read as markup, and others choose these names.
            yield DiscoveryHit(Content(title), partial(self._open, conversation_id), title, "Open this chat")

    async def search(self, query: str) -> Hits:
        matcher = self.matcher(query)
        for conversation_id, title in self._chats():
            score = matcher.match(title)
            if score > 0:
                yield Hit(
                    score, Content(title), partial(self._open, conversation_id), title, "Open this chat"
                )

    def _open(self, conversation_id: str) -> None:
        if isinstance(self.screen, ChatScreen):
            self.screen.open_chat(conversation_id)
