"""Who we are to the push services of browsers: Voluntary Application Server Identification (VAPID, RFC 8292). A browser makes its
subscription for our public key, and its push service takes pushes for it only with a token that the private key has signed."""

from __future__ import annotations

import base64
import binascii
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from notifications.senders.interface import PushApp
from whatsapp.infra.clock import now_ms

#: Seconds from a token's making to its end; a push service refuses more than 24 hours (RFC 8292, 2).
LIFETIME_S: Final = 12 * 3_600
#: Tokens kept. A client names the origin, so their number is not ours to say where all hosts are allowed.
_KEPT: Final = 256
_SUBJECT: Final = re.compile(r"(mailto:[^\s@]+@[^\s@]+|https://[^\s]+)", re.ASCII)


class BadVapid(ValueError):
    """What is set is no key or no subject. The text never holds a piece of it."""


def private_key_of(options: Mapping[str, str]) -> ec.EllipticCurvePrivateKey:
    """``private_key``: base64url of the 32 bytes, as :mod:`push_vapid_key <notifications.management.commands.push_vapid_key>`
    prints them, or PEM; or ``key_file``, which holds either. Raises :class:`BadVapid`."""
    text = options.get("private_key", "")
    if not text and (file := options.get("key_file")):
        try:
            text = Path(file).read_text("ascii")
        except (OSError, ValueError):
            raise BadVapid("The key file cannot be read.") from None
    if not text:
        raise BadVapid("There is no private key.")
    try:
        if "BEGIN" in text:
            key = load_pem_private_key(text.replace("\\n", "\n").encode(), password=None)
        else:
            number = base64.b64decode(text.strip().rstrip("=") + "=", altchars=b"-_", validate=True)
            if len(number) != 32:
                raise ValueError
            key = ec.derive_private_key(int.from_bytes(number), ec.SECP256R1())
    except (ValueError, TypeError, binascii.Error):
        raise BadVapid("The private key cannot be read.") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise BadVapid("The private key is not of P-256.")
    return key


def public_text(key: ec.EllipticCurvePrivateKey) -> str:
    """base64url, as browsers take it (``applicationServerKey``)."""
    return _text(key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


def private_text(key: ec.EllipticCurvePrivateKey) -> str:
    return _text(key.private_numbers().private_value.to_bytes(32))


def public_key_of(app: PushApp) -> str:
    """What browsers subscribe for (``applicationServerKey``), base64url; "" while no key is set that can be read."""
    try:
        return public_text(private_key_of(app.options))
    except BadVapid:
        return ""


class Vapid:
    """Makes what stands in ``Authorization``; one token for each origin, kept for half of its life."""

    def __init__(
        self, key: ec.EllipticCurvePrivateKey, subject: str, clock: Callable[[], int] = now_ms
    ) -> None:
        """``subject``: whom the people of a push service write to, ``mailto:…`` or ``https:…``. Raises :class:`BadVapid`."""
        if not _SUBJECT.fullmatch(subject):
            raise BadVapid("The subject is neither a mailto: nor an https: address.")
        self._key, self._subject, self._clock = key, subject, clock
        self.public_key = public_text(key)
        self._tokens: OrderedDict[str, tuple[str, int]] = OrderedDict()

    def authorization(self, origin: str) -> str:
        """``origin``: scheme, host and, unless it is 443, port (RFC 6454, 6.2)."""
        now = self._clock() // 1_000
        token, renew = self._tokens.get(origin, ("", 0))
        if not now < renew <= now + LIFETIME_S:  # above: the clock was set back
            claims = {"aud": origin, "exp": now + LIFETIME_S, "sub": self._subject}
            token, renew = jwt.encode(claims, self._key, algorithm="ES256"), now + LIFETIME_S // 2
            self._tokens[origin] = token, renew
            if len(self._tokens) > _KEPT:
                self._tokens.popitem(last=False)
        return f"vapid t={token}, k={self.public_key}"

    def forget(self, origin: str) -> None:
        """It was refused: the next one is made anew."""
        self._tokens.pop(origin, None)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
