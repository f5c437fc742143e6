"""The history of a trial: what :class:`tests.faults.history.History` knows, changes of messages, and a file with all of it."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.faults.history import CHANGED, FOR_EVER, History, Problem, Sent
from whatsapp.wire import frames


@dataclass
class Changed:
    """An edit, a deletion or a reaction by one device. ``seq`` 0: no ✓ yet; ``refused``: the code of the answer."""

    conversation: str
    user: str
    device: str
    message_id: str
    kind: str
    target: str
    content: bytes
    seq: int = 0
    refused: str = ""


class Chronicle(History):
    """``file`` gets a line for everything: ``t`` (seconds since the beginning), ``what`` and its fields. An invocation
    (``send``, ``change``) stands there before its frame goes out, so one without answer has an unknown outcome."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        file.parent.mkdir(parents=True, exist_ok=True)
        self._file = file.open("w")
        self._began = time.monotonic()
        self.changes: list[Changed] = []
        #: When ✓ came, seconds since the beginning, in order.
        self.confirmed_at: list[float] = []
        #: device → when its last ✓ came
        self.last: dict[str, float] = {}
        self._times: list[tuple[float, str]] = []

    @property
    def now(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def note(self, what: str, **fields: Any) -> None:
        self._file.write(json.dumps({"t": round(self.now, 4), "what": what, **fields}) + "\n")

    def close(self) -> None:
        self._file.close()

    # what happens

    def sending(self, sent: Sent) -> Sent:
        self.note(
            "send",
            conversation=sent.conversation,
            device=sent.device,
            user=sent.user,
            messageId=sent.message_id,
        )
        return super().sending(sent)

    def confirmed(self, sent: Sent, answer: frames.StatusUpdate) -> None:
        self.note("sent", device=sent.device, messageId=sent.message_id, seq=answer.seq)
        self._confirmed(sent.device)
        super().confirmed(sent, answer)

    def received(self, device: str, message: frames.Message) -> None:
        self.note(
            "got",
            device=device,
            conversation=message.conversation_id,
            seq=message.seq,
            messageId=message.message_id,
            content=(message.encrypted_content or b"").decode(errors="replace")[:80],
        )
        super().received(device, message)

    def acking(self, device: str, conversation: str, seq: int) -> None:
        self.note("ack", device=device, conversation=conversation, seq=seq)
        super().acking(device, conversation, seq)

    def kept(self, device: str, conversation: str, seq: int) -> None:
        """Own messages pass by their ✓; who was removed just before one does not keep it (a removed member can send for 5 s)."""
        own = {s.seq for s in self.sends if s.device == device and s.conversation == conversation}
        while seq + 1 in own:
            seq += 1
        super().kept(device, conversation, seq)

    def receipt(self, update: frames.StatusUpdate) -> None:
        self.note(
            "receipt",
            user=update.user_id,
            conversation=update.conversation_id,
            status=update.status,
            upTo=update.up_to,
        )
        super().receipt(update)

    def changing(self, change: Changed) -> Changed:
        self.note(
            "change", kind=change.kind, conversation=change.conversation, device=change.device, user=change.user,
            messageId=change.message_id, target=change.target,
        )  # fmt: skip
        self.changes.append(change)
        return change

    def changed(self, change: Changed) -> None:
        """It has its ✓, or was refused for good."""
        self.note(
            "changed",
            device=change.device,
            messageId=change.message_id,
            seq=change.seq,
            refused=change.refused,
        )
        if change.seq:
            self._confirmed(change.device)
            self._number(change.user, change.message_id, change.seq)

    def _confirmed(self, device: str) -> None:
        now = self.now
        self.last[device] = now
        self.confirmed_at.append(now)
        self._times.append((now, device))

    def first_after(self, device: str, moment: float) -> float:
        """When the first ✓ of a device came behind a moment."""
        return next(time for time, whose in self._times if whose == device and time > moment)

    # what must hold

    def _contents(self, messages: list[frames.Message]) -> list[Problem]:
        """A message says what was sent or what an edit said, or nothing once its deletion was asked for; nothing, too, to who
        had left when it was edited: what it says since then is not owed, and what it said is gone."""
        said: dict[tuple[str, str], set[bytes | None]] = {}
        some_left = {
            conversation
            for (_, conversation), spells in self._owed.items()
            if any(left < FOR_EVER for _, left in spells)
        }
        for sent in self.sends:
            said.setdefault((sent.conversation, sent.message_id), set()).add(sent.content)
        for change in self.changes:
            about = said.setdefault((change.conversation, change.target), set())
            if change.kind == "edit":
                about.add(change.content)
            if change.kind == "delete" or (change.kind == "edit" and change.conversation in some_left):
                about.add(None)
        return [
            Problem(CHANGED, f"{m.message_id} at {m.seq} says {m.encrypted_content!r}, which nobody wrote")
            for m in messages
            if m.encrypted_content not in said.get((m.conversation_id, m.message_id), {m.encrypted_content})
        ]
