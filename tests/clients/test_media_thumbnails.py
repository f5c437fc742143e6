"""The small picture of an encrypted file: made, encrypted, kept by the server, fetched before the file."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from PIL import Image

from tests.media.test_process import photo
from whatsapp_client import MediaDamaged, Sealed, thumbnails
from whatsapp_client.sealing import new_key

from .cutting import Cutting, answer
from .test_media import behind, message, stored_by, two

ADR = Path(__file__).parents[2] / "docs" / "adr" / "0135-thumbnails-sealed-beside-the-file.md"
ID = "0193b2a0-7c00-7a11-8b22-1d2c3b4a5f60"
KEY = bytes(range(32))


def test_the_vector_of_the_decision():
    said = dict(re.findall(r"^\| (\w+) \| `([0-9a-f]+)` \|$", ADR.read_text(), re.MULTILINE))
    vector = {name: bytes.fromhex(text) for name, text in said.items()}
    assert HKDF(SHA256(), 32, None, b"whatsapp thumbnail 1").derive(KEY) == vector["derived"]
    made = thumbnails.seal(KEY, vector["picture"], vector["nonce"])
    assert made == (vector["object"], vector["digest"])
    assert thumbnails.unseal(KEY, vector["digest"], vector["object"]) == vector["picture"]


def test_nothing_but_what_was_sealed_is_opened():
    key = new_key()
    data, digest = thumbnails.seal(key, b"small")
    again, _ = thumbnails.seal(key, b"small")
    assert data != again, "each has a nonce of its own"
    for other in (data[:-1], data + b"\0", again, b"", bytes([data[0] ^ 1]) + data[1:]):
        with pytest.raises(MediaDamaged, match="not the thumbnail"):
            thumbnails.unseal(key, digest, other)
    with pytest.raises(MediaDamaged, match="key"):
        thumbnails.unseal(new_key(), digest, data)
    with pytest.raises(ValueError, match="at most"):
        thumbnails.seal(key, bytes(thumbnails.MOST - 27))
    assert len(thumbnails.seal(key, bytes(thumbnails.MOST - 28))[0]) == thumbnails.MOST


def test_a_description_with_a_thumbnail_comes_back():
    plain = Sealed(ID, KEY, bytes(32), 5, "image/jpeg", b"inside", "a.jpg", "look")
    about = replace(plain, thumbnail_digest=new_key())
    data = about.to_bytes()
    assert Sealed.from_bytes(data) == about
    assert data[0] == 2
    assert plain.to_bytes()[0] == 1, "who has none writes what was always written"
    for other in [data[:at] for at in range(len(data))] + [
        data + b"\0",
        b"\x01" + data[1:],
        b"\x03" + data[1:],
    ]:
        with pytest.raises(ValueError):
            Sealed.from_bytes(other)


def test_a_small_picture_is_upright_and_says_nothing_else():
    source = io.BytesIO()
    picture = Image.new("RGB", (400, 200), "white")
    picture.paste("red", (0, 0, 200, 200))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "somewhere secret"  # to be turned by a quarter
    picture.save(source, "JPEG", exif=exif)
    made = thumbnails.made(source)
    assert b"secret" not in made
    small = Image.open(io.BytesIO(made))
    assert (small.format, small.size) == ("JPEG", (150, 150))
    top, bottom = small.getpixel((75, 20)), small.getpixel((75, 130))
    assert top[0] > 200 > 60 > top[1]
    assert min(bottom) > 200


@pytest.mark.parametrize("data", [b"", b"no picture", photo()[:300], b"<svg/>"])
def test_what_is_no_picture_has_no_small_one(data: bytes):
    assert thumbnails.made(io.BytesIO(data)) == b""


def test_a_picture_that_is_too_large_is_not_decoded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(thumbnails, "MAX_PIXELS", 800 * 600 - 1)
    assert thumbnails.made(io.BytesIO(photo())) == b""
    monkeypatch.setattr(thumbnails, "MAX_PIXELS", 800 * 600)
    assert thumbnails.made(io.BytesIO(photo())) != b""


@pytest.mark.needs_system
async def test_the_small_picture_comes_before_the_file(stack: Any, tmp_path: Path):
    data = photo()
    (tmp_path / "beach.jpg").write_bytes(data)
    async with two(stack) as (conversation, ann, bob):
        stream = bob.events()
        await ann.send_file(conversation, tmp_path / "beach.jpg", kind="image", seal=Sealed.to_bytes)
        about = Sealed.from_bytes((await message(bob, stream)).content)
        small = await bob.media.thumbnail(about, conversation_id=conversation)
        assert Image.open(io.BytesIO(small)).size == (150, 150)
        await bob.media.download(about.media_url, tmp_path / "got", conversation_id=conversation, key=about)
        assert (tmp_path / "got").read_bytes() == data
        # What the server has is none that it could look at.
        kept = stored_by(stack, about.thumbnail_digest.hex())
        assert about.thumbnail_digest in [hashlib.sha256(each).digest() for each in kept]
        assert not any(small in each or b"JFIF" in each for each in kept)
        assert (await ann.media.status(about.media_id)).thumbnail
        with pytest.raises(MediaDamaged):
            await bob.media.thumbnail(replace(about, thumbnail_digest=bytes(32)))
        assert await bob.media.thumbnail(replace(about, thumbnail_digest=b"")) == b""


@pytest.mark.needs_system
async def test_a_picture_of_ones_own_or_none(stack: Any):
    async with two(stack) as (conversation, ann, _):
        own = await ann.media.upload(
            conversation, b"film", kind="video", encrypted=True, kept_thumbnail=b"still"
        )
        none = await ann.media.upload(conversation, photo(), kind="image", encrypted=True, kept_thumbnail=b"")
        assert own.sealed is not None
        assert none.sealed is not None
        assert await ann.media.thumbnail(own.sealed) == b"still"
        assert none.sealed.thumbnail_digest == b""
        with pytest.raises(ValueError, match="at most"):
            await ann.media.upload(conversation, b"x", encrypted=True, kept_thumbnail=bytes(70_000))
        assert ann.media.unfinished() == []


@pytest.mark.needs_system
@pytest.mark.parametrize("takes", [True, False])
async def test_an_answer_that_is_lost_and_a_server_that_takes_none(stack: Any, takes: bool):
    """A cut is got over; a server of an older version gets the file without."""
    async with two(stack) as (conversation, ann, _), Cutting(stack.http, only=(b"PUT",)) as way:
        way.instead = [answer("503 Service Unavailable" if takes else "404 Not Found")]
        way.cuts_down = iter([0])
        done = await behind(way, ann).media.upload(conversation, photo(), kind="image", encrypted=True)
        assert done.sealed is not None
        assert bool(done.sealed.thumbnail_digest) == takes
        assert sum(head.startswith(b"PUT") for head in way.heads) == (3 if takes else 1)
        assert (await ann.media.status(done.media_id)).thumbnail == takes
