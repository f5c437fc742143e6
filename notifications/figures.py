"""What push notifications count (docs/subsystems/observability.md). Reasons come from the senders' closed sets; an app's name
from the settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol
from weakref import WeakSet

from whatsapp.infra import metrics
from whatsapp.infra.breaker import CLOSED

SENDS = metrics.Counters(
    "whatsapp_push",
    "Pushes that were handed to a provider or were not, by app, provider, urgency, outcome and the provider's reason.",
    ("app", "provider", "urgency", "outcome", "reason"),
)
SECONDS = metrics.Histogram(
    "whatsapp_push_seconds",
    "From when a notification could be sent, mostly the ✓ of its message, until the provider had accepted it.",
    ("provider", "urgency"),
    metrics.DURATION,
)
ANSWER_SECONDS = metrics.Histogram(
    "whatsapp_push_answer_seconds", "Time until a provider answered one push.", ("app",), metrics.DURATION
)


class Lane(Protocol):
    """What is shown of an app."""

    app: str

    @property
    def under_way(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def state(self) -> int: ...


class Worker(Protocol):
    """What is shown of who looks at users that are due."""

    due: int
    age_ms: int

    @property
    def held(self) -> int: ...


#: The apps of every dispatch of this process, and its workers.
lanes: WeakSet[Lane] = WeakSet()
workers: WeakSet[Worker] = WeakSet()


def _of_each(
    value: Callable[[Lane], int], together: Callable[[Iterable[int]], int]
) -> Callable[[], dict[str, int]]:
    def read() -> dict[str, int]:
        found: dict[str, list[int]] = {}
        for lane in list(lanes):
            found.setdefault(lane.app, []).append(value(lane))
        return {app: together(values) for app, values in found.items()}

    return read


def show() -> None:
    """In every process: what is not there is shown as nothing."""
    metrics.source(
        "whatsapp_push_in_flight",
        "Pushes that providers have not answered yet.",
        _of_each(lambda lane: lane.under_way, sum),
        ("app",),
    )
    metrics.source(
        "whatsapp_push_waiting",
        "Pushes that wait for their turn.",
        _of_each(lambda lane: lane.waiting, sum),
        ("app",),
    )
    metrics.source(
        "whatsapp_push_circuit_state",
        "Apps whose provider is left alone: 1 one push is tried, 2 none.",
        _left_alone,
        ("app",),
    )
    metrics.source(
        "whatsapp_push_due",
        "Users that wait to be looked at, over all shards; 0 where no worker of notifications is.",
        lambda: max((worker.due for worker in list(workers)), default=0),
    )
    metrics.source(
        "whatsapp_push_due_age_seconds",
        "Since when the first of these waits.",
        lambda: max((worker.age_ms for worker in list(workers)), default=0) / 1000,
    )
    metrics.source(
        "whatsapp_push_shards_held",
        "Shards of users that this process works on.",
        lambda: sum(worker.held for worker in list(workers)),
    )


_states = _of_each(lambda lane: lane.state, max)


def _left_alone() -> dict[str, int]:
    return {app: state for app, state in _states().items() if state != CLOSED}
