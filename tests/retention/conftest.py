"""People over HTTP, and a clock that is moved."""

from __future__ import annotations

from tests.accounts.conftest import _memory_layer, clock, enqueued, limits, told  # noqa: F401  (fixtures)
