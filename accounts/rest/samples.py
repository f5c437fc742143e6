"""Values of the examples in the OpenAPI document; people and messages are those of the socket's."""

from __future__ import annotations

from typing import Final

from whatsapp.wire.examples import (
    ANN,
    ANNS_PHONE,
    AT,
    BOB,
    CONVERSATION,
    MESSAGE_SHOWN,
    TOKEN,
)

__all__ = ["ANN", "ANNS_PHONE", "AT", "BOB", "CONVERSATION", "MESSAGE_SHOWN", "TOKEN"]

ANNS_NUMBER: Final = "+15550001"
BOBS_NUMBER: Final = "+15550002"
PHOTO: Final = "60303ae22b998861bce3b28f33eec1be"
REFRESH_TOKEN: Final = "pXr1vJq0Tn8bYk3uQd5sLw7eZcGfHiJkMlNoPqRsTuV"
#: Another device of Ann's.
LAPTOP: Final = "0193b2a0-7c00-7a11-8b22-5f5e1c0d9a33"
