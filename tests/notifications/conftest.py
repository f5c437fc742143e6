"""The engine inside the test, as fault tests have it."""

from tests.faults.conftest import faults_keyspace, hot_url, log, off, world

__all__ = ["faults_keyspace", "hot_url", "log", "off", "world"]
