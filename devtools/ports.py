"""Choosing TCP ports on the loopback address."""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterable, Sequence
from pathlib import Path

from devtools.errors import DevError

#: Of HTTP and WebSocket, unless ``./dev up`` is told another one.
PORT = 8000
#: Below the range that the kernel hands to outgoing connections (32768 and up on Linux), so that no client's own port collides.
RANGE = range(20_000, 32_000)
#: Narrows it, ``first-last``: for those who run several test sessions on one machine.
VARIABLE = "WHATSAPP_PORTS"
_given: set[int] = set()


def allowed() -> range:
    """The ports to choose from. Raises :class:`DevError` if :data:`VARIABLE` is not two numbers."""
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return RANGE
    try:
        first, last = map(int, wanted.split("-"))
    except ValueError:
        raise DevError(f"{VARIABLE} is first-last, such as 20000-25999; it is {wanted!r}") from None
    return range(first, last + 1)


def share(index: int, count: int) -> range:
    """The ``index``-th of ``count`` equal parts of them (over again from ``count`` on), none of which overlap."""
    whole = allowed()
    size = len(whole) // count
    first = whole.start + index % count * size
    return range(first, first + size)


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
    """A port of :func:`allowed` that is free on each of ``hosts``, is not in ``taken`` and, while there are any, was not given to
    this process before: who was given one may not listen yet."""
    whole = allowed()
    for avoid in ({*taken, *_given}, set(taken)):
        for port in random.sample(whole, min(300, len(whole))):
            if port not in avoid and all(is_free(port, host) for host in hosts):
                _given.add(port)
                return port
        _given.clear()
    raise DevError(f"no free port between {whole.start} and {whole.stop - 1} on {', '.join(hosts)}")


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
