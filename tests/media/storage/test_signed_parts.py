"""Parts that clients put under signed addresses: onto the S3 server, and onto our own server for a folder; with clients as they
come."""

from __future__ import annotations

import asyncio
import hashlib
import socket
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import botocore.auth
import httpx
import pytest
import requests

from media.storage import NotStored, Part, Storage, WrongParts, signing
from media.storage.interface import LEAST_PART, MOST_PART, MOST_PARTS
from media.storage.s3 import S3
from media.uploads.addresses import streams
from tests.media.storage.conftest import noise
from tests.media.storage.test_links import local
from tests.support.buckets import bucket
from tests.support.listening import listening
from tests.support.patience import until
from whatsapp.infra.clock import now_ms
from whatsapp.infra.headers import with_headers
from whatsapp.infra.streaming import StreamingHandler

KEY = "incoming/0193b2a0-7c00-7a11-8b22-1d2c3b4a5f60"
TYPE = "video/mp4"
SMALL = 1_000


@dataclass
class Site:
    kind: str
    storage: Storage
    base: str = ""

    def url(self, token: str, number: int, size: int, key: str = KEY, **options: Any) -> str:
        given = {"expires_s": 600, "now_ms": now_ms(), **options}
        return self.base + self.storage.signed_part(key, token, number, size, **given)

    def begin(self, key: str = KEY) -> str:
        return self.storage.begin(key, TYPE, {"user-id": "u1"}, signed=True)


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.needs_s3)])
async def site(request: pytest.FixtureRequest, settings: Any, tmp_path: Path) -> AsyncIterator[Site]:
    if request.param == "s3":
        server = request.getfixturevalue("s3_server")
        yield Site("s3", bucket({**server.variables(), "S3_PREFIX": server.new_prefix()}))
        return
    settings.ROOT_URLCONF = "tests.media.storage.addresses"
    storage = local(settings, tmp_path / "media")
    async with listening(with_headers(StreamingHandler(streams))) as port:
        yield Site("local", storage, f"http://127.0.0.1:{port}")


# -- clients, each as it comes: (status, ETag)


def by_requests(url: str, data: bytes) -> tuple[int, str]:
    answer = requests.put(url, data=data, timeout=30)
    return answer.status_code, answer.headers.get("ETag", "")


def by_httpx(url: str, data: bytes) -> tuple[int, str]:
    answer = httpx.put(url, content=data, timeout=30)
    return answer.status_code, answer.headers.get("ETag", "")


def by_urllib(url: str, data: bytes) -> tuple[int, str]:
    # Without, it says that this is a form, and s3proxy looks into it.
    asked = urllib.request.Request(url, data, {"Content-Type": "application/octet-stream"}, method="PUT")
    try:
        with urllib.request.urlopen(asked, timeout=30) as answer:
            return answer.status, answer.headers.get("ETag", "")
    except urllib.error.HTTPError as error:
        return error.code, ""


Put = Callable[[str, bytes], tuple[int, str]]


@pytest.mark.parametrize("put", [by_requests, by_httpx, by_urllib])
async def test_parts_that_a_client_puts_make_an_object(site: Site, put: Put) -> None:
    def run() -> None:
        token = site.begin()
        data = [noise(LEAST_PART), noise(LEAST_PART), noise(SMALL)]
        etags = {}
        for number in (3, 1, 2):
            part = data[number - 1]
            status, etags[number] = put(site.url(token, number, len(part)), part)
            assert status == 200
        parts = site.storage.list_parts(KEY, token)
        assert parts == [Part(n, etags[n], len(data[n - 1]), "") for n in (1, 2, 3)]
        assert not site.storage.exists(KEY), "nothing is seen before the end"
        size = sum(map(len, data))
        assert site.storage.complete(KEY, token, parts) == site.storage.complete(KEY, token, parts) == size
        assert site.storage.sha256(KEY) == (hashlib.sha256(b"".join(data)).hexdigest(), size)
        assert site.storage.describe(KEY).metadata == {"user-id": "u1"}

    await asyncio.to_thread(run)


@pytest.mark.parametrize("sent", [0, SMALL - 1, SMALL + 1, 2 * SMALL])
async def test_a_body_of_another_size_is_refused(site: Site, sent: int) -> None:
    def run() -> None:
        token = site.begin()
        status, _ = by_requests(site.url(token, 1, SMALL), bytes(sent))
        assert status == 403
        assert site.storage.list_parts(KEY, token) == []
        assert by_requests(site.url(token, 1, SMALL), bytes(SMALL))[0] == 200

    await asyncio.to_thread(run)


@pytest.mark.needs_s3
def test_twin_an_address_that_signs_no_length_takes_any(s3_server: Any) -> None:
    """As boto3 makes it without ``ContentLength``."""
    storage = bucket({**s3_server.variables(), "S3_PREFIX": s3_server.new_prefix()})
    assert isinstance(storage, S3)
    token = storage.begin(KEY, TYPE, signed=True)
    url = storage._signed(
        "upload_part", KEY, {"UploadId": token, "PartNumber": 1}, now_ms() // 1000, 60, "PUT"
    )
    assert by_requests(url, bytes(2 * SMALL))[0] == 200
    assert [part.size for part in storage.list_parts(KEY, token)] == [2 * SMALL]


async def test_a_body_that_does_not_say_its_length_is_refused(site: Site) -> None:
    def run() -> None:
        token = site.begin()
        answer = requests.put(site.url(token, 1, SMALL), data=iter([bytes(SMALL)]), timeout=30)
        assert 400 <= answer.status_code < 500
        assert site.storage.list_parts(KEY, token) == []

    await asyncio.to_thread(run)


def cut(url: str, size: int, data: bytes) -> None:
    """Say that ``size`` bytes come, send ``data``, and be gone."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port)) as link:
        head = f"PUT {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Length: {size}\r\n\r\n"
        link.sendall(head.encode() + data)


@pytest.mark.parametrize("came", [0, 1, SMALL, LEAST_PART - 1])
async def test_a_part_that_was_cut_is_not_there_and_is_put_again(site: Site, came: int) -> None:
    def run() -> None:
        token, data = site.begin(), noise(LEAST_PART)
        cut(site.url(token, 1, LEAST_PART), LEAST_PART, data[:came])
        assert site.storage.list_parts(KEY, token) == []
        _, etag = by_requests(site.url(token, 1, LEAST_PART), data)
        assert site.storage.list_parts(KEY, token) == [Part(1, etag, LEAST_PART, "")]
        site.storage.complete(KEY, token, site.storage.list_parts(KEY, token))
        assert site.storage.read(KEY) == data

    await asyncio.to_thread(run)


async def test_a_part_that_was_put_again_replaces_the_first(site: Site) -> None:
    def run() -> None:
        token = site.begin()
        etags = []
        for data in (b"a" * SMALL, b"b" * SMALL, b"a" * SMALL, b"c" * SMALL):
            etags.append(by_requests(site.url(token, 1, SMALL), data)[1])
            assert [part.etag for part in site.storage.list_parts(KEY, token)] == etags[-1:]
        with pytest.raises(WrongParts):
            site.storage.complete(KEY, token, [Part(1, etags[1], SMALL, "")])
        site.storage.complete(KEY, token, site.storage.list_parts(KEY, token))
        assert site.storage.read(KEY) == b"c" * SMALL

    await asyncio.to_thread(run)


async def test_whoever_changes_an_address_stores_nothing(site: Site) -> None:
    def run() -> None:
        other = KEY[:-1] + "1"
        token, foreign = site.begin(), site.begin(other)
        url = site.url(token, 1, SMALL)
        query = {name: value for name, (value,) in parse_qs(urlsplit(url).query).items()}
        number, upload, end, signature = (
            ("n", "u", "e", "s")
            if site.kind == "local"
            else ("partNumber", "uploadId", "X-Amz-Expires", "X-Amz-Signature")
        )
        mine = query[signature]
        for changed in (
            url.replace(KEY, other),
            url.replace(f"{number}=1", f"{number}=2"),
            url.replace(f"{upload}={query[upload]}", f"{upload}={foreign}"),
            url.replace(f"{end}=", f"{end}=9"),
            url.replace(mine, mine[1:] + mine[0]),
            url.replace(f"{signature}={mine}", ""),
            url.split("?")[0],
        ):
            assert changed != url
            assert by_requests(changed, bytes(SMALL))[0] in (400, 403), changed
        assert by_requests(url.replace("l=1000", "l=2000"), bytes(2 * SMALL))[0] == 403, "the size is signed"
        for method in ("GET", "POST", "DELETE"):
            assert requests.request(method, url, data=bytes(SMALL), timeout=30).status_code in (403, 405)
        assert site.storage.list_parts(KEY, token) == []
        assert site.storage.list_parts(other, foreign) == []
        assert by_requests(url, bytes(SMALL))[0] == 200

    await asyncio.to_thread(run)


async def test_an_address_ends(site: Site) -> None:
    def run() -> None:
        token, now = site.begin(), now_ms()
        old = site.url(token, 1, SMALL, expires_s=60, now_ms=now - 61_000)
        assert by_requests(old, bytes(SMALL))[0] == 403
        assert site.storage.list_parts(KEY, token) == []
        young = site.url(token, 1, SMALL, expires_s=60, now_ms=now - 30_000)
        assert by_requests(young, bytes(SMALL))[0] == 200

    await asyncio.to_thread(run)


def listed(site: Site, token: str) -> list[Part] | None:
    try:
        return site.storage.list_parts(KEY, token)
    except NotStored:
        return None


async def test_an_upload_that_has_ended_takes_nothing_and_lists_nothing(site: Site) -> None:
    def run() -> None:
        for end in ("complete", "abort", "never begun"):
            token = site.begin()
            url = site.url(token, 1, SMALL)
            assert by_requests(url, b"a" * SMALL)[0] == 200
            if end == "complete":
                site.storage.complete(KEY, token, site.storage.list_parts(KEY, token))
            elif end == "abort":
                site.storage.abort(KEY, token)
            else:
                token = "0" * 32
                url = site.url(token, 1, SMALL)
            found = listed(site, token)
            assert found is None or (site.kind == "s3" and not found), (
                "s3proxy knows no upload that is not there"
            )
            status, _ = by_requests(url, b"b" * SMALL)
            assert status == 404 or site.kind == "s3"  # s3proxy takes it, and complete refuses
            if end == "complete":
                assert site.storage.read(KEY) == b"a" * SMALL, "what is whole stays as it is"

    await asyncio.to_thread(run)


async def test_an_upload_without_parts_lists_none(site: Site) -> None:
    assert await asyncio.to_thread(lambda: site.storage.list_parts(KEY, site.begin())) == []


@pytest.mark.parametrize(("number", "size"), [(0, 1), (MOST_PARTS + 1, 1), (1, -1), (1, MOST_PART + 1)])
async def test_numbers_and_sizes_have_bounds(site: Site, number: int, size: int) -> None:
    with pytest.raises(ValueError, match="part"):
        site.url("0" * 32, number, size)


# -- the folder's own ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", ["local"], indirect=True)
async def test_what_was_replaced_takes_no_room(site: Site, tmp_path: Path) -> None:
    def run() -> None:
        token = site.begin()
        for letter in b"abcdef":
            by_requests(site.url(token, 1, SMALL), bytes([letter]) * SMALL)
        stored = [
            path for path in (tmp_path / "media" / ".uploads" / token).iterdir() if path.suffix != ".json"
        ]
        assert len(stored) == 1

    await asyncio.to_thread(run)


@pytest.mark.parametrize("site", ["local"], indirect=True)
async def test_what_was_cut_takes_no_room(site: Site, tmp_path: Path) -> None:
    token = await asyncio.to_thread(site.begin)
    await asyncio.to_thread(cut, site.url(token, 1, LEAST_PART), LEAST_PART, bytes(LEAST_PART // 2))
    drafts = tmp_path / "media" / ".drafts"
    await until(lambda: not list(drafts.iterdir()), "its draft is gone")


@pytest.mark.parametrize("site", ["local"], indirect=True)
async def test_an_address_to_fetch_stores_nothing_and_one_to_store_fetches_nothing(site: Site) -> None:
    def run() -> None:
        token = site.begin()
        fetch = site.storage.signed_url(KEY, expires_s=60, media_type=TYPE, now_ms=now_ms())
        store = site.url(token, 1, SMALL).removeprefix(site.base)
        assert by_requests(site.base + fetch.replace("/blobs/", "/parts/"), bytes(SMALL))[0] == 403
        site.storage.put(KEY, b"secret", TYPE)
        answer = requests.get(site.base + store.replace("/parts/", "/blobs/"), timeout=30)
        assert answer.status_code == 403
        assert b"secret" not in answer.content

    await asyncio.to_thread(run)


@pytest.mark.parametrize("query", ["", "e=1", "e=x&u=a&n=1&l=1&s=x", "e=1&u=a&n=1&l=1&s=é", "%ff"])
def test_what_is_no_address_is_a_bad_one(query: str) -> None:
    with pytest.raises(signing.BadLink):
        signing.verify_part("/media/parts/a", query, 0)


# -- the bucket's -------------------------------------------------------------------------------------------------------------


@pytest.mark.needs_s3
def test_ours_is_what_boto3_signs(s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the same second."""
    storage = bucket(s3_server.variables())
    assert isinstance(storage, S3)
    made_ms = now_ms() // 1000 * 1000
    ours = storage.signed_part(KEY, "some upload", 7, LEAST_PART, expires_s=900, now_ms=made_ms)
    monkeypatch.setattr(
        botocore.auth, "get_current_datetime", lambda *_, **__: datetime.fromtimestamp(made_ms / 1000, UTC)
    )
    asked = {"UploadId": "some upload", "PartNumber": 7, "ContentLength": LEAST_PART}
    theirs = storage._clients.ask().generate_presigned_url(
        "upload_part", {"Bucket": s3_server.server.bucket, "Key": KEY, **asked}, ExpiresIn=900
    )
    assert urlsplit(ours).path == urlsplit(theirs).path
    assert parse_qs(urlsplit(ours).query) == parse_qs(urlsplit(theirs).query)


@pytest.mark.needs_s3
def test_an_upload_of_signed_parts_has_no_checksums_of_ours(s3_server: Any) -> None:
    """With ``S3_CHECKSUM=sha256`` S3 would ask each client for one."""
    storage = bucket({**s3_server.variables(), "S3_PREFIX": s3_server.new_prefix()}, S3_CHECKSUM="sha256")
    token = storage.begin(KEY, TYPE, signed=True)
    url = storage.signed_part(KEY, token, 2, SMALL, expires_s=60, now_ms=now_ms())
    assert by_requests(url, bytes(SMALL))[0] == 200
    assert storage.complete(KEY, token, storage.list_parts(KEY, token)) == SMALL
