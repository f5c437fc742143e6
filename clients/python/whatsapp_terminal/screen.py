"""Lines that come and go above a prompt. With a terminal the prompt is redrawn and ticks change in place;
without one every line is plain."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import sys
import termios
import threading
import tty
from collections.abc import Callable
from typing import Protocol

from .line_editor import Key, LineEditor, cells

#: C0 and C1 controls, line separators, and what turns the direction of the text around.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def harmless(text: str) -> str:
    """What other people write, without control characters: a message must not move our cursor or set our
    title."""
    return _CONTROL.sub(
        "\N{REPLACEMENT CHARACTER}", text.replace("\r\n", " ⏎ ").replace("\n", " ⏎ ")
    ).replace("\t", " ")


class Line(Protocol):
    """A printed line whose first cells can still change."""

    def mark(self, mark: str) -> None: ...


class Screen(Protocol):
    """Where the chat is shown."""

    #: Whether keys are seen as they are pressed (typing can be told to the other side).
    interactive: bool
    #: Called at each edit with the text of the line.
    on_edit: Callable[[str], None] | None

    def line(self, text: str, *, mark: str = "", dim: bool = False) -> Line: ...
    def prompt(self, text: str) -> None: ...
    async def read(self) -> str | None:
        """The next line entered; None: the end of input."""
        ...

    def __enter__(self) -> Screen: ...
    def __exit__(self, *error: object) -> None: ...


#: Columns in front of a message that show its ticks.
MARK_WIDTH = 8


class PlainScreen:
    """For pipes and files: a change of a mark is a line of its own."""

    interactive = False

    def __init__(self) -> None:
        self.on_edit: Callable[[str], None] | None = None
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()

    def __enter__(self) -> PlainScreen:
        loop = asyncio.get_running_loop()

        def pump() -> None:
            for text in sys.stdin:
                loop.call_soon_threadsafe(self._lines.put_nowait, text.rstrip("\n"))
            loop.call_soon_threadsafe(self._lines.put_nowait, None)

        # A daemon: a read of a pipe cannot be interrupted, and must not hold up the end.
        threading.Thread(target=pump, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def line(self, text: str, *, mark: str = "", dim: bool = False) -> Line:
        print(f"{mark} {text}" if mark else text, flush=True)
        return _PlainLine(text)

    def prompt(self, text: str) -> None:
        pass

    async def read(self) -> str | None:
        return await self._lines.get()


class _PlainLine:
    def __init__(self, text: str) -> None:
        self._text = text

    def mark(self, mark: str) -> None:
        print(f"{mark} {self._text}", flush=True)


class TerminalScreen:
    """A terminal in character mode. All output goes through it, so the line being edited is never torn."""

    interactive = True

    def __init__(self) -> None:
        self.on_edit: Callable[[str], None] | None = None
        self._editor = LineEditor()
        self._prompt = ""
        self._entered: asyncio.Queue[str | None] = asyncio.Queue()
        self._rows = 0  # printed since the start
        self._since_resize = 0
        self._input = sys.stdin.fileno()
        self._saved: list[object] = []
        self._size = shutil.get_terminal_size()

    def __enter__(self) -> TerminalScreen:
        self._saved = termios.tcgetattr(self._input)
        tty.setcbreak(self._input, termios.TCSADRAIN)  # keeps what was typed ahead
        loop = asyncio.get_running_loop()
        loop.add_reader(self._input, self._readable)
        loop.add_signal_handler(signal.SIGWINCH, self._resized)
        self._draw()
        return self

    def __exit__(self, *error: object) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._input)
        loop.remove_signal_handler(signal.SIGWINCH)
        termios.tcsetattr(self._input, termios.TCSADRAIN, self._saved)  # type: ignore[arg-type]
        self._write("\r\x1b[K")

    def line(self, text: str, *, mark: str = "", dim: bool = False) -> Line:
        shown = f"\x1b[2m{text}\x1b[22m" if dim else text
        space = MARK_WIDTH + 1 if mark else 0
        line = _TerminalLine(self, self._rows)
        prefix = f"{_pad(mark)} " if mark else ""
        self._write(f"\r\x1b[K{prefix}{shown}\n")
        self._rows += max(1, -(-(cells(text) + space) // max(1, self._size.columns)))
        self._draw()
        return line

    def change(self, row: int, mark: str) -> bool:
        """Write a mark into an earlier row; False when it has scrolled away."""
        up = self._rows - row
        if row < self._since_resize or up >= self._size.lines:
            return False
        self._write(f"\r\x1b[{up}A{_pad(mark)}\x1b[{up}B\r")
        self._draw()
        return True

    def prompt(self, text: str) -> None:
        if text != self._prompt:
            self._prompt = text
            self._draw()

    async def read(self) -> str | None:
        return await self._entered.get()

    # -- inside --------------------------------------------------------------------------------------------
    def _readable(self) -> None:
        data = os.read(self._input, 4096)
        if not data:
            self._entered.put_nowait(None)
            asyncio.get_running_loop().remove_reader(self._input)
            return
        for pressed in self._editor.feed(data):
            if pressed.key is Key.END:
                self._entered.put_nowait(None)
            elif pressed.key is Key.ENTER:
                self._entered.put_nowait(pressed.line)
        if self.on_edit is not None:
            self.on_edit(self._editor.text)
        self._draw()

    def _resized(self) -> None:
        # Rows have wrapped anew: where earlier lines are is not known any more.
        self._size = shutil.get_terminal_size()
        self._since_resize = self._rows
        self._draw()

    def _draw(self) -> None:
        """The prompt and the line being edited, in one row."""
        room = max(8, self._size.columns - cells(self._prompt) - 1)
        prompt = self._prompt if cells(self._prompt) + 8 < self._size.columns else "> "
        shown, cursor = self._editor.view(room)
        column = cells(prompt) + cursor
        move = f"\r\x1b[{column}C" if column else "\r"
        self._write(f"\r\x1b[K\x1b[1m{prompt}\x1b[22m{shown}{move}")

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


class _TerminalLine:
    def __init__(self, screen: TerminalScreen, row: int) -> None:
        self._screen = screen
        self._row = row

    def mark(self, mark: str) -> None:
        self._screen.change(self._row, mark)  # one that scrolled away is out of sight


def _pad(mark: str) -> str:
    colored = f"\x1b[36m{mark}\x1b[39m" if "read" in mark else mark
    return colored + " " * max(0, MARK_WIDTH - cells(mark))


def open_screen() -> Screen:
    """A terminal if both ends are one, else plain lines."""
    if sys.stdin.isatty() and sys.stdout.isatty():
        return TerminalScreen()
    return PlainScreen()
