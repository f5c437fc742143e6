"""A circuit breaker around a storage, for threads: a bucket that is down is answered for at once, not after a time-out each."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from media.storage.interface import StorageUnavailable
from whatsapp.infra import metrics
from whatsapp.infra.breaker import Breaker, Policy

log = logging.getLogger(__name__)


class Guard:
    """``node``: how logs and metrics name the storage. All operations share one breaker: they have one server."""

    def __init__(self, node: str, policy: Policy, clock: Callable[[], float] = time.monotonic) -> None:
        self._breaker = Breaker(node, "media", policy, clock)
        self._node = node
        self._lock = threading.Lock()  # the breaker is not for several threads

    @property
    def state(self) -> int:
        """As :mod:`whatsapp.infra.breaker` counts them: 0 closed, 1 half open, 2 open."""
        with self._lock:
            return self._breaker.state

    @contextmanager
    def call(self, what: str) -> Iterator[None]:
        """Around one request, which raises :class:`StorageUnavailable` when it fails; so does this while the breaker is open."""
        with self._lock:
            began = self._breaker.begin()
            if began is None:
                raise StorageUnavailable(f"{self._node} is left alone for {self._breaker.opens_in_s:.1f} s")
        ended = self._breaker.cancelled
        try:
            yield
            ended = self._breaker.succeeded
        except StorageUnavailable as error:
            ended = self._breaker.failed
            log.warning("%s failed (%s): %s", self._node, what, error)
            metrics.count("media_storage", f"{what}_failed")
            raise
        except Exception:
            ended = self._breaker.succeeded  # it answered, if only that there is no such thing
            raise
        finally:
            with self._lock:
                ended(began)
