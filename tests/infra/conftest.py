"""A Valkey that these tests may flush, kill and start again."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import pytest

from devtools import ports
from tests.support import early
from tests.support.servers import Valkey


@pytest.fixture(scope="session")
def own_valkey() -> Iterator[Valkey]:
    """Up when a test begins; a test that ends it starts it again."""
    with Valkey(early.FOLDER / "infra", port=ports.choose(), password=secrets.token_hex(8)) as server:
        yield server
