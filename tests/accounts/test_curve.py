"""What is taken for a key, and for a signature."""

from __future__ import annotations

import pytest

from accounts.curve import BadKey, Verifier, check_key, check_kyber_key
from tests.support.signal_keys import IdentityPair, new_kyber, new_public

P = 2**255 - 19
# libsignal, rust/core/src/curve/curve25519.rs, test_signature
IDENTITY = bytes.fromhex("05ab7e717d4a163b7d9a1d8071dfe9dcf8cdcd1cea3339b6356be84d887e322c64")
EPHEMERAL = bytes.fromhex("05edce9d9c415ca78cb7252e72c2c4a554d3eb29485a0e1d503118d1a82d99fb4a")
SIGNATURE = bytes.fromhex(
    "5de88ca9a89b4a115da79109c67c9c7464a3e4180274f1cb8c63c2984e286dfb"
    "ede82deb9dcd9fae0bfbb821569b3d9001bd8130cd11d486cef047bd60b86e88"
)


def point(u: int) -> bytes:
    return b"\x05" + u.to_bytes(32, "little")


def test_libsignals_vector_is_verified_and_no_changed_one() -> None:
    verifier = Verifier(IDENTITY)
    check_key(IDENTITY)
    check_key(EPHEMERAL)
    assert verifier.is_good(SIGNATURE, EPHEMERAL)
    for place in range(512):
        changed = bytearray(SIGNATURE)
        changed[place // 8] ^= 1 << place % 8
        assert not verifier.is_good(bytes(changed), EPHEMERAL), place
    for place in range(len(EPHEMERAL) * 8):
        other = bytearray(EPHEMERAL)
        other[place // 8] ^= 1 << place % 8
        assert not verifier.is_good(SIGNATURE, bytes(other)), place


def test_signatures_of_both_signs_are_verified_and_others_are_not() -> None:
    pairs = [IdentityPair() for _ in range(32)]
    assert {pair.sign_bit for pair in pairs} == {0, 1}
    for pair, other in zip(pairs, pairs[1:] + pairs[:1], strict=True):
        message = new_public()
        signature = pair.sign(message)
        assert Verifier(pair.public).is_good(signature, message)
        assert not Verifier(other.public).is_good(signature, message)
        assert not Verifier(pair.public).is_good(signature, new_public())


@pytest.mark.parametrize("signature", [b"", bytes(63), bytes(64), bytes(65), b"\xff" * 64])
def test_what_is_no_signature(signature: bytes) -> None:
    assert not Verifier(IDENTITY).is_good(signature, EPHEMERAL)


def test_a_signature_with_another_scalar_of_the_same_rest_is_refused() -> None:
    """S and S + L verify alike if nobody looks (RFC 8032, section 5.1.7)."""
    order = 2**252 + 27742317777372353535851937790883648493
    pair = IdentityPair()
    message = new_public()
    signature = pair.sign(message)
    scalar = int.from_bytes(signature[32:63] + bytes([signature[63] & 0x7F]), "little") + order
    if scalar < 2**255:
        again = bytearray(signature[:32] + scalar.to_bytes(32, "little"))
        again[63] |= pair.sign_bit << 7
        assert not Verifier(pair.public).is_good(bytes(again), message)


@pytest.mark.parametrize(
    "key",
    [
        *(
            point(u)
            for u in (
                0,
                1,
                325606250916557431795983626356110631294008115727848805560023387167927233504,
                39382357235489614581723060781553021112529911719440698176882885853963445705823,
                P - 1,
                P,
                P + 1,
                P + 9,
                2**255 + 9,
                2**256 - 1,
                2,  # on the twist
            )
        ),
        point(9)[1:],
        point(9) + b"\x00",
        b"\x06" + point(9)[1:],
        b"",
    ],
)
def test_what_is_no_key(key: bytes) -> None:
    with pytest.raises(BadKey):
        check_key(key)


def test_what_x25519_makes_is_a_key() -> None:
    check_key(point(9))
    for _ in range(50):
        check_key(new_public())


def test_post_quantum_keys() -> None:
    good = new_kyber()
    check_kyber_key(good)
    for bad in (good[1:], good + b"\x00", b"\x07" + good[1:], good[:1] + b"\xff" * 1_568, b""):
        with pytest.raises(BadKey):
            check_kyber_key(bad)
