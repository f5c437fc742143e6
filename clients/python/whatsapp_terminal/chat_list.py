"""The list of chats: two rows each, drawn by ourselves; only what is seen costs anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

from . import text
from .cells import TICKS, colour

#: Signs beside a title; ``dialogs.KEYS`` explains them.
PINNED, MUTED, MENTIONED, GROUP, BLOCKED, TIMER = "▴", "⊘", "@", "⁂", "⊗", "◷"
#: Rows that stand for others; no conversation is called so.
ARCHIVE, REQUESTS = "archive", "requests"
HEADS = frozenset({ARCHIVE, REQUESTS})
AVATARS = ("#1f8a70", "#b5651d", "#a23b72", "#3b6ea5", "#7b5ea7", "#8a7d1f", "#b0413e", "#2f7d8c")


@dataclass(frozen=True, slots=True)
class ChatRow:
    """One chat, in words. ``tick``: state of our last message, or empty; ``preview`` and ``title`` are not yet
    cleaned."""

    conversation_id: str
    title: str
    preview: str = ""
    tick: str = ""
    at: str = ""
    unread: int = 0
    typing: str = ""
    online: bool = False
    draft: bool = False
    pinned: bool = False
    muted: bool = False
    archived: bool = False
    mentioned: bool = False
    group: bool = False
    blocked: bool = False
    request: bool = False
    timer: bool = False


class ChatList(ScrollView, can_focus=True):
    """Rows of chats with a cursor. ``opened``: the conversation that is shown beside it."""

    ROLES = (
        "title", "time", "preview", "typing", "badge", "quiet", "online", "draft", "tick-read", "failed",
    )  # fmt: skip
    COMPONENT_CLASSES: ClassVar[set[str]] = {
        "list--cursor",
        "list--opened",
        "list--hover",
        *(f"list--{r}" for r in ROLES),
    }
    DEFAULT_CSS = """
    ChatList {
        background: $surface;
        scrollbar-size-vertical: 1;
        scrollbar-color: $scrollbar-thumb;
        scrollbar-background: $surface;
        overflow-x: hidden;
        & > .list--title { color: $foreground; text-style: bold; }
        & > .list--time { color: $list-dim; }
        & > .list--preview { color: $list-dim; }
        & > .list--typing { color: $accent; text-style: italic; }
        & > .list--draft { color: $warning; }
        & > .list--online { color: $success; }
        & > .list--failed { color: $error; text-style: bold; }
        & > .list--tick-read { color: $tick-read; }
        & > .list--badge { background: $accent; color: $background; text-style: bold; }
        & > .list--quiet { color: $list-dim; text-style: bold reverse; }
        & > .list--opened { background: $panel; }
        & > .list--hover { background: $panel; }
        & > .list--cursor { background: $list-selected; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,right", "choose", "Open", key_display="⏎"),
        Binding("up,k", "move(-1)", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "move(-8)", "Up", show=False),
        Binding("pagedown", "move(8)", "Down", show=False),
        Binding("home", "move(-1000000)", "First", show=False),
        Binding("end", "move(1000000)", "Last", show=False),
        Binding("m", "act('mute')", "Mute"),
        Binding("p", "act('pin')", "Pin"),
        Binding("a", "act('archive')", "Archive"),
    ]
    cursor: reactive[str] = reactive("")
    opened: reactive[str] = reactive("")
    hover: reactive[str] = reactive("")
    gap: reactive[int] = reactive(0)

    class Chosen(Message):
        def __init__(self, conversation_id: str) -> None:
            super().__init__()
            self.conversation_id = conversation_id

    class Acted(Message):
        """``what`` is to be done with a chat: ``mute``, ``pin``, ``archive``."""

        def __init__(self, conversation_id: str, what: str) -> None:
            super().__init__()
            self.conversation_id = conversation_id
            self.what = what

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.rows: list[ChatRow] = []
        self.empty_text = ""

    @property
    def _step(self) -> int:
        return 2 + self.gap

    def show(self, rows: list[ChatRow]) -> None:
        """Take these rows; the cursor stays on its conversation."""
        ids = [row.conversation_id for row in rows]
        if rows == self.rows:
            return
        self.rows = rows
        if self.cursor not in ids:
            self.cursor = next((row for row in ids if row not in HEADS), ids[0] if ids else "")
        self.virtual_size = Size(self.size.width, len(rows) * self._step)
        self.refresh()

    def watch_gap(self) -> None:
        self.virtual_size = Size(self.size.width, len(self.rows) * self._step)
        self.refresh()

    def watch_opened(self) -> None:
        if self.opened:
            self.cursor = self.opened
        self.refresh()

    def watch_hover(self) -> None:
        self.refresh()

    def watch_cursor(self) -> None:
        index = self._index()
        if index is not None:
            self.scroll_to_region(Region(0, index * self._step, 1, 2), animate=False)
        self.refresh()

    def _index(self) -> int | None:
        return next((i for i, row in enumerate(self.rows) if row.conversation_id == self.cursor), None)

    def neighbour(self, step: int, of: str, *, without: frozenset[str] = frozenset()) -> str:
        """The conversation ``step`` rows below ``of``; never one ``without``."""
        ids = [row.conversation_id for row in self.rows if row.conversation_id not in without]
        if not ids:
            return ""
        if of not in ids:
            return ids[0]
        return ids[max(0, min(len(ids) - 1, ids.index(of) + step))]

    def action_move(self, step: int) -> None:
        self.cursor = self.neighbour(step, self.cursor)

    def action_choose(self) -> None:
        if self.cursor:
            self.post_message(self.Chosen(self.cursor))

    def action_act(self, what: str) -> None:
        if self.cursor:
            self.post_message(self.Acted(self.cursor, what))

    def _at(self, y: int) -> str:
        index = (y + self.scroll_offset.y) // self._step
        return self.rows[index].conversation_id if 0 <= index < len(self.rows) else ""

    def on_click(self, event: events.Click) -> None:
        chosen = self._at(event.y)
        if chosen:
            self.cursor = chosen
            self.post_message(self.Chosen(chosen))

    def on_mouse_move(self, event: events.MouseMove) -> None:
        self.hover = self._at(event.y)

    def on_leave(self) -> None:
        self.hover = ""

    # -- drawing -------------------------------------------------------------------------------------------
    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        base = self.visual_style.rich_style
        if not self.rows:
            return self._empty(y, width, base)
        index, part = divmod(y + self.scroll_offset.y, self._step)
        if index >= len(self.rows) or part > 1:
            return Strip.blank(width, base)
        row = self.rows[index]
        if row.conversation_id == self.cursor and self.has_focus:
            base += self._part("cursor")
        elif row.conversation_id == self.opened:
            base += self._part("opened")
        elif row.conversation_id == self.hover:
            base += self._part("hover")
        title = text.one_line(row.title) or "?"
        segments = [self._bar(row, base), *self._avatar(row, title, part, base)]
        room = width - 6
        segments += self._first(row, title, room, base) if part == 0 else self._second(row, room, base)
        return Strip(segments).adjust_cell_length(width, base)

    def _part(self, name: str) -> Style:
        return self.get_component_rich_style(f"list--{name}", partial=True)

    def _bar(self, row: ChatRow, base: Style) -> Segment:
        here = row.conversation_id == self.opened
        return Segment("▌" if here else " ", base + self._part("typing") if here else base)

    def _avatar(self, row: ChatRow, title: str, part: int, base: Style) -> list[Segment]:
        if row.conversation_id in HEADS:
            return [Segment("    ", base)]
        initial = next((c for c in title if c.isalnum()), "•").upper()[:1]
        shape = Style(color="#ffffff", bgcolor=AVATARS[colour(title)], bold=True)
        face = f" {initial}" if text.width(initial) == 2 else f" {initial} "
        foot = f" {GROUP} " if row.group else "   "
        return [Segment(face if part == 0 else foot, shape), Segment(" ", base)]

    def _first(self, row: ChatRow, title: str, room: int, base: Style) -> list[Segment]:
        dot = [Segment("● ", base + self._part("online"))] if row.online else []
        signs = "".join(
            sign
            for sign, on in (
                (TIMER, row.timer),
                (PINNED, row.pinned),
                (MUTED, row.muted),
                (BLOCKED, row.blocked),
            )
            if on
        )
        if signs:
            dot.append(Segment(f"{signs} ", base + self._part("time")))
        space = room - text.width(row.at) - 1 - sum(len(segment.text) for segment in dot)
        name = text.cut(title, max(1, space - 1))
        fill = " " * max(1, space - text.width(name))
        fence = text.FENCE if text.has_right_to_left(name) else ""
        return [
            Segment(name + fence, base + self._part("title")),
            Segment(fill, base),
            *dot,
            Segment(row.at, base + self._part("time")),
            Segment(" ", base),
        ]

    def _second(self, row: ChatRow, room: int, base: Style) -> list[Segment]:
        badge = f" {row.unread if row.unread < 1000 else '999+'} " if row.unread else ""
        mention = f"{MENTIONED} " if row.mentioned else ""
        space = room - len(badge) - len(mention) - 1
        segments: list[Segment] = []
        if row.typing:
            words = text.cut(text.one_line(row.typing), space)
            fence = text.FENCE if text.has_right_to_left(words) else ""
            segments.append(Segment(words + fence, base + self._part("typing")))
        else:
            if row.draft:
                segments.append(Segment(text.cut("Draft: ", space), base + self._part("draft")))
            elif row.tick:
                role = {"read": "tick-read", "failed": "failed"}.get(row.tick, "preview")
                segments.append(Segment(f"{TICKS[row.tick]} ", base + self._part(role)))
            used = sum(text.width(segment.text) for segment in segments)
            preview = text.cut(text.one_line(row.preview), max(0, space - used - 1))
            fence = text.FENCE if text.has_right_to_left(preview) else ""
            segments.append(Segment(preview + fence, base + self._part("preview")))
        used = sum(text.width(segment.text.rstrip(text.FENCE)) for segment in segments)
        segments.append(Segment(" " * max(0, space - used), base))
        if mention:
            segments.append(Segment(mention, base + self._part("typing")))
        if badge:
            quiet = row.muted and not row.mentioned
            segments.append(Segment(badge, base + self._part("quiet" if quiet else "badge")))
        segments.append(Segment(" ", base))
        return segments

    def _empty(self, y: int, width: int, base: Style) -> Strip:
        lines = [self.empty_text[a:b] for a, b in text.wrap(self.empty_text, max(4, width - 4))]
        line = lines[y - 1] if 1 <= y <= len(lines) else ""
        return Strip([Segment(f"  {line}", base + self._part("preview"))]).adjust_cell_length(width, base)
