"""PINs: what a hash of one costs, and how many are computed at once. Of each process."""

from __future__ import annotations

from whatsapp.settings import env

#: Memory of one hash. RFC 9106 and OWASP ask for 19 MiB and two passes at least.
PIN_MEMORY_KIB = env.number("PIN_MEMORY_KIB", 32_768)
PIN_PASSES = env.number("PIN_PASSES", 3)
#: Hashes of a process at once; the rest waits, and after the time is ``unavailable``. Fewer than DATABASE_POOL, for each
#: request holds a connection meanwhile.
PIN_AT_ONCE = env.number("PIN_AT_ONCE", 2)
PIN_WAIT_MS = env.number("PIN_WAIT_MS", 2_000)
