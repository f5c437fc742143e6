"""Files that are in a place that is not our server: what it is told, and what it cannot make a client do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.patience import PATIENCE
from whatsapp_client import ClientError, MediaDamaged, RestError, Session

from .cutting import Cutting, answer
from .test_media import Client, names, quick, two

pytestmark = pytest.mark.needs_system
ID = "0193b2a0-7c00-7a11-8b22-1d2c3b4a5f60"
URL = f"/media/{ID}/content"


@pytest.fixture
async def ways() -> AsyncIterator[tuple[Client, Cutting, Cutting]]:
    """A client, the server that it asks, and a storage elsewhere; both say only what a test makes them say."""
    async with (
        Cutting("http://127.0.0.1:1", (b"GET",)) as server,
        Cutting("http://127.0.0.1:1", (b"GET",)) as storage,
    ):
        session = Session("+15550001", "ann", "d", "secret-token", "refresh")
        async with asyncio.timeout(PATIENCE):
            yield Client(server.http, session, backoff=quick()), server, storage


def leads(storage: Cutting, times: int = 1) -> list[bytes]:
    return [answer("302 Found", Location=f"{storage.http}/bucket/key?signature=1")] * times


def told(storage: Cutting) -> bytes:
    return b"".join(storage.heads).lower()


async def test_the_token_stays_with_the_server(ways: Any, tmp_path: Path):
    client, server, storage = ways
    server.instead = leads(storage)
    storage.instead = [answer("200 OK", b"the file")]
    await client.media.download(URL, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"the file"
    assert b"secret-token" in b"".join(server.heads)
    assert b"secret-token" not in told(storage)
    assert b"authorization" not in told(storage)


async def test_another_file_than_before_is_fetched_from_its_beginning(ways: Any, tmp_path: Path):
    client, server, storage = ways
    server.instead = leads(storage, 2)
    storage.instead = [
        answer("200 OK", b"of one file", ETag='"a"')[:-4],
        answer("200 OK", b"and another", ETag='"b"'),
    ]
    await client.media.download(URL, tmp_path / "file")
    assert b'if-range: "a"' in told(storage)
    assert (tmp_path / "file").read_bytes() == b"and another"
    assert names(tmp_path) == ["file"]


async def test_a_part_without_a_name_for_what_it_is_of_is_not_gone_on_with(ways: Any, tmp_path: Path):
    client, server, storage = ways
    server.instead = leads(storage, 2)
    storage.instead = [answer("200 OK", b"of one file", ETag='W/"a"')[:-4], answer("200 OK", b"and another")]
    await client.media.download(URL, tmp_path / "file")
    assert b"range" not in told(storage)
    assert (tmp_path / "file").read_bytes() == b"and another"


async def test_other_bytes_than_were_asked_for_are_refused(ways: Any, tmp_path: Path):
    client, server, storage = ways
    for header in ("bytes 0-10/11", "bytes 6-9/11", "bytes 6-10/*", "nonsense"):
        server.instead = leads(storage, 2)
        storage.instead = [
            answer("200 OK", b"of one file", ETag='"a"')[:-4],
            answer("206 Partial Content", b" file", Content_Range=header),
        ]
        with pytest.raises(MediaDamaged):
            await client.media.download(URL, tmp_path / "file")
        assert not (tmp_path / "file").exists()


async def test_a_storage_leads_nowhere(ways: Any, tmp_path: Path):
    client, server, storage = ways
    server.instead = leads(storage, 4)
    storage.instead = [answer("302 Found", Location=f"{server.http}/me")] * 4
    with pytest.raises(RestError):
        await client.media.download(URL, tmp_path / "file")
    assert not any(head.startswith(b"GET /me ") for head in server.heads)
    for place in ("file:///etc/passwd", "ftp://example.org/x", ""):
        server.instead = [answer("302 Found", Location=place)]
        with pytest.raises(ClientError):
            await client.media.download(URL, tmp_path / "file")
    assert names(tmp_path) == []


async def test_an_address_that_has_ended_is_asked_for_again(stack: Any, tmp_path: Path):
    async with two(stack) as (conversation, ann, _):
        sent = await ann.media.upload(conversation, b"a file", encrypted=True)
        await ann.media.ready(sent.media_id)
        async with Cutting(stack.http, (b"GET /media/blobs",)) as way:
            way.instead = [answer("403 Forbidden")] * 2
            client = Client(way.http, ann.session, backoff=quick())
            await client.media.download(sent.media_url, tmp_path / "file", key=sent.sealed)
            assert (tmp_path / "file").read_bytes() == b"a file"
            assert sum(b"/content" in head for head in way.heads) == 3
