"""What a process counts about itself. ``docs/subsystems/observability.md`` lists every family; ``exposition`` shows them.

On the message path nothing is done per message that can be done per batch, a count is an addition to a dict, and a latency
that belongs to single messages is taken of one in :data:`STRIDE` (``bench/metrics_cost.py`` measures all of it: below a
microsecond a message). Only the loop of a process writes; a scrape reads from another thread what is there.

A label's values come from our own tables, or are folded into ``other``: no client can make a series.
"""

from __future__ import annotations

import asyncio
import os
import platform
import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from whatsapp.infra import clock
from whatsapp.infra.build import VERSION

#: One message in so many has its own latency taken. A prime: no rhythm of clients falls in step with it.
STRIDE = 13
#: Label sets of one family; what comes after them is counted as ``other``.
MAX_SERIES = 400

#: Seconds. Steps of about a half, so that p99.9 is known to that.
LATENCY = (
    0.0005, 0.001, 0.0015, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75,
    1, 1.5, 2, 3, 5, 10,
)  # fmt: skip
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
DURATION = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)

HOT_UP = "1 while the hot node is connected, subscribed and its epoch known."

Answer = TypeVar("Answer")

_families: list[Counters | Histogram] = []
_sources: dict[str, tuple[str, tuple[str, ...], Callable[[], Any]]] = {}


class Counters:
    """A counter with labels: name without ``_total``."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        self.name, self.documentation, self.labels = name, documentation, tuple(labels)
        self.values: dict[tuple[str, ...], float] = {}
        _families.append(self)

    def add(self, *labels: str, number: float = 1) -> None:
        values = self.values
        if labels not in values and len(values) >= MAX_SERIES:
            labels = ("other",) * len(self.labels)
        values[labels] = values.get(labels, 0) + number

    def collect(self) -> Metric:
        family = CounterMetricFamily(self.name, self.documentation, labels=self.labels)
        for labels, value in list(self.values.items()):
            family.add_metric(labels, value)
        return family


class Series:
    """One label set of a :class:`Histogram`."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, number: int = 1) -> None:
        """``number`` observations of the same value."""
        self.counts[bisect_left(self.bounds, value)] += number
        self.total += value * number


class Histogram:
    """A histogram with labels. :meth:`series` once, :meth:`Series.observe` often."""

    def __init__(
        self, name: str, documentation: str, labels: Sequence[str], bounds: Sequence[float] = LATENCY
    ) -> None:
        self.name, self.documentation, self.labels, self.bounds = name, documentation, tuple(labels), bounds
        self.known: dict[tuple[str, ...], Series] = {}
        _families.append(self)

    def series(self, *labels: str) -> Series:
        found = self.known.get(labels)
        if found is None:
            if len(self.known) >= MAX_SERIES:
                labels = ("other",) * len(self.labels)
            found = self.known.setdefault(labels, Series(self.bounds))
        return found

    def collect(self) -> Metric:
        family = HistogramMetricFamily(self.name, self.documentation, labels=self.labels)
        for labels, series in list(self.known.items()):
            buckets, count = [], 0
            for bound, here in zip([*self.bounds, "+Inf"], list(series.counts), strict=True):
                count += here
                buckets.append((str(bound), count))
            family.add_metric(labels, buckets, series.total)
        return family


# -- families of more than one kind of process ------------------------------------------------------------------------------

MESSAGES = Counters(
    "whatsapp_messages",
    "Sends that were answered, by outcome (stored, duplicate or the error code) and kind of conversation.",
    ("outcome", "kind"),
)
ERRORS = Counters("whatsapp_errors", "Error frames written to sockets, by error code.", ("code",))
CLOSES = Counters(
    "whatsapp_closes", "Sockets that ended, by close code and who closed: server, client or network.",
    ("code", "by"),
)  # fmt: skip
SESSIONS = Counters(
    "whatsapp_sessions",
    "Sessions opened, and those whose marks were compared with PostgreSQL first (rebuilt).",
    ("kind",),
)
READS = Counters(
    "whatsapp_reads",
    "Pages of the log read for a sync (sync_page), or for a hole or unknown conversation of a live socket (live_page).",
    ("kind",),
)
DRAINS = Counters("whatsapp_drains", "How parts of long backlogs by the drain task went.", ("kind",))
CONNECTED = Counters(
    "whatsapp_connections_opened",
    "WebSocket connections accepted, by codec and version.",
    ("codec", "version"),
)
HTTP = Counters(
    "whatsapp_http_requests", "HTTP requests, by method, route and status.", ("method", "route", "status")
)
REPLICA = Counters(
    "whatsapp_replica_reads",
    "Reads that decide nothing, by the server that answered them, and why that one.",
    ("server", "reason"),
)
PRIMARY_LOST = Counters(
    "whatsapp_primary_given_up",
    "Times that this process left the primary of PostgreSQL, which did not prove any more that it is one.",
    (),
)
# A series that begins at 1 would never have increased: what an alert asks about begins at 0 (tests/observability/test_alerts.py).
PRIMARY_LOST.add(number=0)
SWEPT = Counters("whatsapp_sweep_rows", "Outbox rows of dead writers that this sweep has marked again.", ())
TERMS = Counters(
    "whatsapp_hot_terms", "Terms of the hot node that began here: new connections and epochs.", ()
)
REPLAYED = Counters(
    "whatsapp_outbox_replayed_rows", "Outbox rows of its own that this writer has marked again.", ()
)
RENAMED = Counters(
    "whatsapp_outbox_renames", "Appends of unknown outcome, after which the writer took a new name.", ()
)
ASIDE = Counters(
    "whatsapp_lane_entries_set_aside",
    "Entries that no pass of a lane could fan out; their rows of the outbox are marked again by their writer or the sweep.",
    (),
)
FSCK_CHECKED = Counters("whatsapp_fsck_checked", "What fsck has looked at, by section.", ("section",))
FSCK_FINDINGS = Counters(
    "whatsapp_fsck_findings", "What fsck found to disagree, and whether it mended it.", ("kind", "mended")
)
RESIDENCY = Counters(
    "whatsapp_residency_violations",
    "Rows that the audit found and that belong to a region which is not held here, by table.",
    ("table",),
)
AUDIT_CHECKS = Counters(
    "whatsapp_staff_audit_checks", "Checks of the chain of the audit log, by outcome.", ("outcome",)
)
AUDIT_CHECKS.add("broken", number=0)
LINES = Counters("whatsapp_log_lines", "Log lines written, by level.", ("level",))
SUPPRESSED = Counters(
    "whatsapp_log_lines_suppressed", "Log lines not written because they repeat others.", ()
)
TASKS = Counters("whatsapp_celery_tasks", "Celery tasks that ended, by task and state.", ("task", "state"))
PUBLISHED = Counters("whatsapp_celery_published", "Celery tasks enqueued by this process.", ("task",))

MEDIA_TOOLS = Counters(
    "whatsapp_media_tool_runs",
    "Runs of the tools that make files anew, by tool and outcome: done, why the file was refused, late, killed, busy, missing.",
    ("tool", "outcome"),
)
MEDIA_TOOLS_CPU = Counters(
    "whatsapp_media_tool_cpu_seconds", "Processor time of those tools, of all their threads.", ("tool",)
)

STAGES = Histogram(
    "whatsapp_message_stage_seconds",
    "Latency of a message's stages: queue, admit, append, sent, mark, publish, deliver; queue, sent and deliver are sampled.",
    ("stage",),
)
PAGES = Histogram("whatsapp_page_seconds", "Time to read a page of the log, by what for.", ("kind",))
BATCHES = Histogram("whatsapp_batch_size", "Items in one batch, by queue.", ("name",), SIZES)
LAG = Histogram(
    "whatsapp_event_loop_lag_seconds", "How late a timer of the event loop came, four times a second.", ()
)
HTTP_SECONDS = Histogram(
    "whatsapp_http_request_seconds", "Time to answer an HTTP request, by route.", ("route",), DURATION
)
TASK_SECONDS = Histogram("whatsapp_celery_task_seconds", "Run time of Celery tasks.", ("task",), DURATION)

#: Families with the one label ``kind``, by what :func:`count` calls them.
_counted = {
    "sessions": SESSIONS,
    "reads": READS,
    "drains": DRAINS,
    **{
        name: Counters(f"whatsapp_{name}", documentation, ("kind",))
        for name, documentation in {
            "admissions": "Authentications let in (admitted, slot), and connections told to come again, by reason.",
            "http_refused": "Connections and requests refused before anything read them, by reason.",
            "handed_over": "Connections between gateways and api processes: given, or why not; taken, or refused.",
            "sms": "Text messages handed over, or not.",
            "registrations": "Requests for a code by what guards did: challenged, solved, unsolved, refused why; guards away.",
            "sms_receipts": "Delivery receipts of text messages, by state.",
            "smpp": "What happened on connections to message centres.",
            "media": "Work on uploaded files by where it ended (ready, refused, waits), and requests that found no room (busy).",
            "media_scans": "Answers of the scanner of media (clean, infected, too_large), and that it gave none (unavailable).",
            "media_storage": "What the storage of media did not do, by operation.",
            "images": "Photos of people and icons: done, refused, late, unavailable (a tool, the scanner), busy with others.",
            "files": "What the storage of files did not do.",
            "keys": "Keys for end-to-end encryption: one-time keys stored and given, what was given instead, alarms.",
            "links": "Codes that new devices showed: asked, approved, rejected, linked; devices unlinked for being idle.",
            "profiles": "Profiles that others asked for: kept in the cache, read from PostgreSQL, or the cache was away.",
            "abuse": "Accounts whose counts a gateway has written or dropped (Valkey was away); unreachable: services could not.",
            "erasure": "Erasures of accounts: done; steps that failed, or found something left; each 15 minutes those overdue.",
            "accounts": "Accounts whose number went to somebody else, and the like.",
        }.items()
    },
}
_queue, _admit, _append = STAGES.series("queue"), STAGES.series("admit"), STAGES.series("append")
_sent = STAGES.series("sent")
#: A batch was marked on the hot node, or its items handed to the bus: observe(seconds, messages or items).
MARK, PUBLISH = STAGES.series("mark"), STAGES.series("publish")
_deliver = STAGES.series("deliver")
_append_sizes = BATCHES.series("append")

# -- the message path -------------------------------------------------------------------------------------------------------

#: The two kind bits of a conversation id (``delivery.ids``), as its 16th character shows them.
_KIND = {digit: "direct" if digit in "0123" else "group" for digit in "01234567"}
_to_skip = 0  # messages until the next one whose latency is taken
_to_skip_delivered = 0


def kind_of(conversation: str) -> str:
    """direct, group, or other for an id that is none of ours."""
    return _KIND.get(conversation[15:16], "other") if conversation[14:15] == "8" else "other"


def appended(
    pending: Sequence[Any], stored: Sequence[str], started: float, asked: float, durable: float
) -> None:
    """A batch was stored and answered. ``pending`` (with ``arrived``): all its sends; ``stored``: the conversations of those
    that are new. Loop times: when the batch began, when the statement was sent, when it was answered."""
    global _to_skip
    size = len(pending)
    # Series.observe, three times without its call: a batch may hold one message.
    _append_sizes.counts[bisect_left(SIZES, size)] += 1
    _append_sizes.total += size
    waited, took = asked - started, durable - asked
    _admit.counts[bisect_left(LATENCY, waited)] += size
    _admit.total += waited * size
    _append.counts[bisect_left(LATENCY, took)] += size
    _append.total += took * size
    if _to_skip >= size:
        _to_skip -= size
    else:
        now = asyncio.get_running_loop().time()
        place = _to_skip
        while place < size:
            arrived = pending[place].arrived
            _queue.observe(started - arrived)
            _sent.observe(now - arrived)
            place += STRIDE
        _to_skip = place - size
    values = MESSAGES.values
    if len(stored) == 1:
        label = "stored", _KIND.get(stored[0][15:16], "other")
        values[label] = values.get(label, 0) + 1
    else:
        kinds: dict[str, int] = {}
        for conversation in stored:
            digit = conversation[15:16]
            kinds[digit] = kinds.get(digit, 0) + 1
        for digit, number in kinds.items():
            label = "stored", _KIND.get(digit, "other")
            values[label] = values.get(label, 0) + number


def refused(outcome: str, conversation: str) -> None:
    """A send that stored nothing: ``duplicate`` or an error code."""
    MESSAGES.add(outcome, kind_of(conversation))


def delivered(at: int) -> None:
    """A message stored at ``at`` (ms, server time) was written to sockets of this process."""
    global _to_skip_delivered
    if _to_skip_delivered:
        _to_skip_delivered -= 1
    else:
        _to_skip_delivered = STRIDE - 1
        _deliver.observe(max(0, clock.now_ms() - at) / 1000)


def paged(kind: str, started: float) -> None:
    """A page of the log that was asked for at ``started`` (loop time) is here."""
    READS.add(kind)
    PAGES.series(kind).observe(asyncio.get_running_loop().time() - started)


def batch(name: str, size: int) -> None:
    BATCHES.series(name).observe(size)


# -- the rest ---------------------------------------------------------------------------------------------------------------


def error(code: str) -> None:
    ERRORS.add(code)


def count(kind: str, label: str, number: int = 1) -> None:
    """``whatsapp_<kind>_total{kind=label}``; a kind that is not described above is described by its name."""
    family = _counted.get(kind)
    if family is None:
        family = _counted[kind] = Counters(f"whatsapp_{kind}", f"{kind.capitalize()}, by kind.", ("kind",))
    family.add(label, number=number)


def closed(code: int, by: str = "server") -> None:
    """Codes of clients are theirs to invent: only those that mean something here have a series."""
    CLOSES.add(str(code) if by == "server" or code in (1000, 1001, 1005, 1006, 1009) else "other", by)


def source(name: str, documentation: str, read: Callable[[], Any], labels: Sequence[str] = ()) -> None:
    """A gauge (a counter, if ``name`` ends in ``_total``) read at each scrape: a number, or with ``labels`` a dict of label
    values → number. None: not shown. A name given again replaces the earlier source: a test has several loops in a process."""
    _sources[name] = documentation, tuple(labels), read


def seldom(ask: Callable[[], Answer], every_s: float) -> Callable[[], Answer]:
    """``ask``, at most so often, one thread at a time; in between, its last answer. An error is of who asks; the next may try."""
    lock = threading.Lock()
    known: list[tuple[float, Answer]] = []

    def asked() -> Answer:
        with lock:
            now = time.monotonic()
            if not known or now - known[0][0] > every_s:
                known[:] = [(now, ask())]
            return known[0][1]

    return asked


# -- figures of another process (``whatsapp.infra.workers``) ------------------------------------------------------------------


def families() -> list[Counters | Histogram]:
    return list(_families)


def grow(name: str, labels: tuple[str, ...], by: Any) -> None:
    """Add what another process has counted: a number, or ``[[bucket, number], …]`` where the last bucket is the sum."""
    family = next((family for family in _families if family.name == name), None)
    if family is None:
        count(name.removeprefix("whatsapp_"), labels[0], by)
    elif isinstance(family, Counters):
        family.add(*labels, number=by)
    else:
        series = family.series(*labels)
        for place, number in by:
            if place < len(series.counts):
                series.counts[place] += number
            else:
                series.total += number


def read(name: str) -> float | None:
    """What a source without labels says."""
    known = _sources.get(name)
    value = known[2]() if known is not None else None
    return value if isinstance(value, int | float) else None


def forget(name: str) -> None:
    _sources.pop(name, None)


class _Collector:
    def collect(self) -> Iterable[Metric]:
        for family in _families:
            yield family.collect()
        for name, (documentation, labels, read) in list(_sources.items()):
            try:
                value = read()
            except Exception:
                continue  # what it would say is not known now
            if value is None:
                continue
            total = name.endswith("_total")
            kind: Any = CounterMetricFamily if total else GaugeMetricFamily
            shown = kind(name.removesuffix("_total") if total else name, documentation, labels=labels)
            for key, number in (value if labels else {(): value}).items():
                shown.add_metric((key,) if isinstance(key, str) else key, number)
            yield shown


source(
    "whatsapp_build_info",
    "Always 1; the labels say which build this process is.",
    lambda: {(VERSION, os.environ.get("WHATSAPP_BUILD", "unknown"), platform.python_version()): 1},
    ("version", "build", "python"),
)

REGISTRY.register(_Collector())
