"""Values of the examples in the OpenAPI document; people and messages are those of the socket's."""

from __future__ import annotations

import base64
from typing import Final

from whatsapp.wire.examples import (
    ANN,
    ANNS_PHONE,
    AT,
    BOB,
    BOBS_PHONE,
    CONVERSATION,
    MESSAGE_SHOWN,
    TOKEN,
)

__all__ = ["ANN", "ANNS_PHONE", "AT", "BOB", "BOBS_PHONE", "CONVERSATION", "MESSAGE_SHOWN", "TOKEN"]

ANNS_NUMBER: Final = "+15550001"
BOBS_NUMBER: Final = "+15550002"
PHOTO: Final = "60303ae22b998861bce3b28f33eec1be"
REFRESH_TOKEN: Final = "pXr1vJq0Tn8bYk3uQd5sLw7eZcGfHiJkMlNoPqRsTuV"
#: Another device of Ann's.
LAPTOP: Final = "0193b2a0-7c00-7a11-8b22-5f5e1c0d9a33"

#: Keys that are good: a client can send them.
_IDENTITY: Final = "Bci0LMv+QAoaUWf7qb87jQAHLrWgNZW6oPfGMUYcU1sg"
_SIGNED: Final = {
    "keyId": 12,
    "publicKey": "BazQSGOY3Z7ItrxwgRrWn4UdivUvPf8T4l2wx5wx21FC",
    "signature": "EORq6c4h0VPJphCC7Di108M6wSFGvrr7xTw2EkB5PZG9SgCHao5idOncx7DTpZZayibhYcWEkUrlxvIH/P5LDw==",
}
_ONE: Final = {"keyId": 4_093, "publicKey": "BdawBG2MV8veCJCFaHbdWabgT0FBSxy5KSOiXUjGP8hK"}
_KYBER: Final = {
    "keyId": 77,
    "publicKey": base64.b64encode(b"\x08" + bytes(1_568)).decode(),
    "signature": "3DQ/MwTsdNRpryNT1Se6iHNerVKte9Z8XkGvE51W+LlW3cG4MtfgP1pEprRMnNdzvn95d5/pd0jKonYGEAb+CA==",
}
KEYS: Final = {
    "identityKey": _IDENTITY,
    "signedPreKey": _SIGNED,
    "preKeys": [_ONE],
    "pqPreKeys": [_KYBER],
    "lastResort": {**_KYBER, "keyId": 3},
    "registrationId": 4711,
}
BUNDLE: Final = {
    "deviceId": BOBS_PHONE,
    "registrationId": 815,
    "identityKey": _IDENTITY,
    "signedPreKey": _SIGNED,
    "preKey": _ONE,
    "pqPreKey": _KYBER,
}
