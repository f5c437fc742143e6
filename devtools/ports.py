"""Choosing TCP ports on the loopback address."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path

from devtools.errors import DevError

#: Below the range that the kernel hands to outgoing connections (32768 and up on Linux), so that no client's own port collides.
RANGE = range(20_000, 32_000)


def is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Whether a server could listen there now. Without SO_REUSEPORT, so that another system's gateways are seen."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError:
            return False
    return True


def choose(taken: Iterable[int] = (), hosts: Sequence[str] = ("127.0.0.1",)) -> int:
    """A port of :data:`RANGE` that is free on each of ``hosts`` and is not in ``taken``."""
    avoid = set(taken)
    for port in random.sample(RANGE, 200):
        if port not in avoid and all(is_free(port, host) for host in hosts):
            return port
    raise DevError(f"no free port between {RANGE.start} and {RANGE.stop} on {', '.join(hosts)}")


def remembered(file: Path, *hosts: str) -> int:
    """The port kept in ``file`` while it is free on ``hosts`` (127.0.0.1), else a new one, which is written there."""
    on = hosts or ("127.0.0.1",)
    try:
        port = int(file.read_text())
        if all(is_free(port, host) for host in on):
            return port
    except (OSError, ValueError):
        pass
    port = choose(hosts=on)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{port}\n")
    return port


def answers(host: str, port: int, timeout: float = 1.0) -> bool:
    """Whether something accepts a connection there."""
    try:
        with socket.create_connection((host, port), timeout=timeout):
            return True
    except OSError:
        return False
