"""Where users are, as the hot node and the sessions of this process say."""

from __future__ import annotations

from collections.abc import Sequence

from delivery.session import Hub
from delivery.watch import Status
from whatsapp.infra.bus import Bus, alive_key
from whatsapp.infra.directory import SessionEntry, parse_sessions, sessions_key
from whatsapp.infra.valkey import Command

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
        """Status, and when they were last seen (ms), in two round trips. Raises what the hot node raises."""
        commands: list[Command] = [("GET", sessions_key(user)) for user in users]
        if with_seen:
            commands += [("GET", seen_key(user)) for user in users]
        answers = await self._bus.hot.run(commands)
        entries = [parse_sessions(raw) for raw in answers[: len(users)]]
        seen = answers[len(users) :] if with_seen else [None] * len(users)
        processes = list({entry.process for found in entries for entry in found.values()})
        alive: set[str] = set()
        if processes:
            answers = await self._bus.hot.run([("GET", alive_key(process)) for process in processes])
            alive = {process for process, answer in zip(processes, answers, strict=True) if answer}
        states: dict[str, tuple[Status, int | None]] = {}
        for user, found, at in zip(users, entries, seen, strict=True):
            status = self._status(user, found, alive)
            states[user] = (status, int(at) if at else None)
        return states

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
