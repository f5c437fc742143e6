"""One small request to a service that others run: bounded in time, in size and in how many go on at once."""

from __future__ import annotations

import threading
import time
from typing import Any, Final

import httpx
from django.conf import settings

#: Bytes of an answer that are read.
_MOST: Final = 65_536
#: Each holds a connection to PostgreSQL meanwhile: a slow service must not take them all.
_AT_ONCE: Final = threading.BoundedSemaphore(settings.GUARD_AT_ONCE)


class NoAnswer(Exception):
    """None in time, or none that makes sense. Its text holds nothing of what was asked."""


def post(url: str, *, headers: dict[str, str] | None = None, **body: Any) -> dict[str, Any]:
    """The JSON object that the service answers. ``body``: ``json=`` or ``data=``. Raises :class:`NoAnswer`."""
    timeout = settings.GUARD_TIMEOUT_MS / 1000
    until = time.monotonic() + timeout
    if not _AT_ONCE.acquire(timeout=timeout):
        raise NoAnswer("too many wait for an answer")
    try:
        left = max(until - time.monotonic(), 0.05)
        # Nothing packed: a small answer must not become a large one here.
        sent = {"Accept-Encoding": "identity", **(headers or {})}
        with httpx.stream("POST", url, headers=sent, timeout=left, follow_redirects=False, **body) as answer:
            if answer.status_code != 200:
                raise NoAnswer(f"status {answer.status_code}")
            text = b""
            for part in answer.iter_raw():
                text += part
                if len(text) > _MOST or time.monotonic() > until:
                    raise NoAnswer("too much, or too slow")
        found = httpx.Response(200, content=text).json()
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise NoAnswer(type(error).__name__) from None
    finally:
        _AT_ONCE.release()
    if not isinstance(found, dict):
        raise NoAnswer("no object")
    return found
