"""One suite for every store: a test that asks for ``harness`` runs once an implementation."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.contract.harness import DjangoHarness, People, PostgresHarness

IMPLEMENTATIONS = {"postgres": PostgresHarness, "django": DjangoHarness}


@pytest.fixture(scope="session")
def contract_url(postgres_server: Any) -> str:
    """A database for this suite; its tests use ids of their own, and ages of their own where a call sees everything."""
    return postgres_server.create("contract")


@pytest.fixture(params=IMPLEMENTATIONS)
async def harness(
    request: pytest.FixtureRequest, contract_url: str, django_db_blocker: Any
) -> AsyncIterator[Any]:
    with django_db_blocker.unblock():
        async with IMPLEMENTATIONS[request.param](contract_url) as harness:
            yield harness


@pytest.fixture
async def people(harness: Any) -> People:
    return await People(harness.store).meet()
