"""What is sealed for a device: only the device reads it, and its length tells little."""

from __future__ import annotations

import base64
import os

import http_ece
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from notifications import sealing

KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC = KEY.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
AUTH = os.urandom(16)


def _decoded(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def opened(sealed: bytes, key: ec.EllipticCurvePrivateKey = KEY, auth: bytes = AUTH) -> bytes:
    found: bytes = http_ece.decrypt(sealed, private_key=key, auth_secret=auth)
    return found


def test_the_example_of_rfc_8291() -> None:
    """Appendix A: these keys and this salt make this body."""
    key = ec.derive_private_key(
        int.from_bytes(_decoded("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw")), ec.SECP256R1()
    )
    public = _decoded(
        "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4"
    )
    body = sealing._seal(
        _decoded("V2hlbiBJIGdyb3cgdXAsIEkgd2FudCB0byBiZSBhIHdhdGVybWVsb24"),
        b"",
        public,
        _decoded("BTBZMqHH6r4Tts7J_aSIgg"),
        key,
        _decoded("DGv6ra1nlYgDCS1FRnbzlw"),
    )
    assert body == _decoded(
        "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6Tlz"
        "AC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN"
    )


@settings(deadline=None, max_examples=60)
@given(length=st.integers(0, sealing.LONGEST), byte=st.sampled_from([b"\0", b"\2", b"x"]))
def test_the_device_reads_it_and_its_size_is_one_of_few(length: int, byte: bytes) -> None:
    content = length * byte
    sealed = sealing.seal(content, PUBLIC, AUTH)
    assert opened(sealed) == content
    assert len(sealed) == sealing.sealed_size(length)
    assert len(sealed) in sealing.SIZES


def test_nothing_is_the_same_twice_and_nothing_is_longer_than_a_push_service_takes() -> None:
    once, again = (sealing.seal(b"hello", PUBLIC, AUTH) for _ in range(2))
    assert once[:16] != again[:16]  # salt
    assert once[21:86] != again[21:86]  # key
    assert [len(sealing.seal(bytes(size - 103), PUBLIC, AUTH)) for size in sealing.SIZES] == [*sealing.SIZES]
    assert len(sealing.seal(bytes(sealing.SIZES[0] - 102), PUBLIC, AUTH)) == sealing.SIZES[1]
    with pytest.raises(sealing.CannotSeal):
        sealing.seal(bytes(sealing.LONGEST + 1), PUBLIC, AUTH)


@pytest.mark.parametrize("who", ["another key", "another secret"])
def test_nobody_else_reads_it(who: str) -> None:
    sealed = sealing.seal(b"hello", PUBLIC, AUTH)
    key = ec.generate_private_key(ec.SECP256R1()) if who == "another key" else KEY
    auth = os.urandom(16) if who == "another secret" else AUTH
    with pytest.raises(http_ece.ECEException):
        opened(sealed, key, auth)


@pytest.mark.parametrize(
    ("public", "auth"),
    [
        (PUBLIC, AUTH[:15]),
        (PUBLIC, AUTH + b"x"),
        (b"", AUTH),
        (PUBLIC[:64], AUTH),
        (b"\4" + bytes(64), AUTH),
        (bytes(65), AUTH),
        (PUBLIC[:64] + bytes([PUBLIC[64] ^ 1]), AUTH),
        (KEY.public_key().public_bytes(Encoding.X962, PublicFormat.CompressedPoint), AUTH),
    ],
    # Keys are made anew for each run: a name of their bytes would be another one in each process of pytest.
    ids=[
        "short secret",
        "long secret",
        "no key",
        "short key",
        "not on the curve",
        "zeros",
        "another point",
        "compressed",
    ],
)
def test_keys_that_are_none_are_refused(public: bytes, auth: bytes) -> None:
    with pytest.raises(sealing.CannotSeal):
        sealing.check_keys(public, auth)
    with pytest.raises(sealing.CannotSeal):
        sealing.seal(b"hello", public, auth)
    sealing.check_keys(PUBLIC, AUTH)
