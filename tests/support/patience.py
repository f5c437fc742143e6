"""How long tests wait for what comes at once on an idle machine."""

from __future__ import annotations

from typing import Final

from tests.support.cassandra import on_cassandra

#: Seconds. A slow machine is slow; what never comes fails after so many. A node of Cassandra that shares the processors with the
#: tests may collect its garbage for seconds, and answer what it got before later still.
PATIENCE: Final = 60.0 if on_cassandra() else 20.0
