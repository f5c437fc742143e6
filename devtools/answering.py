"""What a running system says of the servers behind it: ``/health/ready`` of its gateways."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request

#: Longest wait for an answer, seconds: a gateway asks its servers one after the other, for about one second each.
_TIMEOUT_S = 5.0
#: A gateway that has just begun opens its session with Cassandra when it is first asked; so long may that take.
_OPENING_S = 3.0

_WHAT = {
    "gateways": "no gateway answers /health/ready",
    "database": "PostgreSQL does not answer: nobody can sign in, and messages are refused",
    "hot": "Valkey does not answer: no new session opens",
    "log": "Cassandra does not answer: messages are refused, sockets stay (./dev nodetool status)",
}


def parts(http: str) -> dict[str, bool]:
    """Whether each part of ``/health/ready`` answers; ``{"gateways": False}`` when nobody says."""
    deadline = time.monotonic() + _OPENING_S
    while True:
        found = _asked(http)
        if found.get("log", True) or time.monotonic() > deadline:
            return found


def _asked(http: str) -> dict[str, bool]:
    try:
        try:
            with urllib.request.urlopen(f"{http}/health/ready", timeout=_TIMEOUT_S) as answer:
                return dict(json.load(answer)["parts"])
        except urllib.error.HTTPError as refused:
            with refused:
                return dict(json.load(refused)["details"]["parts"])
    except (OSError, ValueError, KeyError, TypeError):
        return {"gateways": False}


def words(found: dict[str, bool]) -> list[str]:
    """What that means for a user, a line for each part that does not answer."""
    return [_WHAT.get(name, f"{name} does not answer") for name, up in found.items() if not up]
