"""The picture of a group over REST: what is taken, what comes out, and who may."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from PIL import Image

from groups.models import Icon
from media import squares
from media.tools import sandbox
from tests.groups.conftest import Person, assert_problem, make, owed, said, sign_in, some_id
from tests.groups.pictures import animated, form, opened, picture, png, put, shown
from whatsapp.infra.limits import LIMITS

pytestmark = pytest.mark.django_db


def version(person: Person, group: str) -> str | None:
    icon = person.api.get(f"/groups/{group}").json()["icon"]
    return None if icon is None else str(icon["version"])


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_picture_becomes_a_square_and_a_small_one(kind: str) -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    assert ann.api.get(f"/groups/{group}").json()["icon"] is None
    assert_problem(shown(ann, group), "not_found", 404)
    answer = put(bob, group, picture(kind, (2000, 900)), f"image/{kind.lower()}")
    assert answer.status_code == 200, answer.content
    icon = answer.json()["icon"]
    assert icon == ann.api.get(f"/groups/{group}").json()["icon"]
    (listed,) = ann.api.get("/conversations").json()["items"]
    assert listed["icon"] == icon
    assert icon["url"] == f"/groups/{group}/icon"
    assert len(icon["version"]) == 32
    assert said(owed(ann, group)[-1]) == ("info", bob.user_id, {"icon": icon})
    for size, side in (("", 640), ("full", 640), ("thumb", 150)):
        answer = shown(ann, group, size)
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert answer.headers["Cache-Control"] == "private, no-cache"
        square = opened(answer.content)
        assert square.size == (side, side)
        red, green, blue = square.getpixel((side // 2, side // 2))  # type: ignore[misc]
        assert (red > 240, green < 15, blue < 15) == (True, True, True)


def test_a_small_picture_is_not_blown_up() -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    assert put(ann, group, picture(size=(90, 200))).status_code == 200
    assert opened(shown(ann, group).content).size == (90, 90)
    assert opened(shown(ann, group, "thumb").content).size == (150, 150)
    assert_problem(shown(ann, group, "huge"), "bad_request", 400)


@pytest.mark.parametrize(
    ("mode", "colour"),
    [("L", 200), ("LA", (9, 0)), ("P", 3), ("1", 1), ("RGBA", (9, 9, 9, 0)), ("I;16", 40_000)],
)
def test_pictures_of_every_mode(mode: str, colour: Any) -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    assert put(ann, group, picture("PNG", mode=mode, colour=colour), "image/png").status_code == 200
    middle = opened(shown(ann, group).content).getpixel((9, 9))
    if mode in ("LA", "RGBA"):
        assert middle == (255, 255, 255), "what is seen through is white"


def test_a_photo_in_cmyk_and_one_of_two_pictures() -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    assert put(ann, group, picture(mode="CMYK", colour=(0, 255, 255, 0))).status_code == 200
    assert put(ann, group, animated("MPO")).status_code == 200, "phones add a smaller one"


def test_the_place_where_it_was_taken_is_gone_and_up_is_up() -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    photo = Image.new("RGB", (300, 300), "blue")
    photo.paste("red", (0, 0, 300, 150))  # red above, but the camera was turned
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "SecretCamera"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    given = picture(exif=exif, comment=b"SecretComment", icc_profile=b"SecretProfile" * 20)
    assert b"SecretCamera" in given
    photo_path = _bytes(photo, exif=exif, comment=b"SecretComment", icc_profile=b"SecretProfile" * 20)
    assert put(ann, group, photo_path).status_code == 200
    for size in ("full", "thumb"):
        content = shown(ann, group, size).content
        assert b"Secret" not in content
        assert b"Exif" not in content
        square = opened(content)
        assert not square.getexif()
        assert not {"exif", "comment", "icc_profile"} & set(square.info)
        right = square.getpixel((square.width - 10, square.height // 2))
        assert right[0] > 200, "turned by a quarter, above is right"  # type: ignore[index]


def _bytes(image: Image.Image, **options: Any) -> bytes:
    import io

    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    return out.getvalue()


_SCRIPT = b"<script>alert(1)</script>"


@pytest.mark.parametrize(
    "given",
    [
        picture() + b"PK\x03\x04" + _SCRIPT,
        picture()[:2] + b"\xff\xfe" + (2 + len(_SCRIPT)).to_bytes(2, "big") + _SCRIPT + picture()[2:],
    ],
    ids=["behind the end", "in a comment"],
)
def test_what_is_two_things_becomes_one(given: bytes) -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    assert put(ann, group, given).status_code == 200
    for size in ("full", "thumb"):
        answer = shown(ann, group, size)
        assert b"script" not in answer.content
        assert b"PK\x03\x04" not in answer.content
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


_SVG = b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>'


@pytest.mark.parametrize(
    ("given", "media_type"),
    [
        (_SVG, "image/svg+xml"),
        (_SVG, "image/png"),
        (picture("GIF"), "image/gif"),
        (picture("GIF"), "image/png"),
        (picture("BMP"), "image/jpeg"),
        (picture("TIFF"), "image/jpeg"),
        (picture("PNG"), "image/jpeg"),
        (picture("JPEG"), "image/webp"),
        (picture("JPEG"), "application/octet-stream"),
        (picture("JPEG"), "application/json"),
        (picture("JPEG"), "text/plain"),
        (picture("JPEG")[:-40], "image/jpeg"),
        (picture("JPEG")[:30], "image/jpeg"),
        (picture("PNG")[:-30], "image/png"),
        (picture("WEBP", (100, 100))[:-10], "image/webp"),
        (b"\0", "image/jpeg"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "image/jpeg"),
        (animated("PNG"), "image/png"),
        (animated("WEBP"), "image/webp"),
        (animated("GIF"), "image/png"),
        (png(0, 10, b""), "image/png"),
    ],
)
def test_what_is_no_such_picture_is_refused(given: bytes, media_type: str) -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    assert_problem(put(ann, group, given, media_type), "unsupported_media", 415)
    assert version(ann, group) is None
    assert len(owed(ann, group)) == 2
    assert not Icon.objects.filter(group_id=group).exists()


@pytest.mark.parametrize(
    ("given", "media_type", "reason"),
    [
        (picture("GIF"), "image/gif", "not_allowed"),
        (picture("GIF"), "image/png", "mismatch"),
        (_SVG, "image/png", "not_allowed"),
        (animated("WEBP"), "image/webp", "animated"),
        (picture("JPEG")[:-40], "image/jpeg", "unreadable"),
    ],
)
def test_why_it_is_refused(given: bytes, media_type: str, reason: str) -> None:
    ann, bob = sign_in(), sign_in()
    body = assert_problem(put(ann, make(ann, bob), given, media_type), "unsupported_media", 415)
    assert body["details"] == {"reason": reason}


@pytest.mark.parametrize(
    "given",
    [
        png(100_000, 100_000, b"\0" * 1_000),
        png(2**31 - 1, 2**31 - 1, b""),
        png(60_000, 4_000, bytes(60_001) * 4_000),
    ],
    ids=["says so", "says more", "is so"],
)
def test_too_many_pixels(given: bytes) -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    assert len(given) < LIMITS.image_bytes
    assert_problem(put(ann, group, given, "image/png"), "too_large", 413)


def test_too_many_bytes() -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    whole = picture()
    exact = whole + b"\0" * (LIMITS.image_bytes - len(whole))
    body = assert_problem(put(ann, group, exact + b"\0"), "too_large", 413)
    assert body["details"] == {"limit": 524_288}
    assert_problem(put(ann, group, *form(("icon", exact + b"\0", "image/jpeg"))), "too_large", 413)
    assert put(ann, group, exact).status_code == 200
    assert put(ann, group, *form(("icon", exact, "image/jpeg"))).status_code == 200


def test_forms() -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    given = picture()
    field = b'--xx\r\nContent-Disposition: form-data; name="x"\r\n\r\ny\r\n'
    assert put(ann, group, *form(("icon", given, "image/jpeg"), extra=field)).status_code == 200
    one, two = ("icon", given, "image/jpeg"), ("other", given, "image/jpeg")
    for files_ in ([], [two], [one, one], [one, two]):
        assert_problem(put(ann, group, *form(*files_)), "bad_request", 400)
    for media_type in ("text/html", "image/svg+xml", "application/octet-stream"):
        assert_problem(put(ann, group, *form(("icon", given, media_type))), "unsupported_media", 415)
    assert_problem(put(ann, group, given, "multipart/form-data"), "bad_request", 400)
    assert_problem(put(ann, group, given, "multipart/form-data; boundary=xx"), "bad_request", 400)
    assert_problem(put(ann, group, *form(("icon", b"", "image/jpeg"))), "bad_request", 400)
    gzip = put(ann, group, given, **{"Content-Encoding": "gzip"})
    assert_problem(gzip, "unsupported_media", 415)


def test_who_may_edit_sets_it_and_members_see_it() -> None:
    ann, bob, eve = sign_in(), sign_in(), sign_in()
    group = make(ann, bob, settings={"whoEdits": "admins"})
    assert_problem(put(bob, group, picture()), "forbidden", 403)
    assert_problem(bob.api.delete(f"/groups/{group}/icon"), "forbidden", 403)
    assert put(ann, group, picture()).status_code == 200
    assert shown(bob, group).status_code == 200
    for call in (
        lambda: shown(eve, group),
        lambda: put(eve, group, picture()),
        lambda: eve.api.delete(f"/groups/{group}/icon"),
        lambda: put(ann, some_id(), picture()),
    ):
        assert_problem(call(), "not_found", 404)
    assert bob.api.delete(f"/groups/{group}/members/{bob.user_id}").status_code == 204
    assert_problem(shown(bob, group), "not_found", 404)
    nobody = Person("", "", "", "", "")
    assert_problem(put(nobody, group, picture()), "unauthenticated", 401)
    assert_problem(shown(nobody, group), "unauthenticated", 401)


def test_what_a_client_has_is_not_sent_again() -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    put(ann, group, picture())
    etag = shown(bob, group).headers["ETag"]
    assert etag != shown(bob, group, "thumb").headers["ETag"]
    again = bob.api.get(f"/groups/{group}/icon", headers={"If-None-Match": etag})
    assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", etag)
    assert again.headers["Cache-Control"] == "private, no-cache"
    put(ann, group, picture(colour="blue"))
    changed = bob.api.get(f"/groups/{group}/icon", headers={"If-None-Match": etag})
    assert changed.status_code == 200


def test_icons_an_hour(limits: Any) -> None:
    limits(group_icons_per_hour=1)
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    assert put(ann, group, picture()).status_code == 200
    assert "Retry-After" in put(ann, group, picture(colour="blue")).headers
    assert_problem(put(ann, group, picture(colour="blue")), "rate_limited", 429)
    assert put(bob, group, picture(colour="blue")).status_code == 200


# -- what it takes to make one ---------------------------------------------------------------------------------------------


def test_a_machine_without_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: Any, **__: Any) -> Any:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    with monkeypatch.context() as patched:
        patched.setattr(sandbox.subprocess, "Popen", none)
        assert_problem(put(ann, group, picture()), "unavailable", 503)
    assert put(ann, group, picture()).status_code == 200


def test_who_finds_no_worker_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    ann, bob = sign_in(), sign_in()
    group = make(ann, bob)
    busy = threading.BoundedSemaphore(1)
    busy.acquire()
    monkeypatch.setattr(squares, "_slots", busy)
    monkeypatch.setattr(squares, "_WAIT_S", 0.05)
    answer = put(ann, group, picture())
    assert assert_problem(answer, "unavailable", 503)["retryable"] is True
    busy.release()
    assert put(ann, group, picture()).status_code == 200
