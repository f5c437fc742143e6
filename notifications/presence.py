"""Whether devices are connected, and when they last were. A hint, as everything on the hot node: after its loss devices count as
absent, and are told once more than they need be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from delivery.inbox import MARKER_TTL_S, marker_key
from whatsapp.infra.directory import parse_sessions, sessions_key
from whatsapp.infra.hot import Hot


class Presence(NamedTuple):
    opened: int  # when its session was opened, ms; 0: it has none
    seen: int  # when it last opened one, to the second, ms; 0: not known


async def presences(hot: Hot, devices: Sequence[tuple[str, str]], now: int) -> list[Presence | None]:
    """For each (user, device); None where the node that knows is away. Raises ``HotUnavailable`` where there is no other."""
    users = list(dict.fromkeys(user for user, _ in devices))
    looks = hot.mget([sessions_key(user) for user in users])
    # Whoever opens a session renews the time that its marker has to live.
    renewed = [("TTL", marker_key(user, device)) for user, device in devices]
    answers = await hot.run_each([*looks, *renewed])
    sessions = dict(zip(users, hot.values(answers[: len(looks)]), strict=True))
    found: list[Presence | None] = []
    for (user, device), ttl in zip(devices, answers[len(looks) :], strict=True):
        raw = sessions[user]
        if isinstance(raw, Exception) or isinstance(ttl, Exception):
            found.append(None)
            continue
        entry = parse_sessions(raw).get(device)
        seen = now - (MARKER_TTL_S - ttl) * 1000 if ttl > 0 else 0
        found.append(Presence(entry.generation if entry is not None else 0, seen))
    return found
