"""Uploads over sockets: what a gateway takes while it comes, and what is left after a cut."""

from __future__ import annotations

import asyncio
import base64
import io
import random
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from tests.gateway.phone import Phone, Runs, couple
from tests.media.test_process import photo
from tests.support import plain
from tests.support.patience import until

pytestmark = pytest.mark.needs_system

MIB = 2**20


class Uploads:
    """tus 1.0 of one device, over connections that may be cut."""

    def __init__(self, phone: Phone) -> None:
        self.phone = phone
        self.headers = {"Authorization": f"Bearer {phone.token}", "Tus-Resumable": "1.0.0"}

    async def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> httpx.Response:
        async with plain.AsyncClient(timeout=60, base_url=self.phone.system.http) as client:
            return await client.request(
                method,
                path,
                content=body,
                headers={**self.headers, **{n.replace("_", "-"): v for n, v in headers.items()}},
            )

    async def begin(self, conversation: str, length: int) -> str:
        told = {"fileType": "document", "conversationId": conversation, "encrypted": "true"}
        metadata = ",".join(
            f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in told.items()
        )
        answer = await self.ask("POST", "/media/tus", Upload_Length=str(length), Upload_Metadata=metadata)
        assert answer.status_code == 201, answer.text
        return answer.headers["Location"]

    async def offset(self, path: str) -> int:
        answer = await self.ask("HEAD", path)
        assert answer.status_code == 200, answer.text
        return int(answer.headers["Upload-Offset"])

    async def cut(self, path: str, offset: int, data: bytes, total: int) -> None:
        """Say that ``total`` bytes come, send ``data``, and be gone."""
        url = httpx.URL(self.phone.system.http)
        _, writer = await asyncio.open_connection(url.host, url.port)
        head = [
            f"PATCH {path} HTTP/1.1",
            f"Host: {url.host}",
            f"Content-Length: {total}",
            "Content-Type: application/offset+octet-stream",
            f"Upload-Offset: {offset}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        writer.write(("\r\n".join(head) + "\r\n\r\n").encode() + data)
        await writer.drain()
        writer.close()

    async def send(self, path: str, offset: int, data: bytes, **headers: str) -> httpx.Response:
        return await self.ask(
            "PATCH",
            path,
            data,
            Upload_Offset=str(offset),
            Content_Type="application/offset+octet-stream",
            **headers,
        )


@pytest.fixture
async def ann(stack: Runs) -> tuple[Uploads, str]:
    ann, _, conversation = await couple(stack)
    return Uploads(ann), conversation


@pytest.mark.parametrize("seed", range(3))
async def test_a_cut_at_any_byte(ann: tuple[Uploads, str], seed: int) -> None:
    """What the server says it has it has; the client goes on there, and the file is whole."""
    tus, conversation = ann
    chance = random.Random(seed)
    data = chance.randbytes(12 * MIB + chance.randrange(MIB))
    path = await tus.begin(conversation, len(data))
    offset, cuts = 0, 0
    while cuts < 8:
        size = chance.choice([0, 1, chance.randrange(200_000), chance.randrange(4 * MIB)])
        await tus.cut(path, offset, data[offset : offset + size], len(data) - offset)
        known = offset

        async def moved(known: int = known, size: int = size) -> bool:
            return size == 0 or await tus.offset(path) > known

        # A cut resets a connection: bytes that were on their way may be lost, but not those that were said to be there.
        try:
            await asyncio.wait_for(until(moved, "some of it arrived"), 3)
        except (AssertionError, TimeoutError):
            pass
        offset = await tus.offset(path)
        assert known <= offset <= known + size
        cuts += 1
    answer = await tus.send(path, offset, data[offset:])
    assert answer.status_code == 204, answer.text
    assert answer.headers["Upload-Offset"] == str(len(data))
    assert await content(tus, path) == data


async def content(tus: Uploads, path: str) -> bytes:
    """What is stored in the folder of the system."""
    found: list[Any] = list((tus.phone.system.data / "media").glob(f"incoming/{path.rpartition('/')[2]}"))
    assert len(found) == 1, found
    data: bytes = found[0].read_bytes()
    return data


async def test_a_refused_body_is_not_waited_for(ann: tuple[Uploads, str]) -> None:
    """The answer comes although the client goes on sending, and the connection ends."""
    tus, conversation = ann
    path = await tus.begin(conversation, 50 * MIB)
    answer = await tus.send(path, 7, bytes(50 * MIB))
    assert answer.status_code == 409
    assert answer.json()["details"] == {"offset": 0}


async def test_a_large_file_is_held_by_nobody(ann: tuple[Uploads, str]) -> None:
    """Neither in memory nor on the way to the storage."""
    tus, conversation = ann
    system = tus.phone.system
    size = 160 * MIB
    path = await tus.begin(conversation, size)

    async def body() -> Any:
        for _ in range(size // MIB):
            yield bytes(MIB)

    before = {name: peak(system, name) for name in ("gateway-1", "gateway-2", "api-1")}
    headers = {
        **tus.headers, "Upload-Offset": "0", "Content-Type": "application/offset+octet-stream", "Content-Length": str(size),
    }  # fmt: skip
    async with plain.AsyncClient(timeout=100, base_url=system.http) as client:
        answer = await client.patch(path, content=body(), headers=headers)
    assert answer.status_code == 204, answer.text
    grown = {name: peak(system, name) - known for name, known in before.items()}
    assert max(grown.values()) < 48 * MIB, grown
    assert len(await content(tus, path)) == size


def peak(system: Runs, name: str) -> int:
    """The most memory that a process has had, bytes."""
    status = Path(f"/proc/{system.processes[name]}/status").read_text()
    return 1024 * int(re.search(r"VmHWM:\s+(\d+) kB", status)[1])  # type: ignore[index]


async def test_a_photo_comes_back_made_anew(ann: tuple[Uploads, str]) -> None:
    """Through a gateway, the worker and the storage of a whole system."""
    tus, conversation = ann
    data = photo()
    told = {"fileType": "image", "conversationId": conversation, "filetype": "image/jpeg"}
    metadata = ",".join(f"{name} {base64.b64encode(value.encode()).decode()}" for name, value in told.items())
    answer = await tus.ask(
        "POST",
        "/media/tus",
        data,
        Upload_Length=str(len(data)),
        Upload_Metadata=metadata,
        Content_Type="application/offset+octet-stream",
    )
    assert answer.status_code == 201, answer.text
    path = answer.headers["Location"].replace("/tus", "")

    async def ready() -> bool:
        body = (await tus.ask("GET", path)).json()
        assert body["state"] in ("stored", "processing", "ready"), body
        return bool(body["state"] == "ready")

    await until(ready, "it is ready", 60)
    whole = await tus.ask("GET", f"{path}/content")
    assert whole.status_code == 302
    shown = await tus.ask("GET", whole.headers["Location"])
    assert shown.status_code == 200
    assert Image.open(io.BytesIO(shown.content)).format == "WEBP"
