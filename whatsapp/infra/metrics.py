"""What a process counts about itself, in the text format of Prometheus at ``/metrics`` of its private port.

On the message path a count is a list append or an int; the registry reads it when it is scraped.
"""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from collections.abc import Iterable

from prometheus_client import REGISTRY, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

_tally: Tally[tuple[str, str]] = Tally()
_gauges: dict[str, int] = {}

SENT_LATENCY = Histogram(
    "whatsapp_sent_seconds",
    "From a send's arrival to its acknowledgement",
    buckets=(0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5),
)
_SAMPLE_EVERY = 16
_sent_count = 0


def sent(duplicate: bool, arrived: float) -> None:
    """A send was acknowledged; ``arrived`` is the loop time of its arrival. One in 16 latencies is kept."""
    global _sent_count
    _tally["messages", "duplicate" if duplicate else "stored"] += 1
    _sent_count += 1
    if _sent_count % _SAMPLE_EVERY == 0:
        SENT_LATENCY.observe(asyncio.get_running_loop().time() - arrived)


def error(code: str) -> None:
    _tally["errors", code] += 1


def closed(code: int) -> None:
    _tally["closes", str(code)] += 1


def batch(name: str, size: int) -> None:
    _tally["batches", name] += 1
    _tally["batched", name] += size


def count(kind: str, label: str, number: int = 1) -> None:
    _tally[kind, label] += number


def gauge(name: str, value: int) -> None:
    _gauges[name] = value


class _Collector:
    def collect(self) -> Iterable[Metric]:
        families: dict[str, CounterMetricFamily] = {}
        for (kind, label), number in list(_tally.items()):
            family = families.get(kind)
            if family is None:
                family = families[kind] = CounterMetricFamily(
                    f"whatsapp_{kind}", f"{kind} by kind", labels=["kind"]
                )
            family.add_metric([label], number)
        yield from families.values()
        for name, value in list(_gauges.items()):
            yield GaugeMetricFamily(f"whatsapp_{name}", name, value=value)


REGISTRY.register(_Collector())
