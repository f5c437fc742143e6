"""Lines of ours on the plain screen whose ticks can still change."""

from __future__ import annotations

from dataclasses import dataclass

from whatsapp_client import Client, Outgoing

from .screen import Line

TICKS = {"queued": "·", "sent": "✓", "delivered": "✓✓", "read": "✓✓ read", "failed": "✗"}


@dataclass(slots=True)
class _Own:
    """Sent in this run (``outgoing``), or found in the history."""

    conversation_id: str
    seq: int
    line: Line
    state: str
    outgoing: Outgoing | None = None


class OwnLines:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._lines: list[_Own] = []

    def sent(self, outgoing: Outgoing, line: Line) -> None:
        self._lines.append(_Own(outgoing.conversation_id, 0, line, "queued", outgoing))

    def found(self, conversation_id: str, seq: int, line: Line, state: str) -> None:
        if state != "read":
            self._lines.append(_Own(conversation_id, seq, line, state))

    def tick(self, conversation_id: str) -> None:
        """Bring the ticks up to date."""
        for own in [own for own in self._lines if own.conversation_id == conversation_id]:
            if own.outgoing is not None:
                state = self._client.receipt_of(own.outgoing)
            else:
                state = self._client.receipt_at(conversation_id, own.seq)
            if state != own.state:
                own.state = state
                own.line.mark(TICKS[state])
            if state in ("read", "failed"):
                self._lines.remove(own)

    def waiting(self) -> list[Outgoing]:
        """What has no ✓ yet."""
        ours = [own.outgoing for own in self._lines if own.outgoing is not None]
        return [outgoing for outgoing in ours if outgoing.state == "queued"]
