"""HTTP at the level of bytes, for requests that no library would send."""

from __future__ import annotations

import asyncio
import json
from typing import Any, NamedTuple, Self

from tests.support.patience import PATIENCE


class Answer(NamedTuple):
    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a header that occurs once; None without it."""
        found = [value for known, value in self.headers if known == name]
        assert len(found) <= 1, f"{name} is there {len(found)} times"
        return found[0] if found else None

    def problem(self) -> dict[str, Any]:
        assert self.header("content-type") == "application/problem+json", self
        found: dict[str, Any] = json.loads(self.body)
        assert found["status"] == self.status
        return found


class Wire:
    """One TCP connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port: int, host: str = "127.0.0.1") -> Self:
        return cls(*await asyncio.open_connection(host, port, limit=2**24))

    async def send(self, *data: bytes) -> None:
        self.writer.write(b"".join(data))
        await self.writer.drain()

    async def answer(self, *, head_only: bool = False) -> Answer:
        """The next answer, whole."""
        async with asyncio.timeout(PATIENCE):
            head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            status, *lines = head.rstrip("\r\n").split("\r\n")
            headers = [
                (name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)
            ]
            known = dict(headers)
            body = b""
            if head_only:
                pass
            elif "content-length" in known:
                body = await self.reader.readexactly(int(known["content-length"]))
            elif known.get("transfer-encoding") == "chunked":
                while size := int(await self.reader.readuntil(b"\r\n"), 16):
                    body += (await self.reader.readexactly(size + 2))[:-2]
                await self.reader.readexactly(2)
            return Answer(int(status.split(" ")[1]), headers, body)

    async def ended(self) -> bytes:
        """What still comes until the server ends the connection."""
        async with asyncio.timeout(PATIENCE):
            try:
                return await self.reader.read(-1)
            except ConnectionError:
                return b""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.writer.transport.abort()


def request(
    path: str = "/", method: str = "GET", *, headers: tuple[str, ...] = ("Host: test",), body: bytes = b""
) -> bytes:
    """A request with exactly these header lines."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", *headers, "", ""]).encode("latin-1") + body
