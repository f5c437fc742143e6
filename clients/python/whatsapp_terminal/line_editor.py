"""One editable line, fed with what a terminal in character mode sends."""

from __future__ import annotations

import codecs
import enum
import re
import unicodedata
from dataclasses import dataclass

_ESCAPE = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|O[@-~]|.)")
_UNFINISHED = re.compile(r"\x1b(\[[0-9;?]*[ -/]*|O)?$")
_KEEP_LINES = 200


class Key(enum.Enum):
    """What happened to the line."""

    EDITED = "edited"
    ENTER = "enter"
    END = "end"  # Ctrl-D on an empty line


@dataclass(frozen=True, slots=True)
class Pressed:
    key: Key
    line: str = ""


def cells(text: str) -> int:
    """Columns that ``text`` takes on a terminal."""
    return sum(_width(character) for character in text)


def _width(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Cf", "Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


class LineEditor:
    """Text, cursor and earlier lines. Knows the usual keys: arrows, Home, End, Delete, Ctrl-A E K U W,
    Ctrl-D."""

    def __init__(self) -> None:
        self.text = ""
        self.cursor = 0
        self._earlier: list[str] = []
        self._recalled = 0  # how far back in the earlier lines
        self._draft = ""
        self._rest = ""
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def feed(self, data: bytes) -> list[Pressed]:
        """Everything that happened, in order. Bytes may end inside a character or an escape sequence."""
        text = self._rest + self._decode(data)
        self._rest = ""
        if unfinished := _UNFINISHED.search(text):
            text, self._rest = text[: unfinished.start()], unfinished.group()
        pressed: list[Pressed] = []
        position = 0
        while position < len(text):
            if match := _ESCAPE.match(text, position):
                self._escape(match.group(1))
                position = match.end()
                pressed.append(Pressed(Key.EDITED))
                continue
            pressed.append(self._character(text[position]))
            position += 1
        return pressed

    def view(self, width: int) -> tuple[str, int]:
        """The part of the text around the cursor that fits ``width`` columns, and the cursor's column in
        it."""
        start = self.cursor
        used = 0
        while start > 0 and used + _width(self.text[start - 1]) < width:
            start -= 1
            used += _width(self.text[start])
        end = start
        shown = 0
        while end < len(self.text) and shown + _width(self.text[end]) < width:
            shown += _width(self.text[end])
            end += 1
        return self.text[start:end], used

    # -- keys ----------------------------------------------------------------------------------------------
    def _character(self, character: str) -> Pressed:
        if character in "\r\n":
            line, self.text, self.cursor = self.text, "", 0
            if line and (not self._earlier or self._earlier[-1] != line):
                self._earlier = [*self._earlier[-_KEEP_LINES:], line]
            self._recalled = 0
            return Pressed(Key.ENTER, line)
        match character:
            case "\x04":
                if not self.text:
                    return Pressed(Key.END)
                self._delete()
            case "\x7f" | "\x08":
                if self.cursor:
                    self.cursor -= 1
                    self._delete()
            case "\x01":
                self.cursor = 0
            case "\x05":
                self.cursor = len(self.text)
            case "\x0b":
                self.text = self.text[: self.cursor]
            case "\x15":
                self.text, self.cursor = self.text[self.cursor :], 0
            case "\x17":
                kept = re.sub(r"\S*\s*$", "", self.text[: self.cursor])
                self.text, self.cursor = kept + self.text[self.cursor :], len(kept)
            case "\t":
                self._insert(" ")
            case _ if character.isprintable() or (_width(character) == 0 and character >= "\xa0"):
                self._insert(character)
        return Pressed(Key.EDITED)

    def _escape(self, sequence: str) -> None:
        match sequence:
            case "[D" | "OD":
                self.cursor = max(0, self.cursor - 1)
            case "[C" | "OC":
                self.cursor = min(len(self.text), self.cursor + 1)
            case "[H" | "OH" | "[1~" | "[7~":
                self.cursor = 0
            case "[F" | "OF" | "[4~" | "[8~":
                self.cursor = len(self.text)
            case "[3~":
                self._delete()
            case "[A" | "OA":
                self._recall(+1)
            case "[B" | "OB":
                self._recall(-1)

    def _insert(self, character: str) -> None:
        self.text = self.text[: self.cursor] + character + self.text[self.cursor :]
        self.cursor += 1

    def _delete(self) -> None:
        self.text = self.text[: self.cursor] + self.text[self.cursor + 1 :]

    def _recall(self, step: int) -> None:
        wanted = min(len(self._earlier), max(0, self._recalled + step))
        if wanted == self._recalled:
            return
        if self._recalled == 0:
            self._draft = self.text
        self._recalled = wanted
        self.text = self._earlier[-wanted] if wanted else self._draft
        self.cursor = len(self.text)
