"""Where the owner of a sanction can say that it is wrong: the address, and what it says.

An operator's own (``APPEAL_URL``), or a page of this system at a signed address, one a sanction. The signature is what lets its
owner in; it opens this one page and nothing else.
"""

from __future__ import annotations

import uuid
from typing import Final

from django.conf import settings
from django.core import signing

_SALT: Final = "accounts.appeals"
#: An address of ours is shorter; what is longer is not looked at.
TOKEN_MOST: Final = 200


def url(sanction: str) -> str:
    """The address at which the owner of this sanction (an id) can appeal; "" without one, unless ``APPEAL_URL`` is set.

    Without ``PUBLIC_URL`` it is a path, relative to the server that said it.
    """
    if settings.APPEAL_URL or not sanction:
        return str(settings.APPEAL_URL)
    return f"{settings.PUBLIC_URL}/appeals/{token(sanction)}"


def token(sanction: str) -> str:
    return signing.Signer(salt=_SALT).sign(uuid.UUID(sanction).hex)


def read(text: str) -> uuid.UUID | None:
    """The id of the sanction that an address is for; None of any other text."""
    if len(text) > TOKEN_MOST:
        return None
    try:
        return uuid.UUID(signing.Signer(salt=_SALT).unsign(text))
    except (signing.BadSignature, ValueError):
        return None
