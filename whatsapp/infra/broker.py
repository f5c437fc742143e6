"""Celery's connection with a Redis or Valkey broker, as kombu has it, but for one thing.

When the broker goes away while tasks are not acknowledged, kombu 5.7 closes a channel whose connection it has taken apart
already, and the worker ends with ``AttributeError: 'NoneType' object has no attribute 'hostname'``: nothing that it knows as the
loss of a connection. Here it is one. What was not acknowledged comes again after the visibility timeout, and whatever matters is
derived from durable state long before.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis
from redis.exceptions import ConnectionError as Gone

from whatsapp.infra import faults


class _Channel:
    connection: Any

    def _connparams(self, asynchronous: bool = False) -> Any:
        if (self.connection is None or self.connection.client is None) and not faults.off("broker"):
            raise Gone("the connection with the broker is closed")
        return super()._connparams(asynchronous)  # type: ignore[misc]


class Channel(_Channel, redis.Channel):
    """One server."""


class SentinelChannel(_Channel, redis.SentinelChannel):
    """The one that Sentinels name."""


class Transport(redis.Transport):
    """``redis://`` and ``rediss://``."""

    Channel = Channel


class SentinelTransport(redis.SentinelTransport):
    """``sentinel://``."""

    Channel = SentinelChannel


def use() -> None:
    """From now on connections of this process are these."""
    for scheme in ("redis", "rediss"):
        TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
    TRANSPORT_ALIASES["sentinel"] = f"{__name__}:SentinelTransport"
