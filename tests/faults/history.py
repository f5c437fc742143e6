"""What people sent, what was confirmed, what each device got: and whether that keeps the contract.

``History.problems()`` lists every breach of C1 to C5 (DESIGN, section 2); ``check`` demands none. A twin, whose
protection is off, asks for the breach that it expects. The client rule is applied on the way in: a (sender, messageId) that
a device already has is ignored.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from whatsapp.wire import frames

LOST, REORDERED, TWICE, DISHONEST, CHANGED = "lost", "reordered", "twice", "dishonest", "changed"
LEAKED = "leaked"
FOR_EVER = 1 << 53


class Problem(NamedTuple):
    kind: str
    what: str


@dataclass
class Sent:
    """One message of one device. ``seq`` 0: no ✓ yet."""

    conversation: str
    user: str
    device: str
    message_id: str
    content: bytes
    seq: int = 0
    duplicate: bool = False
    attempts: int = 0


@dataclass
class Seen:
    """What one device has: per conversation, in the order of arrival."""

    user: str
    got: dict[str, list[frames.Message]] = field(default_factory=lambda: defaultdict(list))
    ids: set[tuple[str, str]] = field(default_factory=set)
    repeats: int = 0
    acked: dict[str, int] = field(default_factory=dict)
    #: conversation → what was said up to here is not for it, because it was linked later
    begins: dict[str, int] = field(default_factory=dict)


class History:
    """Shared by all devices of a test."""

    def __init__(self) -> None:
        self.sends: list[Sent] = []
        self.devices: dict[str, Seen] = {}
        self.found: list[Problem] = []
        self._seqs: dict[tuple[str, str], int] = {}  # (sender, messageId)
        #: (user, conversation) → first and last seq of each membership
        self._owed: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)

    # what happens

    def device(self, user: str, device: str) -> Seen:
        return self.devices.setdefault(device, Seen(user))

    def sending(self, sent: Sent) -> Sent:
        self.sends.append(sent)
        return sent

    def confirmed(self, sent: Sent, answer: frames.StatusUpdate) -> None:
        assert answer.seq, answer
        if sent.seq and sent.seq != answer.seq:
            self.found.append(Problem(TWICE, f"two ✓ for {sent.message_id}: {sent.seq} and {answer.seq}"))
        sent.seq, sent.duplicate = answer.seq, bool(answer.duplicate)
        self._number(sent.user, sent.message_id, answer.seq)

    def received(self, device: str, message: frames.Message) -> None:
        seen = self.devices[device]
        key = (message.sender_id, message.message_id)
        self._number(*key, message.seq)
        if message.sender_device_id == device:
            return  # it has what it sent
        if key in seen.ids:
            seen.repeats += 1
            return
        seen.ids.add(key)
        before = seen.got[message.conversation_id]
        if before and before[-1].seq >= message.seq:
            self.found.append(Problem(REORDERED, f"{device} got {message.seq} after {before[-1].seq}"))
        before.append(message)

    def acking(self, device: str, conversation: str, seq: int) -> None:
        """Called before the ack goes out."""
        acked = self.devices[device].acked
        acked[conversation] = max(seq, acked.get(conversation, 0))

    def kept(self, device: str, conversation: str, seq: int) -> None:
        """After the death of a device's program its storage holds everything up to ``seq``: an ack above that was a lie."""
        acked = self.devices[device].acked.get(conversation, 0)
        if acked > seq:
            self.found.append(
                Problem(
                    DISHONEST,
                    f"{device} acknowledged {acked} of {conversation}, and has kept {seq}",
                )
            )

    def receipt(self, update: frames.StatusUpdate) -> None:
        """Somebody was told ``delivered`` or ``read`` of a user: a device of that user must have acknowledged it (C5)."""
        assert update.user_id, update
        assert update.up_to is not None, update
        acked = max(
            (
                s.acked.get(update.conversation_id, 0)
                for s in self.devices.values()
                if s.user == update.user_id
            ),
            default=0,
        )
        if update.up_to > acked:
            self.found.append(
                Problem(
                    DISHONEST, f"{update.status} {update.up_to} of {update.user_id}, who acknowledged {acked}"
                )
            )

    def _number(self, sender: str, message_id: str, seq: int) -> None:
        first = self._seqs.setdefault((sender, message_id), seq)
        if first != seq:
            self.found.append(Problem(TWICE, f"{message_id} has the seqs {first} and {seq}"))

    # what must hold

    def missing(self, device: str) -> list[Sent]:
        """Confirmed messages of others (or of the user's other devices) that the device has not got."""
        seen = self.devices[device]
        return [
            s
            for s in self.sends
            if s.seq
            and s.device != device
            and self._is_owed(seen.user, s.conversation, s.seq)
            and s.seq > seen.begins.get(s.conversation, 0)
            and (s.user, s.message_id) not in seen.ids
        ]

    def talk(self, conversation: str, users: Iterable[str]) -> None:
        """These users are members of the conversation from its first event."""
        for user in users:
            self.member(conversation, user, 0)

    def member(self, conversation: str, user: str, joined: int, left: int = 0) -> None:
        """A user is a member from ``joined`` up to ``left`` (0: to the end), both seqs included."""
        self._owed[user, conversation].append((joined, left or FOR_EVER))

    def _is_owed(self, user: str, conversation: str, seq: int) -> bool:
        return any(joined <= seq <= left for joined, left in self._owed.get((user, conversation), ()))

    def problems(self, *devices: str) -> list[Problem]:
        """Every breach so far; what these devices (all, if none is named) have not got counts as lost."""
        problems = list(self.found)
        for device in devices or self.devices:
            for sent in self.missing(device):
                problems.append(Problem(LOST, f"{device} has not got {sent.seq} {sent.content!r}"))
            for messages in self.devices[device].got.values():
                problems += self._contents(messages)
                problems += self._leaks(device, messages)
        problems += self._sending_order()
        return problems

    def _contents(self, messages: list[frames.Message]) -> list[Problem]:
        sent = {(s.user, s.message_id): s.content for s in self.sends}
        return [
            Problem(CHANGED, f"{m.message_id} is not what was sent")
            for m in messages
            if sent.get((m.sender_id, m.message_id), m.encrypted_content) != m.encrypted_content
        ]

    def _leaks(self, device: str, messages: list[frames.Message]) -> list[Problem]:
        """C4: nothing reaches who was no member at its place."""
        user = self.devices[device].user
        known = {conversation for _, conversation in self._owed}
        return [
            Problem(LEAKED, f"{device} got {m.seq} of {m.conversation_id}, which {user} is not owed")
            for m in messages
            if m.conversation_id in known and not self._is_owed(user, m.conversation_id, m.seq)
        ]

    def _sending_order(self) -> list[Problem]:
        """For one sending device seq follows the order of sending; no seq is used for two messages (C2, C3)."""
        last: dict[tuple[str, str], Sent] = {}
        taken: dict[tuple[str, int], str] = {}
        problems = []
        for sent in self.sends:
            if not sent.seq:
                continue
            before = last.get((sent.device, sent.conversation))
            if before is not None and before.seq >= sent.seq:
                problems.append(
                    Problem(REORDERED, f"{sent.content!r} has {sent.seq}, sent after {before.seq}")
                )
            last[sent.device, sent.conversation] = sent
            if taken.setdefault((sent.conversation, sent.seq), sent.message_id) != sent.message_id:
                problems.append(Problem(TWICE, f"seq {sent.seq} of {sent.conversation} was given twice"))
        return problems

    def check(self, *devices: str) -> None:
        assert not (problems := self.problems(*devices)), problems

    def kinds(self, *devices: str) -> set[str]:
        return {problem.kind for problem in self.problems(*devices)}
