"""Photos: what comes through and what does not."""

from __future__ import annotations

import io
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageCms, ImageOps

from media.tools import kinds, pictures
from media.tools.folders import folder as new_folder
from media.tools.pictures import Limits
from media.tools.reasons import Reason, Refused
from media.tools.renditions import Name
from tests.media.tools import files


def made(
    parent: Path, tmp_path: Path, content: bytes, limits: Limits | None = None
) -> tuple[Image.Image, Image.Image, bytes]:
    """The full picture, the thumbnail, and all bytes that were made."""
    path = tmp_path / "picture"
    path.write_bytes(content)
    kind = kinds.identify(path, "")
    with new_folder(parent) as folder:
        full, thumb = pictures.renditions(folder, path, kind, limits=limits)
        assert (full.name, full.media_type, thumb.name, thumb.media_type) == (
            Name.FULL,
            "image/webp",
            Name.THUMB,
            "image/jpeg",
        )
        both = full.path.read_bytes(), thumb.path.read_bytes()
        assert (full.size, thumb.size) == (len(both[0]), len(both[1]))
        first, second = (Image.open(io.BytesIO(one)) for one in both)
        first.load()
        second.load()
        assert (first.format, first.size) == ("WEBP", (full.width, full.height))
        assert (second.format, second.size) == ("JPEG", (150, 150))
        assert (thumb.width, thumb.height) == (150, 150)
    assert path.read_bytes() == content, "the upload is as it was"
    return first, second, both[0] + both[1]


def refused(parent: Path, tmp_path: Path, content: bytes, limits: Limits | None = None) -> Reason:
    with pytest.raises(Refused) as caught:
        made(parent, tmp_path, content, limits)
    return caught.value.reason


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF"])
def test_every_format_becomes_webp(parent: Path, tmp_path: Path, form: str) -> None:
    full, thumb, _ = made(parent, tmp_path, files.picture(form, (900, 400)))
    assert full.size == (900, 400)
    for image in (full, thumb):
        red, green, blue = image.convert("RGB").getpixel((image.width // 2, image.height // 2))
        assert (red > 240, green < 15, blue < 15) == (True, True, True)


@pytest.mark.parametrize(
    ("mode", "form", "colour"),
    [
        ("L", "PNG", 200), ("LA", "PNG", (9, 0)), ("P", "PNG", 3), ("1", "PNG", 1), ("RGBA", "PNG", (9, 9, 9, 0)),
        ("I;16", "PNG", 40_000), ("CMYK", "JPEG", (0, 255, 255, 0)), ("L", "JPEG", 9), ("RGBA", "WEBP", (9, 9, 9, 0)),
    ],
)  # fmt: skip
def test_pictures_of_every_mode(parent: Path, tmp_path: Path, mode: str, form: str, colour: Any) -> None:
    full, thumb, _ = made(parent, tmp_path, files.picture(form, mode=mode, colour=colour))
    if "A" in mode:
        assert full.getpixel((9, 9))[3] == 0, "what is seen through stays so"
        assert thumb.getpixel((9, 9)) == (255, 255, 255)
    if mode == "CMYK":
        assert full.getpixel((9, 9))[0] > 200


def test_the_longest_side(parent: Path, tmp_path: Path) -> None:
    full, _, _ = made(parent, tmp_path, files.picture("JPEG", (5_000, 1_000)))
    assert full.size == (4_096, 819)
    full, _, _ = made(parent, tmp_path, files.picture("PNG", (900, 1_200)), Limits(longest=600))
    assert full.size == (450, 600)
    full, _, _ = made(parent, tmp_path, files.picture("PNG", (3, 2)), Limits(longest=600))
    assert full.size == (3, 2), "not blown up"
    full, _, _ = made(parent, tmp_path, files.picture("PNG", (1, 30_000)))
    assert full.size == (1, 4_096)


def test_what_a_camera_wrote_is_gone_and_up_is_up(parent: Path, tmp_path: Path) -> None:
    photo = Image.new("RGB", (400, 300), "blue")
    photo.paste("red", (0, 0, 400, 150))  # red above, but the camera was turned
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010F] = "SecretCamera"
    exif.get_ifd(0x8825)[2] = (52.0, 31.0, 12.0)
    out = io.BytesIO()
    photo.save(
        out, "JPEG", exif=exif, comment=b"SecretComment", icc_profile=b"SecretProfile" * 20, xmp=b"SecretXmp"
    )
    given = out.getvalue()
    for secret in (b"SecretCamera", b"SecretComment", b"SecretProfile", b"SecretXmp"):
        assert secret in given
    full, thumb, content = made(parent, tmp_path, given)
    assert b"Secret" not in content
    assert b"Exif" not in content
    assert b"ICC" not in content
    assert full.size == (300, 400)
    for image in (full, thumb):
        assert not image.getexif()
        assert not {"exif", "comment", "icc_profile", "xmp"} & set(image.info)
        assert image.convert("RGB").getpixel((image.width - 10, image.height // 2))[0] > 200, (
            "above is right now"
        )
        assert image.convert("RGB").getpixel((10, image.height // 2))[2] > 200


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_orientation(parent: Path, tmp_path: Path, turn: int) -> None:
    """As Pillow itself turns it."""
    photo = Image.new("RGB", (80, 40), "black")
    photo.paste("red", (0, 0, 20, 20))
    photo.paste("blue", (60, 0, 80, 20))
    exif = Image.Exif()
    exif[0x0112] = turn
    out = io.BytesIO()
    photo.save(out, "PNG", exif=exif)
    right = ImageOps.exif_transpose(Image.open(io.BytesIO(out.getvalue()))).convert("RGB")
    full, _, _ = made(parent, tmp_path, out.getvalue())
    assert full.size == right.size
    for x in (10, full.width - 10):
        for y in (10, full.height - 10):
            for is_one, should in zip(
                full.convert("RGB").getpixel((x, y)), right.getpixel((x, y)), strict=True
            ):
                assert abs(is_one - should) < 40


def swapped_profile() -> bytes:
    """sRGB with red and blue exchanged, and another name."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, blue = profile.find(b"rXYZ", 128), profile.find(b"bXYZ", 128)
    profile[red : red + 4], profile[blue : blue + 4] = b"bXYZ", b"rXYZ"
    return bytes(profile).replace("sRGB".encode("utf-16-be"), "QXYZ".encode("utf-16-be"))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_of_a_profile_are_kept_without_it(parent: Path, tmp_path: Path, mode: str) -> None:
    colour = (200, 30, 30, 255)[: len(mode)]
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    _, _, plain = made(parent, tmp_path, files.picture("PNG", mode=mode, colour=colour))
    for profile in (srgb, b"no profile", srgb[:200]):
        _, _, same = made(
            parent, tmp_path, files.picture("PNG", mode=mode, colour=colour, icc_profile=profile)
        )
        assert same == plain
    given = files.picture("PNG", mode=mode, colour=colour, icc_profile=swapped_profile())
    full, _, content = made(parent, tmp_path, given)
    red, _, blue = full.convert("RGB").getpixel((9, 9))
    assert (red < 60, blue > 170) == (True, True)
    assert b"ICCP" not in content


_SCRIPT = b"<script>alert(1)</script>"


@pytest.mark.parametrize(
    "given",
    [
        files.picture() + files.archive({"a": _SCRIPT}, 0),
        files.picture()[:2]
        + b"\xff\xfe"
        + (2 + len(_SCRIPT)).to_bytes(2, "big")
        + _SCRIPT
        + files.picture()[2:],
        files.picture("PNG") + _SCRIPT,
        files.picture("GIF") + _SCRIPT,
        files.picture("WEBP") + files.PDF + _SCRIPT,
    ],
    ids=["an archive behind", "a page in a comment", "a page behind", "a page behind a GIF", "a PDF behind"],
)
def test_what_is_two_things_becomes_one(parent: Path, tmp_path: Path, given: bytes) -> None:
    _, _, content = made(parent, tmp_path, given)
    for word in (b"script", b"PK\x03\x04", b"%PDF"):
        assert word not in content


@pytest.mark.parametrize("form", ["GIF", "PNG", "WEBP"])
def test_what_moves_is_refused(parent: Path, tmp_path: Path, form: str) -> None:
    assert refused(parent, tmp_path, files.animated(form)) is Reason.ANIMATED


def test_a_photo_with_a_second_one_inside(parent: Path, tmp_path: Path) -> None:
    made(parent, tmp_path, files.animated("MPO"))


def test_bombs(parent: Path, tmp_path: Path) -> None:
    assert refused(parent, tmp_path, files.png_of_zeros(8_000, 7_000)) is Reason.PIXELS
    assert refused(parent, tmp_path, files.png_of_zeros(30_000, 30_000, rows=1)) is Reason.PIXELS
    assert refused(parent, tmp_path, files.png_of_zeros(2**31 - 1, 2**31 - 1, rows=0)) in (
        Reason.PIXELS,
        Reason.UNREADABLE,
    )
    small = Limits(pixels=10_000, jpeg_pixels=200_000)
    assert refused(parent, tmp_path, files.picture("PNG", (101, 100)), small) is Reason.PIXELS
    assert refused(parent, tmp_path, files.picture("JPEG", (500, 401)), small) is Reason.PIXELS
    made(parent, tmp_path, files.picture("PNG", (100, 100)), small)


def test_a_jpeg_of_many_pixels_is_decoded_smaller(parent: Path, tmp_path: Path) -> None:
    """Phones make photos of 200 megapixels; half of them are enough."""
    small = Limits(longest=100, pixels=20_000, jpeg_pixels=200_000)
    full, _, _ = made(parent, tmp_path, files.picture("JPEG", (400, 400)), small)
    assert full.size == (100, 100)
    assert (
        refused(parent, tmp_path, files.picture("JPEG", (400, 400)), Limits(longest=300, pixels=20_000))
        is Reason.PIXELS
    )


def test_bounds_of_the_process_hold(parent: Path, tmp_path: Path) -> None:
    noise = io.BytesIO()
    Image.effect_noise((3_000, 3_000), 90).convert("RGB").save(noise, "JPEG", quality=95)
    process = Limits().process
    for less in ({"memory_bytes": 200 * 2**20}, {"output_bytes": 2**16}, {"cpu_s": 1}):
        limits = Limits(process=replace(process, **less))
        assert refused(parent, tmp_path, noise.getvalue(), limits) is Reason.RESOURCES
    assert refused(parent, tmp_path, noise.getvalue(), Limits(file_bytes=1_000)) is Reason.RESOURCES
    made(parent, tmp_path, noise.getvalue())


def test_more_than_16_mb_is_made_smaller(parent: Path, tmp_path: Path) -> None:
    photo = Image.frombytes("RGB", (2_600, 2_200), random.Random(1).randbytes(2_600 * 2_200 * 3))
    out = io.BytesIO()
    photo.save(out, "PNG")
    assert len(out.getvalue()) > 16 * 2**20
    full, _, content = made(parent, tmp_path, out.getvalue())
    assert full.size == (2_600, 2_200)
    assert len(content) < 16 * 2**20


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF"])
def test_cut_off(parent: Path, tmp_path: Path, form: str) -> None:
    out = io.BytesIO()
    Image.effect_noise((200, 200), 90).convert("RGB").save(out, form)
    whole = out.getvalue()
    for length in (40, len(whole) // 4, len(whole) // 2, len(whole) * 9 // 10):
        assert refused(parent, tmp_path, whole[:length]) is Reason.UNREADABLE


def test_a_worker_that_was_taken_over_answers_nonsense() -> None:
    for stdout in (b"", b"{", b"[]", b'{"refused": "because"}', b'{"refused": []}', b"[" * 100_000):
        with pytest.raises(Refused) as caught:
            pictures.answer(stdout)
        assert caught.value.reason is Reason.UNREADABLE
    with pytest.raises(Refused) as caught:
        pictures.answer(b'{"refused": "pixels"}')
    assert caught.value.reason is Reason.PIXELS
