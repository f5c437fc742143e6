"""Files on their way: written down in the settings before they begin, so that the next program goes on with them, and each is
sent once."""

from __future__ import annotations

import asyncio
import mimetypes
import pathlib
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any

from whatsapp_client import ClientError, RestError, Sealed

from . import text
from .backend import Backend
from .explain import explain

MOST = 50  # at once
_KINDS = {"image": "image", "video": "video", "audio": "audio"}


def kind_of(path: str) -> str:
    """The kind of message for a file, by its name."""
    media_type = mimetypes.guess_type(path)[0] or ""
    if media_type in ("image/svg+xml", "image/x-icon"):
        return "document"
    return _KINDS.get(media_type.partition("/")[0], "document")


@dataclass(slots=True)
class Wish:
    """What is to be sent. ``id``: of the message. ``encrypted``: end to end; otherwise the server looks into it. ``failed``: why
    it does not go on by itself."""

    conversation: str
    path: str
    kind: str
    caption: str = ""
    encrypted: bool = True
    reply_to: str = ""
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    failed: str = ""

    @property
    def name(self) -> str:
        return pathlib.PurePath(self.path).name

    @classmethod
    def read(cls, data: Any) -> Wish | None:
        """From the settings; None for what is none."""
        if not isinstance(data, dict):
            return None
        try:
            made = cls(**data)
        except TypeError:
            return None
        texts = (made.conversation, made.path, made.kind, made.caption, made.reply_to, made.id, made.failed)
        return made if all(isinstance(each, str) for each in texts) else None


@dataclass(slots=True)
class Send:
    """``done`` of ``total`` bytes are there; ``percent``: of the server's work behind them, -1: it has not begun."""

    wish: Wish
    done: int = 0
    total: int = 0
    percent: int = -1
    worker: Any = None
    given_up: bool = False


class Sends:
    """``start(work)`` runs it beside the drawing and gives something with ``cancel()``. ``keep(list)`` writes down what is to be
    gone on with. ``changed(conversation)``: there is something else to be seen."""

    def __init__(
        self, client: Backend, start: Callable[[Callable[[], Any]], Any], keep: Callable[[list[dict[str, Any]]], None],
        changed: Callable[[str], None],
    ) -> None:  # fmt: skip
        self._client, self._start, self._keep, self._changed = client, start, keep, changed
        self._sends: dict[str, Send] = {}

    def resume(self, kept: list[dict[str, Any]]) -> None:
        """Go on with what an earlier program has begun."""
        for each in kept[:MOST]:
            wish = Wish.read(each)
            if wish is not None and wish.id not in self._sends:
                send = self._sends[wish.id] = Send(wish)
                if not wish.failed:
                    self._begin(send)

    def add(self, wish: Wish) -> None:
        """Raises ValueError for what is no file, and when too many are on their way."""
        path = pathlib.Path(wish.path)
        if not path.is_file():
            raise ValueError(f"There is no file {text.cut(text.one_line(wish.path), 60)}.")
        if not path.stat().st_size:
            raise ValueError("This file is empty.")
        if len(self._sends) >= MOST:
            raise ValueError(f"{MOST} files are on their way already.")
        send = self._sends[wish.id] = Send(wish, total=path.stat().st_size)
        self._save()
        self._begin(send)

    def of(self, conversation_id: str) -> list[Send]:
        return [send for send in self._sends.values() if send.wish.conversation == conversation_id]

    def again(self, send_id: str) -> None:
        """After a refusal."""
        send = self._sends.get(send_id)
        if send is not None and send.wish.failed:
            send.wish.failed = ""
            self._save()
            self._begin(send)

    def give_up(self, send_id: str) -> None:
        """It is not sent; what the server has of it is deleted there."""
        send = self._sends.pop(send_id, None)
        if send is None:
            return
        send.given_up = True
        self._save()
        if send.worker is not None:
            send.worker.cancel()
        self._start(partial(self._forget, send.wish))
        self._changed(send.wish.conversation)

    def _begin(self, send: Send) -> None:
        send.done, send.percent = 0, -1
        send.worker = self._start(partial(self._run, send))
        self._changed(send.wish.conversation)

    def _save(self) -> None:
        self._keep([asdict(send.wish) for send in self._sends.values()])

    async def _run(self, send: Send) -> None:
        wish = send.wish

        def progress(done: int, total: int) -> None:
            send.done, send.total = done, total
            self._changed(wish.conversation)

        def processing(percent: int) -> None:
            send.percent = percent
            self._changed(wish.conversation)

        try:
            # An earlier program may have queued it and died before it could say so here.
            if self._client.shown(wish.conversation, wish.id) is None:
                await self._client.send_file(
                    wish.conversation, wish.path, kind=wish.kind, progress=progress, processing=processing, message_id=wish.id,
                    **self._how(wish), **({"replyTo": wish.reply_to} if wish.reply_to else {}),
                )  # fmt: skip
        except (ClientError, OSError, ValueError) as error:
            if not send.given_up:
                wish.failed = _why(error)
        else:
            self._sends.pop(wish.id, None)
        if not send.given_up:
            self._save()
        self._changed(wish.conversation)

    @staticmethod
    def _how(wish: Wish) -> dict[str, Any]:
        if not wish.encrypted:
            return {"content": wish.caption}
        return {"seal": Sealed.to_bytes, "name": wish.name, "caption": wish.caption}

    async def _forget(self, wish: Wish) -> None:
        media = self._client.media
        for _ in range(100):  # until the one that was cancelled has let go of it
            try:
                found = media.unfinished_of(
                    wish.conversation, wish.path, kind=wish.kind, encrypted=wish.encrypted
                )
                if found is not None:
                    await media.give_up(found)
                return
            except ValueError:
                await asyncio.sleep(0.05)
            except (ClientError, OSError):
                return  # it is forgotten by itself, after a day there and a week here


def _why(error: Exception) -> str:
    if isinstance(error, RestError) and error.code == "not_found":
        return "You cannot write to this chat."
    if isinstance(error, ClientError):
        return explain(error)
    if isinstance(error, OSError):
        return f"The file cannot be read: {text.one_line(error.strerror or str(error))[:100]}."
    return text.one_line(str(error))[:200]
