"""Each module of fault tests owns a system; its tests repair what they broke."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.faults.rig import Rig
from tests.support.stack import System


@pytest.fixture(scope="module")
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """A test build with two gateways and a worker. ``LIMITS`` of the module goes over the limits table."""
    limits = getattr(request.module, "LIMITS", {})
    with System(env={"WHATSAPP_TEST_BUILD": "1"}, limits=limits) as system:
        yield Rig(system)
