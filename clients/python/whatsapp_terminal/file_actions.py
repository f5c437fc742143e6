"""What keys, clicks and commands do with files: send, give up, look at, save, open elsewhere."""

from __future__ import annotations

import os
import pathlib
import re
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

from textual.binding import Binding, BindingType

from whatsapp_client import ClientError

from . import saving, text
from .attachment import File, media_id
from .cells import Block
from .explain import explain
from .file_screen import CAPTION, Chosen, FileScreen
from .message_actions import MessageActionScreen
from .picture_screen import PictureScreen
from .previews import Previews
from .sends import Sends, Wish, kind_of

COMMAND = "/file"
#: In double quotes, in single ones, or up to a space without a backslash.
_PATH = re.compile(r'"([^"]*)"|' r"'([^']*)'|((?:\\.|[^\s\\])+)")


class FileActionScreen(MessageActionScreen):
    """The part of the main screen that deals with files."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+o", "send_file", "Send a file", show=False, priority=True),
    ]

    def begin_files(self) -> None:
        """Go on with what an earlier program has begun."""
        self._notes: dict[str, str] = {}  # by the address of a file: what is done with it
        self._saved: dict[str, pathlib.Path] = {}
        self.previews = Previews(self.client, self._start_work, self._file_changed)
        self.sends = Sends(
            self.client, self._start_work, self._keep_sends, lambda conversation: self._file_changed()
        )
        self.sends.resume(list(self.app.settings.sends))

    def _start_work(self, work: Callable[[], Any]) -> Any:
        return self.run_worker(work, group="files")

    def _keep_sends(self, sends: list[dict[str, Any]]) -> None:
        self.app.settings.sends = sends
        self.app.save_settings()

    def _file_changed(self) -> None:
        if self.is_mounted:
            self.stale()

    def note_of(self, file: File) -> str:
        """What is being done with a file of this chat."""
        return self._notes.get(file.url, "")

    # -- sending ---------------------------------------------------------------------------------------------------
    def action_send_file(self) -> None:
        if self.open is not None and not self.open.closed:
            self.app.push_screen(FileScreen(), self._file_chosen)

    def submit(self, words: str) -> None:
        """``/file PATH caption`` sends a file, ``/file`` asks for one."""
        if self.writing.edit is not None or (words != COMMAND and not words.startswith(f"{COMMAND} ")):
            super().submit(words)
            return
        rest = words[len(COMMAND) :].strip()
        if not rest:
            self.action_send_file()
            return
        path, caption = split(rest)
        self._send_file(Chosen(path, caption[:CAPTION], True))

    def _file_chosen(self, chosen: Chosen | None) -> None:
        if chosen is None:
            return
        try:
            self._send_file(chosen)
        except (ValueError, OSError) as error:
            self.app.say(text.one_line(str(error))[:200], severity="error")
            self.app.push_screen(FileScreen(chosen.path, chosen.caption), self._file_chosen)

    def _send_file(self, chosen: Chosen) -> None:
        """Raises ValueError."""
        opened = self.open
        if opened is None:
            return
        if opened.closed:
            raise ValueError(f"{opened.closed}.")
        if self.writing.once:
            raise ValueError("A file cannot be sent to be viewed once. F7 takes that back.")
        path = os.path.abspath(os.path.expanduser(chosen.path))
        reply = self.writing.reply
        self.sends.add(
            Wish(
                opened.id,
                path,
                kind_of(path),
                chosen.caption,
                chosen.encrypted,
                reply.message_id if reply else "",
            )
        )
        if reply is not None:
            self.cancel_writing()
        opened.to_newest()
        self.stale()

    # -- what is said of a file ------------------------------------------------------------------------------------
    def message_action(self, action: str) -> bool:
        verb, _, key = action.partition(" ")
        if key.startswith("f ") and verb in ("delete", "cancel"):
            self.sends.give_up(key[2:])
            return True
        if key.startswith("f ") and verb in ("reply", "again"):
            self.sends.again(key[2:])
            return True
        if verb in ("look", "save", "elsewhere"):
            block = self.open.block(key) if self.open is not None else None
            if block is not None and block.facts.file is not None:
                self._with_file(verb, block, block.facts.file)
            return True
        return super().message_action(action)

    def _with_file(self, verb: str, block: Block, file: File) -> None:
        if not file.url:
            self.app.say("This file cannot be fetched.", severity="warning")
        elif verb == "look" and file.kind in ("image", "sticker"):
            small = block.facts.shape.pixels
            self.app.push_screen(PictureScreen(self.client, self._here, file, small))
        elif self.note_of(file):
            self.app.say("This file is on its way already.", timeout=3)
        else:
            self._start_work(partial(self._save, self._here, file, elsewhere=verb == "elsewhere"))

    def folder(self) -> pathlib.Path:
        return pathlib.Path(self.app.settings.folder or "~/Downloads").expanduser()

    async def _save(self, conversation_id: str, file: File, *, elsewhere: bool) -> None:
        try:
            path = self._saved.get(file.url)
            if path is None or not path.is_file():
                path = self._saved[file.url] = await self._fetched(conversation_id, file)
                self.app.say(f"Saved as {text.one_line(str(path))}")
            if elsewhere:
                self._open_elsewhere(path)
        except ClientError as error:
            self.app.say(f"Not saved: {explain(error)}", severity="error")
        except (OSError, ValueError) as error:
            self.app.say(f"Not saved: {text.one_line(str(error))[:200]}", severity="error")
        finally:
            self._notes.pop(file.url, None)
            self._file_changed()

    async def _fetched(self, conversation_id: str, file: File) -> pathlib.Path:
        """Where it is now. What came before a cut is gone on with, by the next program too."""
        folder = self.folder()
        folder.mkdir(parents=True, exist_ok=True)

        def progress(done: int, total: int) -> None:
            self._notes[file.url] = f"Saving… {100 * done // max(1, total)} %"
            self._file_changed()

        progress(0, 1)
        arrived = folder / f".whatsapp-{media_id(file.url)}"
        await self.client.media.download(
            file.url, arrived, conversation_id=conversation_id, key=file.sealed, progress=progress
        )
        return saving.keep(arrived, folder, saving.safe_name(file))

    def _open_elsewhere(self, path: pathlib.Path) -> None:
        if not saving.may_open(path):
            self.app.say(
                "Only pictures, sound, films, plain text and PDF are opened from here.", severity="warning"
            )
            return
        try:
            saving.open_elsewhere(path)
        except OSError:
            self.app.say("There is no xdg-open here.", severity="warning")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "send_file":
            return self.app.screen is self and self.open is not None and not self.open.closed
        return super().check_action(action, parameters)


def split(rest: str) -> tuple[str, str]:
    """Path and caption of a command. The path stands in quotes, or has ``\\`` before its spaces, or is all there is. Raises
    ValueError for a quote that is not closed."""
    if os.path.isfile(os.path.expanduser(rest)):
        return rest, ""
    found = _PATH.match(rest)
    if found is None or (rest[0] in "'\"" and found[3]):
        raise ValueError("A quote is not closed.")
    path = found[1] or found[2] or re.sub(r"\\(.)", r"\1", found[3] or "")
    return path, rest[found.end() :].strip()
