"""Signed addresses and how they are served: by our own server for a folder, by the S3 server for a bucket; over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import botocore.auth
import httpx
import pytest
from django.core.asgi import get_asgi_application

import media.storage
from media.storage import Storage, serving, signing
from media.storage.s3 import S3
from tests.media.storage.conftest import noise
from tests.support.buckets import bucket
from tests.support.listening import listening
from tests.support.patience import until
from whatsapp.infra.clock import now_ms
from whatsapp.infra.headers import with_headers

DATA = bytes(range(256)) * 40
TYPE = "image/webp"


@dataclass
class Site:
    kind: str
    storage: Storage
    http: httpx.AsyncClient
    base: str = ""

    def url(self, key: str, **options: Any) -> str:
        given = {"expires_s": 600, "media_type": TYPE, "now_ms": now_ms(), **options}
        return self.base + self.storage.signed_url(key, **given)

    async def get(self, url: str, method: str = "GET", **headers: str) -> httpx.Response:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.http.request(method, url, headers={"Accept-Encoding": "identity", **sent})


def local(settings: Any, folder: Path) -> Storage:
    backend = {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": folder, "file_permissions_mode": 0o600, "directory_permissions_mode": 0o700},
    }
    settings.STORAGES = {**settings.STORAGES, "default": backend}
    return media.storage.storage()


@pytest.fixture(params=["local", pytest.param("s3", marks=pytest.mark.needs_s3)])
async def site(request: pytest.FixtureRequest, settings: Any, tmp_path: Path) -> AsyncIterator[Site]:
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        if request.param == "s3":
            server = request.getfixturevalue("s3_server")
            yield Site("s3", bucket({**server.variables(), "S3_PREFIX": server.new_prefix()}), http)
            return
        settings.ROOT_URLCONF = "tests.media.storage.addresses"
        storage = local(settings, tmp_path / "media")
        async with listening(with_headers(get_asgi_application())) as port:
            yield Site("local", storage, http, f"http://127.0.0.1:{port}")


async def test_a_signed_address_gives_the_object(site: Site) -> None:
    await asyncio.to_thread(site.storage.put, "media/a.webp", DATA, "text/html")
    answer = await site.get(site.url("media/a.webp"))
    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["content-type"] == TYPE, "the address says what it is, not who uploaded it"
    assert answer.headers["content-length"] == str(len(DATA))
    assert answer.headers["content-disposition"] == "inline"
    assert answer.headers["etag"]
    control = answer.headers["cache-control"]
    assert "private" in control
    assert "immutable" in control
    assert "max-age=" in control


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("0-0", 0, 1),
        ("5-9", 5, 10),
        ("10000-", 10_000, 10_240),
        ("-7", 10_233, 10_240),
        ("10239-99999", 10_239, 10_240),
    ],
)
async def test_ranges(site: Site, asked: str, start: int, end: int) -> None:
    await asyncio.to_thread(site.storage.put, "media/a.webp", DATA, TYPE)
    answer = await site.get(site.url("media/a.webp"), Range=f"bytes={asked}")
    assert (answer.status_code, answer.content) == (206, DATA[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(DATA)}"
    assert answer.headers["content-length"] == str(end - start)


async def test_ranges_that_do_not_exist(site: Site) -> None:
    await asyncio.to_thread(site.storage.put, "media/a.webp", DATA, TYPE)
    answer = await site.get(site.url("media/a.webp"), Range=f"bytes={len(DATA)}-")
    assert answer.status_code == 416
    if site.kind == "local":  # s3proxy leaves it out
        assert answer.headers["content-range"] == f"bytes */{len(DATA)}"


async def test_a_large_object_comes_whole_and_in_pieces(site: Site) -> None:
    data = noise(3 * serving.PIECE + 11)
    await asyncio.to_thread(site.storage.put, "media/v.mp4", data, "video/mp4")
    url = site.url("media/v.mp4")
    assert (await site.get(url)).content == data
    middle = serving.PIECE - 3
    assert (await site.get(url, Range=f"bytes={middle}-{middle + serving.PIECE}")).content == data[
        middle : middle + serving.PIECE + 1
    ]


async def test_one_address_for_some_minutes(site: Site) -> None:
    """A cache may hold what it names."""
    step = signing.STEADY_S * 1000
    start = now_ms() // step * step
    same = {site.url("media/a", now_ms=start + after) for after in (0, 1, step - 1)}
    assert len(same) == 1
    assert site.url("media/a", now_ms=start + step) not in same
    assert site.url("media/b", now_ms=start) not in same
    assert site.url("media/a", now_ms=start, media_type="image/png") not in same
    assert site.url("media/a", now_ms=start, expires_s=601) not in same


async def test_an_address_lives_as_long_as_was_asked_for_and_not_much_longer(site: Site) -> None:
    await asyncio.to_thread(site.storage.put, "media/a.webp", DATA, TYPE)
    now = now_ms()
    assert (await site.get(site.url("media/a.webp", expires_s=60, now_ms=now - 55_000))).status_code == 200
    assert (await site.get(site.url("media/a.webp", expires_s=60, now_ms=now - 121_000))).status_code == 403


async def test_whoever_changes_an_address_gets_nothing(site: Site) -> None:
    await asyncio.to_thread(site.storage.put, "media/a.webp", DATA, TYPE)
    await asyncio.to_thread(site.storage.put, "media/b.webp", b"secret", TYPE)
    url = site.url("media/a.webp", filename="cat.webp")
    assert (await site.get(url)).status_code == 200
    signature = parse_qs(urlsplit(url).query)["s" if site.kind == "local" else "X-Amz-Signature"][0]
    other = ("B" if signature[0] != "B" else "C") + signature[1:] if site.kind == "local" else "0" * 64
    for changed in (
        url.replace("a.webp", "b.webp"),
        url.replace("image%2Fwebp", "text%2Fhtml"),
        url.replace("cat.webp", "virus.exe"),
        url.replace(signature, other),
        url.replace(signature, ""),
        url.replace("e=", "e=9")
        if site.kind == "local"
        else url.replace("X-Amz-Expires=", "X-Amz-Expires=9"),
        url.split("?")[0],
    ):
        answer = await site.get(changed)
        assert answer.status_code in (400, 403), changed
        assert DATA not in answer.content
        assert b"secret" not in answer.content


async def test_a_good_address_of_nothing(site: Site) -> None:
    assert (await site.get(site.url("media/none.webp"))).status_code == 404


@pytest.mark.parametrize(
    "filename", ["cat.webp", 'a "b".webp', "Grüße 👋.webp", "x\r\nSet-Cookie: a=b", "../../etc/passwd"]
)
async def test_a_name_to_save_it_under(site: Site, filename: str) -> None:
    await asyncio.to_thread(site.storage.put, "media/a.webp", DATA, TYPE)
    answer = await site.get(site.url("media/a.webp", filename=filename))
    assert (answer.status_code, answer.content) == (200, DATA)
    said = answer.headers["content-disposition"]
    assert said.startswith("attachment; filename=")
    assert "set-cookie" not in answer.headers
    encoded = said.partition("filename*=UTF-8''")[2]
    assert httpx.URL(f"http://x/?n={encoded}").params["n"] == filename


@pytest.mark.parametrize(
    "media_type", ["text/html", "image/svg+xml", "application/pdf", "application/octet-stream"]
)
async def test_what_a_browser_could_run_is_saved(site: Site, media_type: str) -> None:
    await asyncio.to_thread(site.storage.put, "media/a", DATA, media_type)
    answer = await site.get(site.url("media/a", media_type=media_type))
    assert answer.headers["content-disposition"] == "attachment"


# -- our own serving ------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def own(settings: Any, tmp_path: Path) -> AsyncIterator[Site]:
    settings.ROOT_URLCONF = "tests.media.storage.addresses"
    storage = local(settings, tmp_path / "media")
    storage.put("media/a.webp", DATA, TYPE)
    async with (
        httpx.AsyncClient(trust_env=False, timeout=30) as http,
        listening(with_headers(get_asgi_application())) as port,
    ):
        yield Site("local", storage, http, f"http://127.0.0.1:{port}")


async def test_no_browser_runs_what_it_is_given(own: Site) -> None:
    headers = (await own.get(own.url("media/a.webp"))).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in headers["content-security-policy"]
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "script-src" not in headers["content-security-policy"]


async def test_head_says_what_get_would(own: Site) -> None:
    url = own.url("media/a.webp")
    head, get = await own.get(url, "HEAD"), await own.get(url)
    assert (head.status_code, head.content) == (200, b"")
    for name in ("content-length", "content-type", "etag", "last-modified", "accept-ranges"):
        assert head.headers[name] == get.headers[name]
    assert (await own.get(url, "OPTIONS")).status_code == 405
    assert (await own.get(own.url("media/none"), "HEAD")).status_code == 404


async def test_what_a_client_has_is_not_sent_again(own: Site) -> None:
    url = own.url("media/a.webp")
    etag = (await own.get(url)).headers["etag"]
    for field in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        answer = await own.get(url, If_None_Match=field)
        assert (answer.status_code, answer.content) == (304, b"")
        assert answer.headers["etag"] == etag
    assert (await own.get(url, If_None_Match='"x"')).status_code == 200


async def test_a_range_of_what_changed_meanwhile_is_the_whole(own: Site) -> None:
    url = own.url("media/a.webp")
    seen = (await own.get(url)).headers
    for field in (seen["etag"], seen["last-modified"]):
        assert (await own.get(url, Range="bytes=0-1", If_Range=field)).status_code == 206
    for field in ('"x"', f"W/{seen['etag']}", "Thu, 01 Jan 1970 00:00:00 GMT", "nonsense"):
        answer = await own.get(url, Range="bytes=0-1", If_Range=field)
        assert (answer.status_code, answer.content) == (200, DATA)
    await asyncio.to_thread(own.storage.put, "media/a.webp", b"other bytes", TYPE)
    answer = await own.get(url, Range="bytes=0-1", If_Range=seen["etag"])
    assert (answer.status_code, answer.content) == (200, b"other bytes")


@pytest.mark.parametrize(
    "field",
    [
        "bytes=2-1",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "items=0-1",
        "bytes=0-1,3-4",
        "bytes=" + "9" * 30 + "-",
        "bytes=٣-",
    ],
)
async def test_ranges_that_are_none_are_ignored(own: Site, field: str) -> None:
    answer = await own.http.get(own.url("media/a.webp"), headers=[(b"Range", field.encode())])
    assert (answer.status_code, answer.content) == (200, DATA)


async def test_an_empty_object_has_no_ranges(own: Site) -> None:
    await asyncio.to_thread(own.storage.put, "media/empty", b"", TYPE)
    url = own.url("media/empty")
    answer = await own.get(url)
    assert (answer.status_code, answer.content, answer.headers["content-length"]) == (200, b"", "0")
    assert (await own.get(url, Range="bytes=0-")).status_code == 416
    assert (await own.get(url, Range="bytes=-5")).status_code == 416


async def test_paths_that_leave_the_folder_are_refused(own: Site) -> None:
    good = own.url("media/a.webp")
    for path in ("../secrets.json", "media/../../x", ".about/media/a.webp", "%2e%2e/x", "media/a.webp/"):
        answer = await own.get(good.replace("media/blobs/media/a.webp", f"media/blobs/{path}"))
        assert answer.status_code in (403, 404), path


async def test_an_object_deleted_in_the_middle_is_still_whole(own: Site) -> None:
    data = noise(8 * 2**20)
    await asyncio.to_thread(own.storage.put, "media/v.mp4", data, "video/mp4")
    async with own.http.stream("GET", own.url("media/v.mp4")) as answer:
        pieces = answer.aiter_bytes()
        got = await anext(pieces)
        await asyncio.to_thread(own.storage.delete, ["media/v.mp4"])
        async for piece in pieces:
            got += piece
    assert got == data


async def test_who_goes_away_in_the_middle_leaves_no_open_file(
    own: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(own.storage.put, "media/v.mp4", noise(32 * 2**20), "video/mp4")
    opened: list[Any] = []
    real = serving._Pieces.__init__

    def noted(self: Any, file: Any, start: int, end: int) -> None:
        opened.append(file)
        real(self, file, start, end)

    monkeypatch.setattr(serving._Pieces, "__init__", noted)
    async with own.http.stream("GET", own.url("media/v.mp4")) as answer:
        await anext(answer.aiter_bytes())
    await until(lambda: opened and all(file.closed for file in opened), "the file is closed")


async def test_a_key_that_was_changed_is_good_for_what_it_signed(own: Site, settings: Any) -> None:
    url = own.url("media/a.webp")
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "another" * 10
    assert (await own.get(url)).status_code == 200
    assert own.url("media/a.webp") != url
    settings.SECRET_KEY_FALLBACKS = []
    assert (await own.get(url)).status_code == 403


def test_signatures_are_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[str, str]] = []
    monkeypatch.setattr(
        signing, "constant_time_compare", lambda a, b: bool(compared.append((a, b))) or a == b
    )
    path, _, query = signing.signed_path(
        "a", expires_s=60, media_type=TYPE, filename=None, now_ms=0
    ).partition("?")
    assert signing.verify_signed(path, query, 0).key == "a"
    with pytest.raises(signing.BadLink):
        signing.verify_signed(path, query + "x", 0)
    assert len(compared) == 2


@pytest.mark.parametrize(
    "query",
    [
        "",
        "e=1",
        "e=x&t=a/b&s=x",
        "e=1&e=2&t=a/b&s=x",
        "e=1&t=a/b&s=é",
        "e=1&t=a/b&s=x&z=1",
        "%ff",
        "&".join(["a=1"] * 99),
    ],
)
def test_what_is_no_address_is_a_bad_one(query: str) -> None:
    with pytest.raises(signing.BadLink):
        signing.verify_signed("/media/blobs/a", query, 0)


# -- the bucket's ---------------------------------------------------------------------------------------------------------------


@pytest.mark.needs_s3
def test_ours_is_what_boto3_signs(s3_server: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """For the same second."""
    storage = bucket(s3_server.variables())
    assert isinstance(storage, S3)
    made_ms = now_ms() // 300_000 * 300_000
    ours = storage.signed_url("media/a", expires_s=600, media_type=TYPE, filename="ä b.webp", now_ms=made_ms)
    monkeypatch.setattr(
        botocore.auth, "get_current_datetime", lambda *_, **__: datetime.fromtimestamp(made_ms / 1000, UTC)
    )
    theirs = storage._clients.ask().generate_presigned_url(
        "get_object",
        {
            "Bucket": s3_server.server.bucket,
            "Key": "media/a",
            "ResponseContentType": TYPE,
            "ResponseContentDisposition": signing.disposition(TYPE, "ä b.webp"),
            "ResponseCacheControl": "private, max-age=600, immutable",
        },
        ExpiresIn=900,
    )
    assert parse_qs(urlsplit(ours).query) == parse_qs(urlsplit(theirs).query)


@pytest.mark.needs_s3
def test_clients_may_find_the_bucket_elsewhere(s3_server: Any) -> None:
    storage = bucket(s3_server.variables(), S3_PUBLIC_URL="https://files.example")
    url = storage.signed_url("media/a", expires_s=60, media_type=TYPE, now_ms=now_ms())
    assert url.startswith(f"https://files.example/{s3_server.server.bucket}/media/a?")
