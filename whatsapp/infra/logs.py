"""Log lines: one JSON object a line on stderr, for our own loggers and everybody else's, without personal data.

Ids appear only as keyed hashes: HMAC-SHA256 under a key made of ``LOG_HASH_KEY`` and the month, so that lines of one month can be
joined, those of two months cannot, and nobody without the key can look for a person. Who has an id and the key computes its hash:
``manage.py loghash ID``. ``docs/subsystems/observability.md`` says every key of a line.

Our code logs with ``logging.getLogger(__name__)`` or structlog's loggers. What a line is about goes into keys, never into text:
``log.info("the device was unlinked", extra=about(user=…, device=…))``; what holds for a whole request or task is bound with
``structlog.contextvars``.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog

from whatsapp.infra import clock, metrics

Event = MutableMapping[str, Any]

#: Keys whose values are ids: hashed whatever they look like.
ID_KEYS = frozenset(("user", "device", "conversation", "message", "address", "sender", "task_id"))
#: Other keys that a line may have from ``extra``; the rest of what libraries put into records is left out.
PLAIN_KEYS = frozenset(
    ("connection", "request", "code", "reason", "status", "route", "method", "task", "count", "seconds")
)

_UUID = re.compile(r"\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\b", re.IGNORECASE)
_MONTH = re.compile(r"20\d\d-(0[1-9]|1[0-2])")
MAX_TEXT = 16_000  # of a line's text, and of its traceback; the rest is cut


class BadMonth(ValueError):
    """A month must look like 2026-11."""


class Hasher:
    """Keyed hashes of ids. ``secret``: ``LOG_HASH_KEY``."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._keys: dict[str, bytes] = {}

    def __call__(self, value: object, month: str = "") -> str:
        """``2611-`` (year and month) and 16 hex digits. The same id gives the same hash in every key of a line. Raises
        :class:`BadMonth`."""
        month = month or time.strftime("%Y-%m", time.gmtime(clock.now_ms() / 1000))
        key = self._keys.get(month)
        if key is None:
            if not _MONTH.fullmatch(month):
                raise BadMonth(f"{month!r} is no month such as 2026-11")
            key = hmac.digest(self._secret, f"log-hash:{month}".encode(), hashlib.sha256)
            self._keys = {**dict(list(self._keys.items())[-11:]), month: key}
        digest = hmac.digest(key, str(value).strip().lower().encode(), hashlib.sha256)
        return f"{month[2:4]}{month[5:7]}-{digest.hex()[:16]}"


def about(**ids: object) -> dict[str, object]:
    """``extra`` of a log call: whom or what the line is about. Empty ones are left out."""
    return {key: value for key, value in ids.items() if value not in (None, "")}


def process_name() -> str:
    """gateway-1, worker-1, beat …; of a management command ``manage``."""
    named = os.environ.get("WHATSAPP_PROCESS") or os.environ.get("WHATSAPP_GATEWAY")
    if named:
        return named
    words = {os.path.basename(word) for word in sys.argv[:8]}
    return next((word for word in ("worker", "beat") if word in words), "manage")


class Formatter(structlog.stdlib.ProcessorFormatter):
    """Records to lines, those of ``logging`` and those of structlog. Only here are the arguments and the traceback text, so
    nothing that has passed ``scrub`` can change any more. ``console``: for people at a terminal, not for machines."""

    def __init__(
        self, *, secret: str, scrub: Callable[[str], str], console: bool = False, colors: bool = False
    ) -> None:
        self._hash = Hasher(secret)
        self._scrub = scrub
        self._name = process_name()
        self._console = structlog.dev.ConsoleRenderer(colors=colors) if console else None
        super().__init__(processors=[self._line, self._on_console if console else _as_json])
        structlog.configure(
            processors=[
                structlog.stdlib.filter_by_level,
                structlog.stdlib.PositionalArgumentsFormatter(),
                structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
            ],
            logger_factory=structlog.stdlib.LoggerFactory(),
            wrapper_class=structlog.stdlib.BoundLogger,
        )

    def format(self, record: logging.LogRecord) -> str:
        try:
            return str(super().format(record))
        except Exception as error:  # wrong arguments of a log call: say where, not what
            text = f"a log line of {record.name} could not be made: {type(error).__name__}"
            return str(
                super().format(
                    logging.makeLogRecord({"name": "logs", "levelno": 40, "levelname": "ERROR", "msg": text})
                )
            )

    def _line(self, logger: Any, method: str, event: Event) -> Event:
        record: logging.LogRecord = event["_record"]
        given: Event = event if event["_from_structlog"] else vars(record)
        metrics.LINES.add(record.levelname.lower())
        line: Event = {
            "ts": _stamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": self._clean(str(event["event"])),
            "process": self._name,
            "pid": os.getpid(),
        }
        for key, value in {**structlog.contextvars.get_contextvars(), **given}.items():
            if key in ID_KEYS:
                line[key] = self._hash(value)
            elif key in PLAIN_KEYS:
                line[key] = value if isinstance(value, int | float) else self._clean(str(value))
        if suppressed := getattr(record, "suppressed", 0):
            line["suppressed"] = suppressed
        error = record.exc_info or event.get("exc_info")
        if error is True:
            error = sys.exc_info()
        if isinstance(error, BaseException):
            error = (type(error), error, error.__traceback__)
        if error and error[1] is not None:
            line["error"] = type(error[1]).__name__
            line["traceback"] = self._clean(self.formatException(error))
        return line

    def _clean(self, text: str) -> str:
        cut = text if len(text) <= MAX_TEXT else text[: MAX_TEXT // 2] + " […] " + text[-MAX_TEXT // 2 :]
        return _UUID.sub(lambda found: self._hash(found.group()), self._scrub(cut))

    def _on_console(self, logger: Any, method: str, event: Event) -> str:
        assert self._console is not None
        traceback = event.pop("traceback", "")
        event["timestamp"] = event.pop("ts")
        del event["process"], event["pid"]
        return f"{self._console(logger, method, event)}\n{traceback}".rstrip()


def _as_json(logger: Any, method: str, event: Event) -> str:
    return json.dumps(event, ensure_ascii=False)


def _stamp(seconds: float) -> str:
    """RFC 3339, UTC, milliseconds."""
    ms = int(seconds * 1000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(ms // 1000)) + f".{ms % 1000:03d}Z"


class Repeats(logging.Filter):
    """Lets the first :data:`BURST` lines of a kind through in :data:`WINDOW_S`, counts the others, and says how many they were
    on the next one. A kind is logger, level, text without its arguments, and type of the error: a server that is away for an
    hour fills no disk."""

    BURST = 10
    WINDOW_S = 60.0
    KINDS = 1_000

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._kinds: dict[
            tuple[str, int, str, str], list[float]
        ] = {}  # [start of the window, passed, suppressed]

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else ""
        text = record.msg.get("event") if isinstance(record.msg, dict) else record.msg
        kind = (record.name, record.levelno, str(text)[:200], error)
        now = time.monotonic()
        with self._lock:
            state = self._kinds.get(kind)
            if state is None:
                if len(self._kinds) >= self.KINDS:
                    self._kinds.clear()
                state = self._kinds[kind] = [now, 0, 0]
            if now - state[0] > self.WINDOW_S:
                record.suppressed = int(state[2])
                state[:] = [now, 0, 0]
            if state[1] >= self.BURST:
                state[2] += 1
                metrics.SUPPRESSED.add()
                return False
            state[1] += 1
            return True


def say(text: str, file: Any = None) -> None:
    """A line from a signal handler, in which logging could wait for a lock that the interrupted code holds."""
    stamp = {"ts": _stamp(time.time()), "level": "info", "logger": "signal", "event": text.strip()}
    line = json.dumps({**stamp, "process": process_name(), "pid": os.getpid()}) + "\n"
    with contextlib.suppress(OSError):
        os.write(2, line.encode())


def catch_the_rest() -> None:
    """What would be printed becomes lines too: uncaught exceptions of the process and its threads, Python's warnings."""
    log = logging.getLogger("uncaught")

    def uncaught(kind: type[BaseException], error: BaseException, traceback: Any) -> None:
        if issubclass(kind, KeyboardInterrupt | SystemExit):
            sys.__excepthook__(kind, error, traceback)
        else:
            log.critical("uncaught exception", exc_info=(kind, error, traceback))

    def in_thread(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None and not issubclass(args.exc_type, SystemExit):
            log.critical(
                "uncaught exception in a thread", exc_info=(args.exc_type, args.exc_value, args.exc_traceback)
            )

    sys.excepthook = uncaught
    threading.excepthook = in_thread
    logging.captureWarnings(True)
