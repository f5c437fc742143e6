"""Somebody with files in a whole system, whose parts for media a test may kill and freeze."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import signal
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from devtools.processes import children
from media.storage import Storage
from tests.faults.rig import Rig
from tests.gateway.peer import Peer, talking
from tests.gateway.phone import Phone
from tests.media.test_uploads import Uploads
from tests.support.buckets import bucket
from tests.support.patience import LONG, until
from tests.support.stack import System
from whatsapp.wire import frames

#: How often beat looks for media that wait, in these systems (ms).
WAITING_MS = 2_000
#: More than a worker's lease, and than the first wait of what a server that was away made wait (``media/services/work.py``).
LATER_MS = 61_000
#: Without any progress, of the storage and of the scanner (ms).
PATIENCE_MS = 1_000
#: At once, of one process.
UPLOADS = 8
PARTS = ("s3", "clamd", "postgres", "valkey", "gateway-1", "gateway-2", "worker-1", "beat")
MIB = 2**20
#: For work that shares the processors with other tests (s).
PATIENCE_S = 2 * LONG


def system(folder: Path) -> System:
    """Two gateways, a worker, beat, a bucket, a scanner; the worker keeps what it works on in ``folder``."""
    env = {
        "WHATSAPP_TEST_BUILD": "1", "MEDIA_FOLDER": str(folder), "MEDIA_WAITING_MS": str(WAITING_MS),
        "S3_TIMEOUT_MS": str(PATIENCE_MS), "S3_TRANSFER_TIMEOUT_MS": str(PATIENCE_MS), "S3_FINISH_TIMEOUT_MS": "5000",
        "S3_BREAKER_OPEN_MS": str(PATIENCE_MS), "CLAMD_TIMEOUT_MS": str(PATIENCE_MS),
    }  # fmt: skip
    return System(env=env, limits={"media_uploads": UPLOADS}, beat=True, s3=True, scanner=True)


class Album:
    """Ann, whose phone is connected, her conversation with Bob, who is, too, and what she uploads."""

    def __init__(self, rig: Rig, ann: Peer, bob: Peer, conversation: str) -> None:
        assert ann.phone is not None
        self.rig, self.ann, self.bob, self.conversation = rig, ann, bob, conversation
        self.phone: Phone = ann.phone
        self.tus = Uploads(self.phone)
        self.before = set(coming(self.storage()))

    # uploads

    async def post(
        self, data: bytes, kind: str, media_type: str, base: str = "", **fields: str
    ) -> httpx.Response:
        """A form."""
        told = {"fileType": kind, "conversationId": self.conversation, **fields}
        base = base or self.rig.system.http
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=LONG, base_url=base) as client:
            return await client.post(
                "/media/upload",
                data=told,
                files={"file": ("file", data, media_type)},
                headers=self.tus.headers,
            )

    async def sent(self, data: bytes, kind: str = "image", media_type: str = "image/jpeg") -> str:
        """A file that is stored; its id. As :meth:`_answer`: a bucket that was frozen before may end connections for a while."""
        answer = await self._answer(lambda: self.post(data, kind, media_type))
        assert answer.status_code == 200, answer.text
        return str(answer.json()["mediaId"])

    async def begin(self, length: int) -> str:
        """The address of an upload of a document that is end-to-end encrypted."""
        return await self.tus.begin(self.conversation, length)

    async def patch(self, path: str, offset: int, length: int, body: AsyncIterator[bytes]) -> int:
        """Send bytes as they come; the status of the answer, 503 too where the connection ends without one."""
        headers = {
            **self.tus.headers, "Upload-Offset": str(offset), "Content-Type": "application/offset+octet-stream",
            "Content-Length": str(length),
        }  # fmt: skip
        base = self.rig.system.http
        async with httpx.AsyncClient(trust_env=False, verify=False, timeout=LONG, base_url=base) as client:
            try:
                return (await client.patch(path, content=body, headers=headers)).status_code
            except httpx.TransportError:
                return 503

    async def _told(self, path: str) -> httpx.Response:
        return await self._answer(lambda: self.phone.rest("GET", path))

    async def _answer(self, ask: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
        """Pools find out one by one that connections of an earlier server have ended: what is unavailable is asked again."""

        async def asked() -> httpx.Response | None:
            answer = await ask()
            return answer if answer.status_code != 503 else None

        found: httpx.Response = await until(asked, "it is answered", LONG)
        return found

    async def known(self, media: str) -> dict[str, Any]:
        answer = await self._told(f"/media/{media}")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def state(self, media: str) -> str:
        return str((await self.known(media))["state"])

    async def becomes(self, media: str, state: str) -> dict[str, Any]:
        """Until its owner's device is told that it is in this state, which it is then."""
        told = {"mediaId": media, "state": state}
        await self.ann.take(
            lambda frame: isinstance(frame, frames.Notice) and told.items() <= frame.data.items(),
            f"notice {told}",
            PATIENCE_S,
        )
        known = await self.known(media)
        assert known["state"] == state
        return known

    async def fetched(self, media: str, **query: str) -> bytes:
        answer = await self._told(f"/media/{media}/content?{httpx.QueryParams(query)}")
        assert answer.status_code == 302, answer.text
        async with httpx.AsyncClient(trust_env=False, timeout=LONG) as client:
            found = await client.get(answer.headers["Location"])
        assert found.status_code == 200, found.text
        return found.content

    async def text_goes_on(self) -> None:
        tick = await self.ann.say(self.conversation, "meanwhile")
        assert tick.status == "sent"
        await self.bob.expect(frames.Message, seq=tick.seq)

    # what is kept

    def storage(self) -> Storage:
        media = self.rig.system.stack.media
        assert media.s3 is not None
        return bucket(media.s3.variables())

    async def nothing_is_left(self, folder: Path, *, but: str = "nothing") -> None:
        """Of this test, neither in the folder of the worker nor in the bucket, but files that may be fetched, and ``but``: a
        pattern."""
        storage = self.storage()

        def left() -> list[str]:
            found = [*map(str, folder.iterdir()), *coming(storage)]
            return [one for one in found if one not in self.before and not re.fullmatch(but, one)]

        loop = asyncio.get_running_loop()
        deadline = loop.time() + LONG
        while found := await asyncio.to_thread(left):
            assert loop.time() < deadline, found
            await asyncio.sleep(0.1)

    # time and faults

    def later(self) -> None:
        """Leases of the dead have ended, and what waited for a server is tried again."""
        self.rig.move_clock(LATER_MS)

    def freeze(self, name: str, number: int = signal.SIGSTOP) -> None:
        """A part with all its children, which PostgreSQL's backends are."""
        pid = self.rig.system.processes[name]
        assert pid is not None
        for one in [pid, *children(pid)]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(one, number)

    def thaw(self, name: str) -> None:
        self.freeze(name, signal.SIGCONT)

    async def run(self, name: str) -> None:
        """A killed part again, as a supervisor starts it: again and again while its predecessor's children end."""

        async def runs() -> bool:
            with contextlib.suppress(Exception):
                await self.rig.run(name)
                return True
            return False

        await until(runs, f"{name} runs again", LONG)


def coming(storage: Storage) -> list[str]:
    """What a storage has of uploads that are not done with."""
    return [*(entry.key for entry in storage.keys("incoming/")), *map(str, storage.open_uploads(2**53))]


@asynccontextmanager
async def album(rig: Rig) -> AsyncIterator[Album]:
    """In a sound system; afterwards it is repaired."""
    async with talking(rig.system) as (ann, bob, conversation):
        made = Album(rig, ann, bob, conversation)
        try:
            yield made
        finally:
            for name in PARTS:
                if rig.system.processes[name] is None:
                    await made.run(name)
                else:
                    made.thaw(name)
            await rig.repair()


def clip(path: Path, seconds: int) -> bytes:
    """A video of noise, which takes longer to make anew than to show."""
    subprocess.run(
        [
            *("ffmpeg", "-v", "error", "-y", "-f", "lavfi"),
            *("-i", f"testsrc2=size=320x240:rate=10:duration={seconds}"),
            *(
                "-vf",
                "noise=alls=40:allf=t",
                "-c:v",
                "libx264",
                "-preset",
                "ultrafast",
                "-crf",
                "30",
                str(path),
            ),
        ],
        check=True,
    )
    return path.read_bytes()


def some_bytes(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)
