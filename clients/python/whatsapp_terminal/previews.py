"""What is seen of files before anybody opens them: small pictures, lengths and waveforms, of what is on the screen."""

from __future__ import annotations

import asyncio
import pathlib
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Iterable

from whatsapp_client import ClientError

from . import file_rows, sound
from .attachment import PICTURES, SOUNDS, File
from .backend import Backend
from .decoding import decode
from .facts import Shape
from .sound import Sound

KEPT = 300  # of a few KB each
AT_ONCE = 2
PATIENCE = 30.0  # s for one of them: nobody keeps the others waiting
#: Bytes that are fetched without being asked for: a small picture, a voice note.
PICTURE, NOTE, WAVEFORM = 262_144, 2 * 2**20, 4_096
NOTHING = Shape()


class Previews:
    """``start(work)``: runs it beside the drawing. ``changed()``: there is more to see."""

    def __init__(
        self, client: Backend, start: Callable[[Callable[[], object]], None], changed: Callable[[], None]
    ) -> None:
        self._client, self._start, self._changed = client, start, changed
        self._shapes: OrderedDict[tuple[str, str], Shape] = OrderedDict()
        self._wanted: OrderedDict[tuple[str, str], File] = OrderedDict()
        self._running = 0

    def shape(self, conversation_id: str, file: File) -> Shape:
        """What is known by now."""
        return self._shapes.get((conversation_id, file.url), NOTHING)

    def want(self, conversation_id: str, files: Iterable[File]) -> None:
        """These are on the screen; the last ones asked for come first. What could not be had is not asked for again."""
        for file in files:
            key = (conversation_id, file.url)
            if file.url and file.kind in PICTURES + SOUNDS and key not in self._shapes:
                self._wanted[key] = file
                self._wanted.move_to_end(key)
        while len(self._wanted) > KEPT:
            self._wanted.popitem(last=False)
        while self._wanted and self._running < AT_ONCE:
            self._running += 1
            self._start(self._work)

    async def _work(self) -> None:
        try:
            while self._wanted:
                key, file = self._wanted.popitem()
                if key in self._shapes:
                    continue
                self._shapes[key] = NOTHING  # nobody else begins with it
                try:
                    async with asyncio.timeout(PATIENCE):
                        self._shapes[key] = await self._look(key[0], file)
                except (
                    TimeoutError
                ):  # the server is away, or still works on it: asked again while it is on the screen
                    self._shapes.pop(key, None)
                except (ClientError, OSError, ValueError):
                    pass  # there is none for us, or none that can be shown
                while len(self._shapes) > KEPT:
                    self._shapes.popitem(last=False)
                self._changed()
        finally:
            self._running -= 1

    async def _look(self, conversation_id: str, file: File) -> Shape:
        with tempfile.TemporaryDirectory(prefix="whatsapp-chat-") as folder:
            place = pathlib.Path(folder, "file")
            if file.kind in SOUNDS:
                return Shape(sound=await self._sound(conversation_id, file, place))
            if not await self._picture(conversation_id, file, place):
                return NOTHING
            return Shape(pixels=await decode(place, file_rows.WIDTH, 2 * file_rows.HEIGHT))

    async def _picture(self, conversation_id: str, file: File, place: pathlib.Path) -> bool:
        """The small one, in ``place``."""
        media, sealed = self._client.media, file.sealed
        if sealed is None:
            await media.download(
                file.url, place, conversation_id=conversation_id, rendition="thumb", most=PICTURE
            )
            return True
        data = sealed.thumbnail or await media.thumbnail(sealed, conversation_id=conversation_id)
        await asyncio.to_thread(place.write_bytes, data)
        return bool(data)

    async def _sound(self, conversation_id: str, file: File, place: pathlib.Path) -> Sound | None:
        media = self._client.media
        if file.sealed is not None and file.size > NOTE:
            return None
        await media.download(
            file.url, place, conversation_id=conversation_id, key=file.sealed, most=NOTE + NOTE // 64
        )
        found = sound.look(await asyncio.to_thread(place.read_bytes))
        if file.sealed is not None:
            return found
        await media.download(
            file.url, place, conversation_id=conversation_id, rendition="waveform", most=WAVEFORM
        )
        levels = await asyncio.to_thread(place.read_bytes)
        return Sound(found.duration_ms if found is not None else 0, sound.bars(levels))
