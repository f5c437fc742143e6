"""Circuit breakers of the engine's store (``delivery/store/guarded.py``)."""

from __future__ import annotations

from whatsapp.settings import env

#: Failures of an operation in a row that open its breaker; 0: never.
STORE_BREAKER_FAILURES = env.number("STORE_BREAKER_FAILURES", 5)
#: Milliseconds that an open breaker refuses calls before one is tried.
STORE_BREAKER_OPEN_MS = env.number("STORE_BREAKER_OPEN_MS", 5_000)
