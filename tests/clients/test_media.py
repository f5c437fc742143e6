"""Files over the client library, against a whole system: sent, fetched, refused, and gone on with after cuts."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.media.test_process import photo
from whatsapp_client import (
    Backoff,
    Client,
    Database,
    Gone,
    MediaDamaged,
    MediaRefused,
    NotFound,
    RestError,
    Sealed,
    TooLarge,
    events,
    media_states,
)

from .cutting import Cutting, answer
from .test_with_server import PATIENCE, people

pytestmark = pytest.mark.needs_system
MIB = 2**20


def quick() -> Backoff:
    return Backoff(first=0.01, ceiling=0.1, rng=random.Random(1))


def behind(way: Cutting, client: Client, database: Database | None = None) -> Client:
    """The same device on another way to the server; only its files are used."""
    return Client(way.http, client.session, backoff=quick(), database=database)


@contextlib.asynccontextmanager
async def two(stack: Any) -> AsyncIterator[tuple[str, Client, Client]]:
    async with people(stack) as (conversation, (ann, bob)):
        async with asyncio.timeout(PATIENCE):
            yield conversation, ann, bob


def stored_by(stack: Any, digest: str) -> list[bytes]:
    """What the system has under this name."""
    return [path.read_bytes() for path in (stack.data / "media").rglob(f"*{digest}*")]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


class Seen:
    """Progress that is told."""

    def __init__(self) -> None:
        self.steps: list[tuple[int, int]] = []

    def __call__(self, done: int, total: int) -> None:
        self.steps.append((done, total))

    def ascends(self, total: int, least: int = 2) -> None:
        done = [step for step, _ in self.steps]
        assert done == sorted(set(done))
        assert {all_ for _, all_ in self.steps} == {total}
        assert done[-1] == total
        assert len(done) >= least


async def message(client: Client, stream: Any) -> Any:
    async for event in stream:
        if isinstance(event, events.Message):
            return event.entry
    raise AssertionError


async def test_an_encrypted_file_is_sent_and_opened(stack: Any, tmp_path: Path):
    data = random.Random(1).randbytes(3 * MIB + 17)
    (tmp_path / "film.mp4").write_bytes(data)
    async with two(stack) as (conversation, ann, bob):
        stream, up, down = bob.events(), Seen(), Seen()
        await ann.send_file(
            conversation, tmp_path / "film.mp4", kind="video", seal=Sealed.to_bytes, thumbnail=b"small", name="film.mp4",
            progress=up,
        )  # fmt: skip
        entry = await message(bob, stream)
        assert entry.kind == "video"
        about = Sealed.from_bytes(entry.content)
        assert (about.size, about.media_type, about.name, about.thumbnail) == (
            len(data), "video/mp4", "film.mp4", b"small",
        )  # fmt: skip
        assert entry.fields["mediaUrl"] == about.media_url
        target = tmp_path / "got.mp4"
        size = await bob.media.download(
            about.media_url, target, conversation_id=conversation, key=about, progress=down
        )
        assert (size, target.read_bytes() == data) == (len(data), True)
        for seen in (up, down):
            seen.ascends(3 * MIB + 17 + 49 * 16)
        # The server holds nothing of the file, and this device nothing more of it.
        stored = stored_by(stack, about.digest.hex())
        assert about.digest in [hashlib.sha256(each).digest() for each in stored]
        assert not any(data[:64] in each for each in stored)
        assert ann.media.unfinished() == []
        assert names(tmp_path) == ["film.mp4", "got.mp4"]
        state = await ann.media.ready(about.media_id)
        assert (state.state, state.media_type) == ("ready", "application/octet-stream")


async def test_another_key_and_other_bytes_are_refused(stack: Any, tmp_path: Path):
    async with two(stack) as (conversation, ann, _):
        sent = await ann.media.upload(conversation, b"the first", encrypted=True)
        other = await ann.media.upload(conversation, b"the other", encrypted=True)
        assert sent.sealed is not None
        assert other.sealed is not None
        target = tmp_path / "file"
        target.write_text("what was there")
        for wrong in (
            replace(sent.sealed, key=bytes(32)),
            replace(sent.sealed, digest=bytes(32)),
            replace(sent.sealed, size=8),
            other.sealed,
        ):
            with pytest.raises(MediaDamaged):
                await ann.media.download(sent.media_url, target, key=wrong)
        with pytest.raises(MediaDamaged):
            await ann.media.download(sent.media_url, target, sha256="00" * 32)
        assert names(tmp_path) == ["file"]
        assert target.read_text() == "what was there"
        await ann.media.download(sent.media_url, target, key=sent.sealed)
        assert target.read_bytes() == b"the first"


async def test_a_photo_is_ready_before_it_is_sent(stack: Any, tmp_path: Path):
    async with two(stack) as (conversation, ann, bob):
        stream, percents = bob.events(), []
        (tmp_path / "photo.jpg").write_bytes(photo())
        await ann.send_file(conversation, tmp_path / "photo.jpg", kind="image", content="look")
        entry = await message(bob, stream)
        assert (entry.kind, entry.text) == ("image", "look")
        url = entry.fields["mediaUrl"]
        await bob.media.download(url, tmp_path / "small", conversation_id=conversation, rendition="thumb")
        await bob.media.download(url, tmp_path / "whole", conversation_id=conversation)
        small, whole = (Image.open(io.BytesIO((tmp_path / name).read_bytes())) for name in ("small", "whole"))
        assert (small.format, whole.format) == ("JPEG", "WEBP")
        assert max(small.size) <= 150 < max(whole.size)
        state = await ann.media.ready(url.split("/")[2], percents.append)
        assert (state.thumbnail, percents) == (True, [100])
        with pytest.raises(NotFound):
            await bob.media.download(url, tmp_path / "none", rendition="720p")


async def test_what_the_server_does_not_take(stack: Any, tmp_path: Path):
    async with two(stack) as (conversation, ann, _):
        page = b"<html><script>alert(1)</script></html>"
        with pytest.raises(MediaRefused) as refused:
            await ann.send_file(conversation, page, kind="image", media_type="image/jpeg")
        assert refused.value.reason in ("mismatch", "not_allowed")
        assert ann.pending(conversation) == []
        assert ann.messages(conversation) == []
        uploaded = await ann.media.upload(conversation, page, kind="image", media_type="image/jpeg")
        with pytest.raises(MediaRefused):
            await ann.media.ready(uploaded.media_id)
        with pytest.raises(MediaRefused):
            await ann.media.download(uploaded.media_url, tmp_path / "page")
        large = tmp_path / "large"
        with large.open("wb") as file:
            file.truncate(17 * MIB)
        with pytest.raises(TooLarge) as too_large:
            await ann.media.upload(conversation, large, kind="image", encrypted=True)
        assert too_large.value.details["limit"] == 16 * MIB
        with pytest.raises(NotFound):
            await ann.media.upload("0193b2a0-7c00-7a11-8b22-1d2c3b4a5f60", b"x")
        assert ann.media.unfinished() == []
        for wrong in ({"kind": "text"}, {"encrypted": True, "thumbnail": bytes(40_000)}, {"file": b""}):
            with pytest.raises(ValueError):
                await ann.media.upload(conversation, **{"file": b"x", **wrong})  # type: ignore[arg-type]
        with pytest.raises(OSError):
            await ann.media.upload(conversation, tmp_path / "nothing")


async def test_strangers_find_nothing(stack: Any, tmp_path: Path):
    async with people(stack, 3) as (conversation, (ann, bob, eve)), asyncio.timeout(PATIENCE):
        outgoing = await ann.send_file(conversation, b"for bob", seal=lambda about: about.to_bytes())
        await outgoing.sent()
        url = outgoing.fields["mediaUrl"]
        await bob.media.download(url, tmp_path / "file")
        with pytest.raises(NotFound):
            await eve.media.download(url, tmp_path / "stolen")
        with pytest.raises(NotFound):
            await eve.media.download(url, tmp_path / "stolen", conversation_id=conversation)
        with pytest.raises(NotFound):
            await eve.media.status(url.split("/")[2])
        for foreign in (
            "https://example.org/media/x/content",
            f"//example.org{url}",
            "/me",
            f"{url}/../../me",
        ):
            with pytest.raises(ValueError):
                await bob.media.download(foreign, tmp_path / "stolen")
        await ann.delete(conversation, outgoing.message_id).sent()
        with pytest.raises((NotFound, Gone)):
            await bob.media.download(url, tmp_path / "late")
        assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("seed", range(3))
async def test_an_upload_goes_on_after_a_cut_at_any_byte(stack: Any, tmp_path: Path, seed: int):
    chance, seen = random.Random(seed), Seen()
    data = chance.randbytes(9 * MIB + chance.randrange(MIB))
    (tmp_path / "file").write_bytes(data)
    async with two(stack) as (conversation, ann, _), Cutting(stack.http) as way:
        cuts = [
            0,
            1,
            *[chance.choice([chance.randrange(200_000), chance.randrange(3 * MIB)]) for _ in range(6)],
        ]
        chance.shuffle(cuts)
        way.cuts_up = iter(cuts)
        client = behind(way, ann)
        sent = await client.media.upload(conversation, tmp_path / "file", encrypted=True, progress=seen)
        assert sent.sealed is not None
        assert way.cuts >= 5  # a small piece may be through before its cut
        seen.ascends(sent.size)
        assert way.bytes_up < 2 * len(data) + 8 * MIB
        assert sum(head.startswith(b"POST /media/tus") for head in way.heads) == 1
        await ann.media.download(sent.media_url, tmp_path / "got", key=sent.sealed)
        assert (tmp_path / "got").read_bytes() == data


@pytest.mark.parametrize("seed", range(3))
async def test_a_download_goes_on_after_a_cut_at_any_byte(stack: Any, tmp_path: Path, seed: int):
    chance, seen = random.Random(seed), Seen()
    data = chance.randbytes(6 * MIB + chance.randrange(MIB))
    async with two(stack) as (conversation, ann, _):
        sent = await ann.media.upload(conversation, data, encrypted=True)
        assert sent.sealed is not None
        await ann.media.ready(sent.media_id)
        async with Cutting(stack.http, only=(b"GET /media/blobs",)) as way:
            way.cuts_down = iter([0, 1, 200, *[chance.randrange(2 * MIB) for _ in range(4)]])
            client = behind(way, ann)
            await client.media.download(sent.media_url, tmp_path / "got", key=sent.sealed, progress=seen)
            assert way.cuts >= 5  # one may be behind the end
            assert way.bytes_down < len(data) + MIB
            assert any(
                b"\r\nrange: bytes=" in head and b"\r\nif-range: " in head
                for head in map(bytes.lower, way.heads)
            )
            # The signed address is all that the storage is told.
            blobs = [head for head in way.heads if b"GET /media/blobs" in head]
            assert len(blobs) >= 6
            assert not any(b"authorization" in head.lower() for head in blobs)
        assert (tmp_path / "got").read_bytes() == data
        seen.ascends(sent.size)


async def test_a_download_of_a_process_that_ended_goes_on(stack: Any, tmp_path: Path):
    data = random.Random(4).randbytes(5 * MIB)
    async with two(stack) as (conversation, ann, _):
        sent = await ann.media.upload(conversation, data, encrypted=True)
        assert sent.sealed is not None
        await ann.media.ready(sent.media_id)
        for first in (True, False):
            async with Cutting(stack.http, only=(b"GET /media/blobs",)) as way:
                way.cuts_down = iter([3 * MIB] + 1000 * [0]) if first else iter(())
                task = asyncio.create_task(
                    behind(way, ann).media.download(sent.media_url, tmp_path / "got", key=sent.sealed)
                )
                if first:
                    while way.cuts < 2:
                        await asyncio.sleep(0.01)
                    task.cancel()
                    await asyncio.gather(task, return_exceptions=True)
                    assert not (tmp_path / "got").exists()
                else:
                    await task
                    assert way.bytes_down < 3 * MIB
        assert (tmp_path / "got").read_bytes() == data
        assert names(tmp_path) == ["got"]


async def test_a_storage_that_is_away_is_waited_for(stack: Any):
    async with two(stack) as (conversation, ann, _), Cutting(stack.http, (b"PATCH", b"HEAD")) as way:
        busy = b'{"type": "about:blank/unavailable", "title": "away"}'
        way.instead = [
            answer("503 Service Unavailable", busy, Retry_After="0", Content_Type="application/problem+json"),
            answer("502 Bad Gateway"),
            answer("429 Too Many Requests", Retry_After="1"),
            answer("423 Locked"),
        ]
        sent = await behind(way, ann).media.upload(conversation, b"a file")
        assert way.instead == []
        assert (await ann.media.status(sent.media_id)).size == 6


async def test_a_limit_that_is_used_up_is_told(stack: Any):
    async with two(stack) as (conversation, ann, _), Cutting(stack.http, only=(b"POST",)) as way:
        way.instead = [answer("429 Too Many Requests", Retry_After="1800")]
        client = behind(way, ann)
        with pytest.raises(RestError) as refused:
            await client.media.upload(conversation, b"a file")
        assert refused.value.retry_after == 1800
        assert [each.done for each in client.media.unfinished()] == [0]
        await client.media.upload(conversation, b"a file")  # later
        assert client.media.unfinished() == []


@pytest.mark.parametrize("method", [b"POST", b"PATCH"])
async def test_a_server_that_takes_no_files_for_now_is_told(stack: Any, method: bytes):
    """Not at the beginning, or not any more; what the server has of the file is gone on with."""
    problem = b'{"type": "/problems/feature_disabled", "detail": "Files are not taken here now."}'
    async with two(stack) as (conversation, ann, _), Cutting(stack.http, only=(method,)) as way:
        way.instead = [answer("501 Not Implemented", problem, Content_Type="application/problem+json")]
        client = behind(way, ann)
        with pytest.raises(RestError, match="Files are not taken") as refused:
            await client.media.upload(conversation, b"a file", encrypted=True)
        assert refused.value.code == "feature_disabled"
        (begun,) = client.media.unfinished()
        sent = await client.media.upload(conversation, b"a file", encrypted=True)  # later
        assert client.media.unfinished() == []
        assert sent.sealed is not None
        posts = [head for head in way.heads if head.startswith(b"POST")]
        assert len(posts) == (2 if method == b"POST" else 1), begun


async def test_a_lost_answer_begins_no_second_upload(stack: Any):
    async with two(stack) as (conversation, ann, _), Cutting(stack.http, only=(b"POST",)) as way:
        way.cuts_down = iter([0, 0])
        sent = await behind(way, ann).media.upload(conversation, b"a file")
        posts = [head for head in way.heads if head.startswith(b"POST")]
        assert len(posts) == 3
        keys = {
            line
            for head in posts
            for line in head.split(b"\r\n")
            if line.lower().startswith(b"x-idempotency")
        }
        assert len(keys) == 1
        assert (await ann.media.status(sent.media_id)).size == 6


async def test_an_upload_that_the_server_has_forgotten_begins_anew(stack: Any):
    async with two(stack) as (conversation, ann, _), Cutting(stack.http) as way:
        way.instead = [answer("410 Gone")]
        sent = await behind(way, ann).media.upload(conversation, b"a file", encrypted=True)
        assert sum(head.startswith(b"POST") for head in way.heads) == 2
        assert (await ann.media.status(sent.media_id)).size == 6 + 16


async def test_what_is_given_up_is_gone(stack: Any, tmp_path: Path):
    async with two(stack) as (conversation, ann, _), Cutting(stack.http) as way:
        way.slow = 0.05
        with Database(tmp_path / "ann.db") as database:
            client = behind(way, ann, database)
            task = asyncio.create_task(client.media.upload(conversation, bytes(4 * MIB), encrypted=True))
            while way.bytes_up < 200_000:
                await asyncio.sleep(0.01)
            (unfinished,) = client.media.unfinished()
            with pytest.raises(ValueError, match="running"):
                await client.media.give_up(unfinished)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            address = database.read("SELECT address FROM uploads").fetchone()[0]
            assert len(names(tmp_path / "ann.db-media")) == 1
            await client.media.give_up(unfinished)
            await asyncio.sleep(0)
            assert client.media.unfinished() == []
            assert names(tmp_path / "ann.db-media") == []
            with pytest.raises(Gone):
                await ann.media.status(address.rpartition("/")[2])


@pytest.mark.parametrize("told", [True, False])
async def test_a_notice_ends_the_wait_for_the_server(stack: Any, told: bool, monkeypatch: pytest.MonkeyPatch):
    """And without it nobody would look before an hour is over."""
    monkeypatch.setattr(media_states, "LOOK", 3_600.0)
    monkeypatch.setattr(media_states, "TOLD", 3_600.0)
    async with two(stack) as (conversation, ann, _):
        if not told:
            monkeypatch.setattr(ann.media, "_news", {})
            monkeypatch.setattr(ann.media, "told", lambda data: None)
            monkeypatch.setattr(ann._inbound, "_media_told", lambda data: None)
        stream = ann.events()
        fields = {"fileType": "document", "conversationId": conversation, "encrypted": "true"}
        metadata = ",".join(f"{n} {base64.b64encode(v.encode()).decode()}" for n, v in fields.items())
        tus = {"Tus-Resumable": "1.0.0", "Content-Length": "0"}
        begun = await ann.rest.exchange(
            "POST", "/media/tus", {**tus, "Upload-Length": "6", "Upload-Metadata": metadata}
        )
        media_id, seen = begun["Location"].rpartition("/")[2], asyncio.Event()
        waiting = asyncio.create_task(ann.media.ready(media_id, lambda percent: seen.set()))
        await seen.wait()  # it has looked once
        body = {
            **tus,
            "Content-Length": "6",
            "Upload-Offset": "0",
            "Content-Type": "application/offset+octet-stream",
        }
        await ann.rest.exchange("PATCH", f"/media/tus/{media_id}", body, io.BytesIO(b"sealed"))
        async for event in stream:
            if isinstance(event, events.Notice) and event.data.get("state") == "ready":
                break
        if told:
            assert (await waiting).state == "ready"
        else:
            assert (await ann.media.status(media_id)).state == "ready"
            assert not waiting.done()
            waiting.cancel()
