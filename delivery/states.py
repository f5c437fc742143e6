"""Where users are, as the hot node and the sessions of this process say."""

from __future__ import annotations

from collections.abc import Sequence

from delivery.session import Hub
from delivery.watch import Status
from whatsapp.infra.bus import Bus, alive_key
from whatsapp.infra.directory import SessionEntry, parse_sessions, sessions_key
from whatsapp.infra.valkey import Command, HotUnavailable

SEEN_TTL_S = 30 * 86_400


def seen_key(user: str) -> str:
    return f"{{{user}}}:seen"


class States:
    def __init__(self, bus: Bus, hub: Hub) -> None:
        self._bus = bus
        self._hub = hub

    async def read(
        self, users: Sequence[str], *, with_seen: bool = True
    ) -> dict[str, tuple[Status, int | None]]:
        """Status, and when they were last seen (ms), in two round trips. Who is absent cannot be known now: that node of several
        is away. Raises what the hot node raises, if nobody can be known.

        A process whose heartbeat is on a node that is away is believed to live: its users are elsewhere, and most of them are
        still there."""
        hot = self._bus.hot
        commands: list[Command] = [("GET", sessions_key(user)) for user in users]
        if with_seen:
            commands += [("GET", seen_key(user)) for user in users]
        answers = await hot.run_each(commands)
        known: list[tuple[str, dict[str, SessionEntry], int | None]] = []
        for number, user in enumerate(users):
            raw, at = answers[number], answers[len(users) + number] if with_seen else None
            for answer in (raw, at):
                if isinstance(answer, Exception) and not isinstance(answer, HotUnavailable):
                    raise answer
            if not isinstance(raw, HotUnavailable) and not isinstance(at, HotUnavailable):
                known.append((user, parse_sessions(raw), int(at) if at else None))
        if users and not known:
            raise HotUnavailable("what these users do is on a node that is away")
        processes = list({entry.process for _, found, _ in known for entry in found.values()})
        answers = (
            await hot.run_each([("GET", alive_key(process)) for process in processes]) if processes else []
        )
        alive = {
            process
            for process, answer in zip(processes, answers, strict=True)
            if isinstance(answer, bytes | HotUnavailable)
        }
        return {user: (self._status(user, found, alive), at) for user, found, at in known}

    def _status(self, user: str, entries: dict[str, SessionEntry], alive: set[str]) -> Status:
        living = [
            entry.status
            for device, entry in entries.items()
            # Of this process's sessions the hub knows best: their records go a moment after them.
            if (
                self._hub.get(user, device) is not None
                if entry.process == self._bus.process
                else entry.process in alive
            )
        ]
        if not living:
            return "offline"
        return "online" if "online" in living else "away"
