"""The line over the text field: what the next message answers, what is being edited, that it can be viewed once."""

from __future__ import annotations

from dataclasses import dataclass

from textual import events
from textual.content import Content
from textual.message import Message
from textual.widgets import Static

from . import text
from .cells import Block


@dataclass(slots=True)
class Writing:
    """What Enter will do. ``reply``, ``edit``: the message it is about; ``draft``: what was in the field before an edit."""

    reply: Block | None = None
    edit: Block | None = None
    once: bool = False
    draft: str = ""

    @property
    def plain(self) -> bool:
        return self.reply is None and self.edit is None and not self.once


class ContextBar(Static):
    """Hidden while there is nothing to say. A click on it cancels."""

    DEFAULT_CSS = """
    ContextBar {
        display: none; height: 1; padding: 0 1; background: $panel; border-left: thick $accent;
        text-wrap: nowrap; text-overflow: ellipsis;
    }
    """

    class Cancelled(Message):
        """What was begun is not wanted."""

    def on_click(self, event: events.Click) -> None:
        event.stop()
        self.post_message(self.Cancelled())

    def show(self, writing: Writing, name: str) -> None:
        """``name``: of who wrote what is answered."""
        self.display = not writing.plain
        if writing.plain:
            return
        parts: list[tuple[str, str]] = [("① once  ", "$warning")] if writing.once else []
        if writing.edit is not None:
            parts.append(("Edit your message", "bold $accent"))
        elif writing.reply is not None:
            words = text.cut(text.one_line(writing.reply.message) or "a message", 200)
            parts.append((f"Reply to {text.cut(text.one_line(name), 30)}", "bold $accent"))
            parts.append((f"  {words}", "$list-dim"))
        else:
            parts.append(("This message can be viewed once", "$list-dim"))
        room = max(8, self.app.size.width if self.size.width == 0 else self.size.width - 12)
        line = Content.assemble(*parts).truncate(room, ellipsis=True)
        self.update(Content.assemble(line, ("  Esc ✕", "$list-dim")))
