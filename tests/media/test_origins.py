"""Uploads from pages of other origins: what their browsers may send and read. In a browser: ``test_tus_js.py``."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from tests.media.conftest import Person, Tus, direct, sign_in

pytestmark = pytest.mark.django_db

ORIGIN = "https://chat.example"
#: What tus-js-client sends and reads, beside what every client does.
SENT = {
    "authorization", "content-type", "tus-resumable", "upload-checksum", "upload-defer-length", "upload-length",
    "upload-metadata", "upload-offset", "x-idempotency-key", "x-request-id",
}  # fmt: skip
READ = {
    "location", "upload-defer-length", "upload-expires", "upload-length", "upload-metadata", "upload-offset",
    "tus-extension", "tus-max-size", "tus-resumable", "tus-version", "retry-after", "x-request-id",
}  # fmt: skip


@pytest.fixture(autouse=True)
def origins(settings: Any) -> None:
    settings.CORS_ALLOW_ALL_ORIGINS = False
    settings.CORS_ALLOWED_ORIGINS = [ORIGIN]


def words(answer: Any, header: str) -> set[str]:
    return set(answer.headers.get(header, "").lower().split(", "))


def told(answer: Any) -> list[str]:
    """What it says about other origins."""
    return [name for name in answer.headers if name.lower().startswith("access-control-")]


def preflight(path: str, method: str, origin: str = ORIGIN) -> Any:
    asks = {"Access-Control-Request-Method": method, "Access-Control-Request-Headers": ",".join(sorted(SENT))}
    return Client().options(path, headers={"Origin": origin, **asks})


@pytest.mark.parametrize(
    ("path", "method"),
    [("/media/tus", "POST"), ("/media/upload", "POST")]
    + [("/media/tus/0193b2a0-7c00-7a11-8b22-1d2c3b4a5f60", m) for m in ("HEAD", "PATCH", "DELETE")],
)
def test_a_browser_may_send_what_an_upload_needs(path: str, method: str) -> None:
    answer = preflight(path, method)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert words(answer, "Access-Control-Allow-Headers") >= SENT
    assert method.lower() in words(answer, "Access-Control-Allow-Methods")
    assert "Tus-Version" not in answer.headers, "nobody but the middleware has seen it"


@pytest.mark.parametrize("origin", ["https://evil.example", "null"])
def test_a_page_of_another_origin_may_not(origin: str, ann: Person) -> None:
    assert not told(preflight("/media/tus", "POST", origin))
    chat = direct(ann, sign_in())
    assert not told(Tus(ann).begin(chat, 10, b"12345", Origin=origin))


@pytest.mark.parametrize("more", [{}, {"Origin": ORIGIN}], ids=["program", "page"])
def test_what_is_spoken_here_is_asked_without_a_token(more: dict[str, str]) -> None:
    """OPTIONS that is no preflight is answered by the view."""
    answer = Client().options("/media/tus", headers=more)
    assert (answer.status_code, answer.headers["Tus-Version"]) == (204, "1.0.0")
    assert "creation-with-upload" in answer.headers["Tus-Extension"]
    assert int(answer.headers["Tus-Max-Size"]) == 2 * 2**30
    assert bool(told(answer)) is bool(more)
    if more:
        assert words(answer, "Access-Control-Expose-Headers") >= READ


def test_a_page_reads_what_its_upload_is_answered(ann: Person) -> None:
    tus, chat = Tus(ann), direct(ann, sign_in())
    begun = tus.begin(chat, 10, b"12345", Origin=ORIGIN)
    path = begun.headers["Location"]
    answers = [
        begun,
        tus.ask("HEAD", path, Origin=ORIGIN),
        tus.send(path, 3, b"x", Origin=ORIGIN),
        tus.send(path, 5, b"67890", Origin=ORIGIN),
        tus.ask("HEAD", path, Origin=ORIGIN, Tus_Resumable=None),
        tus.ask("HEAD", path, Origin=ORIGIN, Authorization=None),
    ]
    assert [answer.status_code for answer in answers] == [201, 200, 409, 204, 412, 401]
    for answer in answers:
        assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
        assert words(answer, "Access-Control-Expose-Headers") >= READ
        assert "Access-Control-Allow-Credentials" not in answer.headers
