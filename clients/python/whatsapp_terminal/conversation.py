"""The messages of one conversation: rows drawn by ourselves, so that a long history costs what is seen of it."""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from typing import ClassVar

from rich.color import Color
from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from whatsapp_client import Outgoing

from .cells import Block, Row
from .conversation_style import CSS, ROLES

#: Rows from the top at which an older page is asked for.
NEAR = 12
#: Nobody's eyes like to jump further than this between what is at the left and what is at the right.
MAX_WIDTH = 140


class MessagesView(ScrollView, can_focus=True):
    """Blocks of rows. The owner sets them with :meth:`show`; what is wanted of it comes as messages."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"messages--{role}" for role in ROLES}
    DEFAULT_CSS = CSS
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up", "pick(-1)", "Choose", show=False),
        Binding("down", "pick(1)", "Choose", show=False),
        Binding("enter,m", "act('menu')", "Menu", key_display="⏎"),
        Binding("r", "act('reply')", "Reply"),
        Binding("r", "failed('retry')", "Retry"),
        Binding("e", "act('edit')", "Edit", show=False),
        Binding("d,delete", "act('delete')", "Delete", show=False),
        Binding("d,delete", "failed('discard')", "Discard"),
        Binding("plus", "act('react')", "React", show=False),
        Binding("f", "act('forward')", "Forward", show=False),
        Binding("s", "act('star')", "Star", show=False),
        Binding("o", "act('original')", "Original", show=False),
        Binding("v", "act('ballot')", "Vote", show=False),
        Binding("p", "act('look')", "Look at the picture", show=False),
        Binding("w", "act('save')", "Save the file", show=False),
        Binding("x", "act('elsewhere')", "Open in another program", show=False),
        Binding("y,c", "copy", "Copy"),
        Binding("i", "info", "Info"),
        Binding("space", "unfold", "Unfold", show=False),
        Binding("end,G", "newest", "Newest", show=False),
        Binding("home", "scroll_home", "Top", show=False),
    ]

    class Wanted(Message):
        """Something for the owner. ``what``: ``older``, ``newer``, ``newest``, ``seen``, ``moved``."""

        def __init__(self, what: str) -> None:
            super().__init__()
            self.what = what

    class Acted(Message):
        """Something is to be done with a message. ``action``: ``VERB KEY`` (``menu``, ``reply``, ``edit``, ``delete``, ``react``,
        ``forward``, ``star``, ``original``, ``look``, ``save``, ``elsewhere``, ``info``, ``unfold``), ``reaction N KEY``,
        ``vote N KEY``, ``goto SEQ``,
        ``retry ID``, ``discard ID``."""

        def __init__(self, action: str) -> None:
            super().__init__()
            self.action = action

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.blocks: list[Block] = []
        self.picked = ""  # key of the chosen block
        self._tops: list[int] = []
        self._rows = 0
        self._styles: dict[str, Style] = {}
        self._strips: dict[int, Strip] = {}
        self._style_state: tuple[object, ...] = ()
        self._drawn_for = Size(0, 0)  # the size that the rows were made for
        self._place: tuple[bool, tuple[list[tuple[str, int]], int] | None] = (True, None)

    # -- content -------------------------------------------------------------------------------------------
    def show(self, blocks: list[Block], *, to: str = "") -> None:
        """Take these blocks. The view stays where it is: at the end if it was there, else on the same message.

        ``to``: ``end``, or the key of a block to go to instead.
        """
        if blocks == self.blocks and not to and self.size == self._drawn_for:
            return
        self._note_place()
        at_end, anchor = self._place
        self.blocks = blocks
        self._tops = []
        rows = 1 if blocks else 0  # an empty row at the end, for air
        for block in blocks:
            self._tops.append(rows - 1)
            rows += len(block.rows)
        self._rows = rows
        self._strips.clear()
        self.virtual_size = Size(self.scrollable_content_region.width, rows)
        keys = {block.key for block in blocks}
        if self.picked not in keys:
            self.picked = ""
        if to == "end" or (at_end and not to):
            self._jump(self.max_scroll_y)
        elif to and to in keys:
            index = next(i for i, block in enumerate(blocks) if block.key == to)
            self._jump(max(0, self._tops[index] - max(1, self._height // 4)))
        elif anchor is not None:
            self._restore(anchor)
        self._drawn_for = self.size
        self._note_place()
        self.refresh()

    def _note_place(self) -> None:
        """Remember where the reader is, by message. Not between a resize and the new rows: offsets mean nothing then."""
        if self.size == self._drawn_for:
            self._place = (self.at_end, self._anchor())

    @property
    def layout_width(self) -> int:
        """Cells for :class:`bubbles.View`: in a very wide window a column in the middle."""
        return max(10, min(MAX_WIDTH, self.scrollable_content_region.width))

    @property
    def _left(self) -> int:
        return max(0, (self.scrollable_content_region.width - self.layout_width) // 2)

    @property
    def _above(self) -> int:
        """Empty rows over a conversation that does not fill the view: it stands at the bottom."""
        return max(0, self._height - self._rows)

    @property
    def _height(self) -> int:
        return max(1, self.scrollable_content_region.height)

    @property
    def at_end(self) -> bool:
        return self.scroll_offset.y >= self.max_scroll_y - 1

    @property
    def near_top(self) -> bool:
        return self.scroll_offset.y <= NEAR

    def seen(self) -> int:
        """The highest seq whose last row is on screen; 0: none."""
        top, bottom = self.scroll_offset.y, self.scroll_offset.y + self._height
        highest = 0
        for index in range(len(self.blocks) - 1, -1, -1):
            block = self.blocks[index]
            end = self._tops[index] + len(block.rows)
            if end <= top:
                break
            if end <= bottom and block.seq:
                highest = max(highest, block.seq)
                break
        return highest

    def on_screen(self) -> list[Block]:
        """Blocks of which something is seen, and their neighbours."""
        top, bottom = self.scroll_offset.y, self.scroll_offset.y + self._height
        first = max(0, bisect_right(self._tops, top) - 2)
        return [self.blocks[i] for i in range(first, len(self.blocks)) if self._tops[i] <= bottom]

    def _anchor(self) -> tuple[list[tuple[str, int]], int] | None:
        """What is at the top: keys of the blocks on screen, and their rows below it."""
        if not self.blocks:
            return None
        top = self.scroll_offset.y
        first = max(0, bisect_right(self._tops, top) - 1)
        seen = [
            (self.blocks[i].key, self._tops[i] - top)
            for i in range(first, min(len(self.blocks), first + self._height))
            if not self.blocks[i].key.startswith("day")
        ]
        return seen, top

    def _restore(self, anchor: tuple[list[tuple[str, int]], int]) -> None:
        tops = dict(zip((block.key for block in self.blocks), self._tops, strict=True))
        for key, below in anchor[0]:
            if key in tops:
                self._jump(tops[key] - below)
                return

    def _jump(self, y: int) -> None:
        self.scroll_to(y=max(0, min(y, self.max_scroll_y)), animate=False, force=True)

    # -- drawing -------------------------------------------------------------------------------------------
    def render_line(self, y: int) -> Strip:
        state = (self._css_state(), self.scrollable_content_region.width)
        if state != self._style_state:
            self._style_state = state
            self._styles.clear()
            self._strips.clear()
        line = y + self.scroll_offset.y - self._above
        strip = self._strips.get(line)
        if strip is None:
            strip = self._strips[line] = self._draw(line)
            if len(self._strips) > 2_000:
                self._strips = {line: strip}
        return strip

    def _css_state(self) -> object:
        return (self.app.theme, self.visual_style)

    def _draw(self, line: int) -> Strip:
        width = self.scrollable_content_region.width
        index = bisect_right(self._tops, line) - 1
        if not 0 <= index < len(self.blocks) or line - self._tops[index] >= len(self.blocks[index].rows):
            return Strip.blank(width, self._style(""))
        block = self.blocks[index]
        row = block.rows[line - self._tops[index]]
        segments = self._segments(row)
        if row and block.key == self.picked and block.selectable:
            segments = self._pointed(segments, own=block.own)
        if self._left:
            segments = [Segment(" " * self._left, self._style("")), *segments]
        return Strip(segments).adjust_cell_length(width, self._style(""))

    def _segments(self, row: Row) -> list[Segment]:
        segments = []
        for span in row:
            style = self._style(span.role)
            if span.link:
                style += Style(link=span.link)
            if span.ink:
                style += ink_style(span.ink)
            if span.action:
                style += Style.from_meta({"action": span.action})
            segments.append(Segment(span.text, style))
        return segments

    def _pointed(self, segments: list[Segment], *, own: bool) -> list[Segment]:
        """The chosen message has a bar at its outer side."""
        bar = self._style("picked")
        if own:
            return [*segments, Segment("▐", bar)]
        return [Segment("▌", bar), *segments[1:]]

    def _style(self, role: str) -> Style:
        style = self._styles.get(role)
        if style is None:
            style = self.visual_style.rich_style
            for part in role.split():
                style += self.get_component_rich_style(f"messages--{part}", partial=True)
            self._styles[role] = style
        return style

    # -- scrolling and choosing ----------------------------------------------------------------------------
    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self._note_place()
            self.post_message(self.Wanted("moved"))

    def on_resize(self, event: events.Resize) -> None:
        self.post_message(self.Wanted("resized"))

    def action_newest(self) -> None:
        self.pick("")  # the next one that is chosen is the newest, not one far above it
        self.refresh_bindings()
        self.post_message(self.Wanted("newest"))

    def action_pick(self, step: int) -> None:
        """Choose the message above or below; the first one is the lowest on screen."""
        choices = [i for i, block in enumerate(self.blocks) if block.selectable]
        if not choices:
            return
        current = next((n for n, i in enumerate(choices) if self.blocks[i].key == self.picked), None)
        if current is None:
            bottom = self.scroll_offset.y + self._height
            visible = [n for n, i in enumerate(choices) if self._tops[i] < bottom]
            current = (visible or [0])[-1]
        else:
            current = max(0, min(len(choices) - 1, current + step))
        index = choices[current]
        self.pick(self.blocks[index].key)
        block_top = self._tops[index]
        self.scroll_to_region(
            Region(0, block_top, 1, min(len(self.blocks[index].rows), self._height)), animate=False
        )
        if step > 0 and current == len(choices) - 1:
            self._jump(self.max_scroll_y)

    def pick(self, key: str) -> None:
        self.picked = key
        self._strips.clear()
        self.refresh()

    def picked_block(self) -> Block | None:
        return next((block for block in self.blocks if block.key == self.picked), None)

    def _outgoing(self) -> Outgoing | None:
        block = self.picked_block()
        return block.outgoing if block is not None else None

    def action_copy(self) -> None:
        block = self.picked_block()
        if block is not None and block.message:
            self.app.copy_to_clipboard(block.message)
            self.app.notify("Copied", timeout=2)

    def action_failed(self, what: str) -> None:
        outgoing = self._outgoing()
        if outgoing is not None and outgoing.state == "failed":
            self.post_message(self.Acted(f"{what} {outgoing.message_id}"))

    def action_act(self, what: str) -> None:
        if self.picked:
            self.post_message(self.Acted(f"{what} {self.picked}"))

    def action_info(self) -> None:
        if self.check_action("info", ()):
            self.post_message(self.Acted(f"info {self.picked}"))

    def action_unfold(self) -> None:
        if self.picked:
            self.post_message(self.Acted(f"unfold {self.picked}"))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that do nothing for the chosen message are not in the footer."""
        if action in ("act", "failed"):
            outgoing = self._outgoing()
            failed = outgoing is not None and outgoing.state == "failed"
            return failed if action == "failed" else bool(self.picked) and not failed
        if action == "info":
            block = self.picked_block()
            return block is not None and block.own and bool(block.message_id)
        if action == "copy":
            block = self.picked_block()
            return block is not None and bool(block.message)
        return True

    def on_click(self, event: events.Click) -> None:
        action = event.style.meta.get("action")
        if action and event.button == 1:
            event.stop()
            self.post_message(self.Acted(str(action)))
            return
        line = event.y + self.scroll_offset.y - self._above
        index = bisect_right(self._tops, line) - 1
        if 0 <= index < len(self.blocks) and self.blocks[index].selectable:
            again = self.picked == self.blocks[index].key
            self.pick(self.blocks[index].key)
            self.refresh_bindings()
            if again or event.button == 3:  # the second click, and the right button
                self.post_message(self.Acted(f"menu {self.picked}"))


@lru_cache(4096)
def ink_style(colours: tuple[int, int]) -> Style:
    """Terminals with fewer colours get the nearest ones."""
    return Style.from_color(*(Color.from_rgb(one >> 16, one >> 8 & 255, one & 255) for one in colours))
