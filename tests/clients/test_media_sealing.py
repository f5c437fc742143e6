"""Encrypted files: the format, and that nothing but the sender's file passes."""

from __future__ import annotations

import hashlib
import io
import random
import re
from dataclasses import replace
from pathlib import Path

import pytest

from whatsapp_client import MediaDamaged, Sealed
from whatsapp_client.sealing import CHUNK, TAG, new_key, seal, sealed_size, unseal

ADR = Path(__file__).parents[2] / "docs" / "adr" / "0130-files-are-sealed-in-chunks.md"
ID = "0193b2a0-7c00-7a11-8b22-1d2c3b4a5f60"


def sealed(data: bytes, key: bytes = b"") -> tuple[bytes, Sealed]:
    key = key or new_key()
    target = io.BytesIO()
    size, digest = seal(io.BytesIO(data), target, key)
    return target.getvalue(), Sealed(ID, key, digest, size)


def opened(data: bytes, about: Sealed) -> bytes:
    target = io.BytesIO()
    unseal(io.BytesIO(data), target, about)
    return target.getvalue()


def forged(data: bytes, about: Sealed) -> Sealed:
    """What the sender would have said of these bytes: only the chunks themselves stand in the way."""
    return replace(about, digest=hashlib.sha256(data).digest())


SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 77]


@pytest.mark.parametrize("size", SIZES)
def test_what_was_sealed_is_opened(size: int):
    data = random.Random(size).randbytes(size)
    secret, about = sealed(data)
    assert len(secret) == sealed_size(size)
    assert opened(secret, about) == data


class Dribble(io.BytesIO):
    """Gives less than it is asked for."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size or 0, 1_000))


def test_short_reads_make_the_same_chunks():
    data, key = random.Random(5).randbytes(2 * CHUNK + 5), new_key()
    target = io.BytesIO()
    seal(Dribble(data), target, key)
    assert target.getvalue() == sealed(data, key)[0]


@pytest.mark.parametrize("size", SIZES)
def test_a_changed_file_is_refused(size: int):
    chance = random.Random(size)
    secret, about = sealed(chance.randbytes(size))
    for at in {0, len(secret) // 2, len(secret) - 1, chance.randrange(len(secret))}:
        changed = bytearray(secret)
        changed[at] ^= 1 << chance.randrange(8)
        for said in (about, forged(bytes(changed), about)):
            with pytest.raises(MediaDamaged):
                opened(bytes(changed), said)


def whole(size: int) -> int:
    """What a forger would say of the size of the file."""
    return size - TAG * -(-size // (CHUNK + TAG))


MOVED = [[0], [0, 1], [0, 1, 2], [1, 0, 2, 3], [0, 2, 1, 3], [0, 1, 1, 3], [0, 2, 3], [0, 1, 2, 3, 3], [3]]


@pytest.mark.parametrize("order", MOVED)
def test_chunks_that_are_missing_or_moved_are_refused(order: list[int]):
    """Also by who knows nothing of the digest: each chunk is good in its place only, and the last one says so."""
    secret, about = sealed(random.Random(1).randbytes(3 * CHUNK + 77))
    chunks = [secret[at : at + CHUNK + TAG] for at in range(0, len(secret), CHUNK + TAG)]
    moved = b"".join(chunks[number] for number in order)
    with pytest.raises(MediaDamaged):
        opened(moved, about)
    with pytest.raises(MediaDamaged, match="changed"):
        opened(moved, replace(forged(moved, about), size=whole(len(moved))))


@pytest.mark.parametrize("size", SIZES)
def test_a_file_that_is_cut_or_goes_on_is_refused(size: int):
    secret, about = sealed(random.Random(size).randbytes(size))
    for other in (secret[:-1], secret[: len(secret) // 2], b"", secret + b"\0", secret + secret):
        with pytest.raises(MediaDamaged):
            opened(other, about)
        with pytest.raises(MediaDamaged):
            opened(other, forged(other, about))


def test_another_key_is_refused():
    secret, about = sealed(b"a photo")
    with pytest.raises(MediaDamaged, match="key"):
        opened(secret, replace(about, key=new_key()))


def test_nothing_is_written_before_it_is_known_to_be_good():
    secret, about = sealed(random.Random(2).randbytes(3 * CHUNK))
    changed = bytearray(secret)
    changed[-1] ^= 1
    target = io.BytesIO()
    with pytest.raises(MediaDamaged):
        unseal(io.BytesIO(bytes(changed)), target, about)
    assert target.getvalue() == b""  # the digest is another one
    with pytest.raises(MediaDamaged):
        unseal(io.BytesIO(bytes(changed)), target, forged(bytes(changed), about))
    assert len(target.getvalue()) == 2 * CHUNK  # and of the chunks the changed one is not there


def test_the_description_of_a_file_comes_back():
    for about in (
        Sealed(ID, bytes(32), bytes(32), 0),
        Sealed(ID, new_key(), new_key(), 2**31, "image/jpeg", b"\xff" * 32_768, "näme.jpg", "capti\0on"),
    ):
        data = about.to_bytes()
        assert Sealed.from_bytes(data) == about
        for other in [data[:at] for at in range(len(data)) if at < 200 or at % 997 == 0] + [data + b"\0"]:
            with pytest.raises(ValueError):
                Sealed.from_bytes(other)
        with pytest.raises(ValueError, match="not known"):
            Sealed.from_bytes(b"\x03" + data[1:])
    assert about.media_url == f"/media/{ID}/content"
    assert about.key.hex() not in repr(about)
    assert repr(about.key) not in repr(about)


WRONG = [
    {"key": b"short"}, {"digest": b""}, {"size": -1}, {"media_type": "no type"}, {"thumbnail": bytes(32_769)},
    {"name": "x" * 70_000},
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_what_does_not_fit_is_refused_before(wrong: dict):
    with pytest.raises(ValueError):
        replace(Sealed(ID, bytes(32), bytes(32), 0), **wrong).to_bytes()


def test_any_bytes_are_a_description_or_a_value_error():
    chance = random.Random(9)
    good = Sealed(ID, bytes(32), bytes(32), 7, "image/jpeg", b"thumb", "name", "caption").to_bytes()
    for _ in range(2_000):
        data = bytearray(good)
        for _ in range(chance.randrange(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            assert Sealed.from_bytes(bytes(data)).to_bytes() == bytes(data)
        except ValueError:
            pass


def test_the_vector_of_the_document():
    """What docs/adr/0130 says is what is done."""
    said = dict(re.findall(r"^\| (\S+) \| `([0-9a-f]*)` \|$", ADR.read_text(), re.MULTILINE))
    plain, key = bytes.fromhex(said["file"]), bytes.fromhex(said["key"])
    secret, about = sealed(plain, key)
    assert secret.hex() == said["encrypted"]
    assert about.digest.hex() == said["digest"]
    assert about.size == 11
    described = Sealed(ID, key, about.digest, about.size, "text/plain", b"\x01\x02", "a.txt", "hi")
    assert described.to_bytes().hex() == said["description"]
    assert (
        opened(bytes.fromhex(said["encrypted"]), Sealed.from_bytes(bytes.fromhex(said["description"])))
        == plain
    )
    # Two chunks: bytes 00 … of 65,537 bytes, by their digest.
    long = bytes(at % 251 for at in range(65_537))
    assert sealed(long, key)[1].digest.hex() == said["digest-of-65537"]
