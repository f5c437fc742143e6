"""Every promise of the socket holds in both codecs."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["json", "protobuf"])
def codec(request: pytest.FixtureRequest) -> str:
    """The codec's name, as in the subprotocol."""
    return str(request.param)
