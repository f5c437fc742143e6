"""The store as a few dictionaries: what every implementation must be indistinguishable from. One call at a time, no errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from delivery.store.values import (
    Amendment,
    Appended,
    Behind,
    Flags,
    Logged,
    Outcome,
    Position,
    PositionWrite,
    Receipt,
    ReceiptWrite,
    Send,
)

EVENTS = frozenset(
    {"edit", "delete", "reaction", "member_added", "member_removed", "role", "info", "timer", "vote"}
)
HOUR = 60 * 60 * 1000


@dataclass
class Talk:
    kind: str
    log: list[Logged] = field(
        default_factory=list
    )  # index 0 is seq 1; expired ones stay here, the floor hides them
    floor: int = 0
    mentions: dict[int, set[str]] = field(default_factory=dict)  # by seq
    intervals: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    speakers: set[str] = field(default_factory=set)
    targets: dict[int, int] = field(default_factory=dict)  # amendment -> message
    superseded: set[int] = field(default_factory=set)
    edits: dict[int, int] = field(default_factory=dict)  # message -> its last edit that everybody sees
    blocks: set[tuple[str, str]] = field(default_factory=set)  # who blocks whom
    withheld: set[int] = field(default_factory=set)
    replaced: dict[int, int] = field(default_factory=dict)  # for its sender: by which withheld one
    timer: int = 0
    own_timers: dict[str, int] = field(default_factory=dict)  # what somebody set that the other was not told

    def owed(self, user: str) -> list[int]:
        """Every seq owed to a user, expired and superseded ones included."""
        ranges = self.intervals.get(user, [])
        return [
            e.seq
            for e in self.log
            if any(j <= e.seq and (not left or e.seq <= left) for j, left in ranges)
            and (e.seq not in self.withheld or e.sender == user)
        ]

    def shown(self, seq: int, user: str) -> Logged | None:
        """An event as this user reads it."""
        event = self.log[seq - 1]
        instead = self.replaced.get(seq) if event.sender == user else None
        if seq in self.superseded or (instead and seq in self.targets):
            return None
        if instead:
            edit = self.log[instead - 1]
            return replace(event, content=edit.content, edited=True, form=edit.extra)
        if self.edits.get(seq, 0) > max(self.owed(user)):
            return replace(event, content=None, edited=False, form=None)
        return event

    # -- amendments
    def find(self, message_id: str) -> Logged | None:
        """The first message with this id."""
        found = (e for e in self.log[self.floor :] if e.message_id == message_id)
        first = next(found, None)
        return first if first is not None and first.kind not in EVENTS else None

    def refuse(self, send: Amendment, target: Logged | None, now: int) -> Outcome | None:
        if target is None or target.seq not in self.owed(send.sender):
            return Outcome.NO_TARGET
        if send.kind == "vote" and target.kind != "poll":
            return Outcome.NO_TARGET
        others = target.sender != send.sender
        if others and send.kind == "edit":
            return Outcome.FORBIDDEN
        if others and send.kind == "delete" and send.sender not in self.speakers:
            return Outcome.FORBIDDEN
        if target.content is None or 0 < target.until <= now:
            return Outcome.GONE
        if target.at < send.oldest:
            return Outcome.TOO_LATE
        if send.kind in ("reaction", "vote"):
            reactions = {
                self.log[s - 1].sender: self.log[s - 1].content for s in self.about(target, send.kind)
            }
            mine = reactions.pop(send.sender, b"")
            if not send.content and not mine:
                return Outcome.NO_TARGET
            different = {one for one in reactions.values() if one}
            full = send.kind == "reaction" and len(different) >= send.distinct
            if full and send.content and send.content not in different | {mine}:
                return Outcome.TOO_MANY
        return None

    def about(self, target: Logged, *kinds: str) -> list[int]:
        """What is in force about a message."""
        return [
            seq
            for seq, of in self.targets.items()
            if of == target.seq
            and seq > self.floor
            and seq not in self.superseded
            and self.log[seq - 1].kind in kinds
        ]

    def hides(self, sender: str, target: Logged | None) -> bool:
        if target is not None and target.seq in self.withheld:
            return True
        return any(blocked == sender for _, blocked in self.blocks)

    def amend(self, event: Logged, target: Logged) -> None:
        if event.seq in self.withheld and target.seq not in self.withheld and event.kind != "delete":
            for seq in self.about(target, event.kind):
                if self.log[seq - 1].sender != event.sender:
                    continue
                if seq in self.withheld:
                    self.superseded.add(seq)
                    self.log[seq - 1].content = self.log[seq - 1].extra = None
                else:
                    self.replaced[seq] = event.seq
            if event.kind == "edit":
                self.replaced[target.seq] = event.seq
            self.targets[event.seq] = target.seq
            return
        if event.kind == "delete":
            self.empty(target)
            target.until, gone = 0, []
        else:
            gone = [seq for seq in self.about(target, event.kind) if self.log[seq - 1].sender == event.sender]
            if event.kind == "edit":
                target.content, target.edited, target.form = event.content, True, event.extra
                self.edits[target.seq] = event.seq
                self.replaced.pop(target.seq, 0)
        for seq in gone:
            self.superseded.add(seq)
            self.log[seq - 1].content = self.log[seq - 1].extra = None
        self.targets[event.seq] = target.seq

    def empty(self, target: Logged) -> None:
        """A message and what is about it."""
        for seq in self.about(target, "edit", "reaction", "vote"):
            self.superseded.add(seq)
            self.log[seq - 1].content = self.log[seq - 1].extra = None
        target.content = target.extra = target.envelopes = None
        target.edited, target.form = False, None
        self.edits.pop(target.seq, 0)
        self.replaced.pop(target.seq, 0)
        self.mentions[target.seq] = set()

    def ends(self, send: Send, target: Logged | None, now: int) -> int:
        """When the content of what is sent is gone."""
        if target is not None:
            return 0 if send.kind == "delete" else target.until
        if send.kind in EVENTS:
            return 0
        timer = self.own_timers.get(send.sender, self.timer)
        return min((now + ms for ms in (send.lasts, timer * 1000) if ms), default=0)

    def messages(self, low: int, high: int, user: str) -> int:
        """Messages above ``low``, up to ``high``, that can still be read."""
        return sum(
            max(low, self.floor) < e.seq <= high
            and e.kind not in EVENTS
            and (e.seq not in self.withheld or e.sender == user)
            for e in self.log
        )


class Model:
    def __init__(self) -> None:
        self.talks: dict[str, Talk] = {}
        self.firsts: dict[tuple[str, str], tuple[Send, Appended]] = {}
        self.lasts: dict[tuple[str, str], int] = {}
        self.devices: dict[str, str] = {}  # device -> user
        self.acked: dict[tuple[str, str], int] = {}
        self.expired: dict[tuple[str, str], int] = {}
        self.marks: dict[
            tuple[str, str], list[int]
        ] = {}  # (conversation, user) -> delivered, read, sent, changed_at, delivered_at
        self.flags: dict[tuple[str, str], Flags] = {}  # (user, conversation)
        self.outbox_rows: dict[str, list[tuple[int, int, dict[str, int]]]] = {}  # writer -> (row, at, heads)
        self.watermarks: dict[tuple[str, str], int] = {}

    # -- log
    def append(self, sends: Sequence[Send], now: int) -> list[Appended]:
        return [self._append(send, now) for send in sends]

    def _append(self, send: Send, now: int) -> Appended:
        key = (send.sender, send.message_id)
        if key in self.firsts:
            first, answer = self.firsts[key]
            if (first.conversation, first.body_hash) == (send.conversation, send.body_hash):
                return Appended(Outcome.DUPLICATE, answer.seq, answer.at)
            return Appended(Outcome.CONFLICT)
        if send.conversation not in self.talks:
            return Appended(Outcome.NO_CONVERSATION)
        counter = (send.device, send.conversation)
        if send.seq_num:
            following = self.lasts.get(counter, 0) + 1
            if send.seq_num != following:
                return Appended(Outcome.OUT_OF_ORDER, expected=following)
        talk = self.talks[send.conversation]
        target = None
        if isinstance(send, Amendment):
            target = talk.find(send.target)
            refused = talk.refuse(send, target, now)
            if refused is not None:
                return Appended(refused)
        if send.seq_num:
            self.lasts[counter] = send.seq_num
        log = talk.log
        hidden = talk.hides(send.sender, target)
        ordinal = (log[-1].ordinal if log else 0) + (send.kind not in EVENTS and not hidden)
        until = talk.ends(send, target, now)
        log.append(
            Logged(
                send.conversation, len(log) + 1, ordinal, send.sender, send.device, send.message_id, send.kind,
                send.content, send.sent_at, now, send.seq_num, send.extra, send.envelopes, until=until,
            )
        )  # fmt: skip
        if hidden:
            talk.withheld.add(len(log))
        talk.mentions[len(log)] = set(send.mentions) - {send.sender}
        if target is not None:
            talk.amend(log[-1], target)
        answer = Appended(Outcome.STORED, len(log), now, withheld=hidden, until=until)
        self.firsts[key] = (send, answer)
        return answer

    def timer(self, conversation: str, user: str) -> int:
        talk = self.talks[conversation]
        member = any(not left for _, left in talk.intervals.get(user, []))
        return talk.own_timers.get(user, talk.timer) if member else 0

    def set_timer(
        self, conversation: str, user: str, device: str, message: str, seconds: int, extra: bytes, now: int
    ) -> tuple[int, bool] | None:
        """seq and whether it is withheld."""
        talk = self.talks[conversation]
        if not any(not left for _, left in talk.intervals.get(user, [])):
            return None
        hidden = talk.hides(user, None)
        if hidden:
            if seconds == self.timer(conversation, user):
                return 0, True
        elif seconds == talk.timer and not any(
            own != seconds and not talk.hides(other, None) for other, own in talk.own_timers.items()
        ):
            return 0, False  # and nobody believes something else since a block that is over
        log = talk.log
        ordinal = log[-1].ordinal if log else 0
        seq = len(log) + 1
        log.append(
            Logged(conversation, seq, ordinal, user, device, message, "timer", b"", now, now, 0, extra)
        )
        talk.mentions[seq] = set()
        if hidden:
            talk.withheld.add(seq)
            talk.own_timers[user] = seconds
        else:
            talk.timer = seconds
            talk.own_timers.clear()
        self.firsts[user, message] = (None, Appended(Outcome.STORED, seq, now))  # type: ignore[assignment]
        return seq, hidden

    def vanish(self, now: int) -> None:
        for talk in self.talks.values():
            for event in talk.log[talk.floor :]:
                if event.kind not in EVENTS and 0 < event.until <= now and event.content is not None:
                    talk.empty(event)

    def rows(self, conversation: str, user: str, after: int) -> list[Logged]:
        """What a page walks over, superseded or not."""
        talk = self.talks.get(conversation)
        if talk is None:
            return []
        return [talk.log[seq - 1] for seq in talk.owed(user) if seq > max(after, talk.floor)]

    def owed(self, conversation: str, user: str, after: int) -> list[Logged]:
        rows = self.rows(conversation, user, after)
        return [one for row in rows if (one := self.talks[conversation].shown(row.seq, user)) is not None]

    def last_owed(self, conversation: str, user: str) -> int:
        return max(self.talks[conversation].owed(user), default=0)

    def unread(self, conversation: str, user: str) -> int:
        talk = self.talks[conversation]
        _, read, sent, *_ = self.marks.get((conversation, user), [0, 0, 0])
        head = len(talk.log)
        return sum(
            talk.messages(max(read, sent, joined - 1), min(left or head, head), user)
            for joined, left in talk.intervals[user]
        )

    def mentioned(self, conversation: str, user: str) -> int:
        talk = self.talks[conversation]
        _, read, sent, *_ = self.marks.get((conversation, user), [0, 0, 0])
        start = max(read, sent, talk.floor)
        return sum(seq > start and user in talk.mentions[seq] for seq in talk.owed(user))

    def set_flags(self, user: str, conversation: str, new: Flags, now: int) -> Flags:
        old = self.flags.get((user, conversation), Flags())
        new = new._replace(version=old.version + 1, changed_at=max(old.changed_at, now))
        self.flags[user, conversation] = new
        return new

    def badge(self, user: str, now: int) -> int:
        total = 0
        for conversation, talk in self.talks.items():
            if user in talk.intervals:
                flags = self.flags.get((user, conversation), Flags())
                quiet = flags.archived or flags.muted_until > now
                total += self.mentioned(conversation, user) if quiet else self.unread(conversation, user)
        return total

    # -- devices and positions
    def link(self, user: str, device: str, since: int = 0) -> None:
        if device not in self.devices:
            self.devices[device] = user
            for conversation, talk in self.talks.items():
                if any(joined <= len(talk.log) for joined, _ in talk.intervals.get(user, [])):
                    start = self.last_owed(conversation, user)
                    if since:
                        older = max((row.seq for row in talk.log if row.at < since), default=0)
                        start = min(start, max(talk.floor, older))
                    self.acked[device, conversation] = start

    def unlink(self, device: str) -> None:
        self.devices.pop(device, None)
        for table in (self.acked, self.expired, self.lasts):
            for key in [key for key in table if key[0] == device]:
                del table[key]

    def positions(self, user: str, device: str) -> dict[str, Position]:
        if self.devices.get(device) != user:
            return {}
        found = {}
        for conversation, talk in self.talks.items():
            if user in talk.intervals:
                start = min(joined for joined, _ in talk.intervals[user]) - 1
                key = (device, conversation)
                acked = max(self.acked.get(key, 0), start)
                found[conversation] = Position(
                    acked, self.last_owed(conversation, user), self.expired.get(key, 0)
                )
        return found

    def behind(self, user: str, device: str) -> list[Behind]:
        return [
            Behind(conversation, position.head, position.acked)
            for conversation, position in self.positions(user, device).items()
            if position.head > max(position.acked, self.talks[conversation].floor)
        ]

    def save(self, positions: Sequence[PositionWrite], receipts: Sequence[ReceiptWrite], now: int) -> None:
        for device, conversation, acked in positions:
            if device in self.devices:
                self.acked[device, conversation] = max(self.acked.get((device, conversation), 0), acked)
        for conversation, user, delivered, read, sent in receipts:
            mark = self.marks.setdefault((conversation, user), [0, 0, 0, 0, 0])
            if delivered > mark[0] or read > mark[1]:
                mark[3] = now
            if delivered > mark[0]:
                mark[4] = now
            mark[:3] = [max(mark[0], delivered), max(mark[1], read), max(mark[2], sent)]

    def receipts(self, user: str, since: int) -> list[Receipt]:
        """Of the others while one is a member; one's own, about reading alone, for ever."""
        found = []
        for (conversation, other), (delivered, read, _, changed, received) in self.marks.items():
            intervals = self.talks[conversation].intervals.get(user, [])
            if other == user:
                told, delivered, received = bool(intervals and read), 0, 0
            else:
                told = any(not left for _, left in intervals) and bool(delivered or read)
            if told and changed >= since:
                found.append(Receipt(conversation, other, delivered, read, changed, received))
        return found

    # -- outbox
    def outbox(self, writer: str, epoch: str, now: int) -> list[tuple[int, dict[str, int]]]:
        own = self.watermarks.get((writer, epoch))
        highest = max((row for (w, _), row in self.watermarks.items() if w == writer), default=0)
        found = []
        for row, at, heads in self.outbox_rows.get(writer, []):
            undone = row > own if own is not None else row > highest or at >= now - HOUR // 6
            if undone and at >= now - 2 * HOUR:
                found.append((row, heads))
        return found

    def done(self, writer: str, epoch: str, row: int) -> None:
        self.watermarks[writer, epoch] = max(row, self.watermarks.get((writer, epoch), 0))

    # -- retention
    def expire(self, before: int) -> int:
        """Everything that is due at once."""
        gone = 0
        for conversation, talk in self.talks.items():
            floor = talk.floor
            while floor < len(talk.log) and talk.log[floor].at < before:
                floor += 1
            for event in talk.log[talk.floor : floor]:
                del self.firsts[event.sender, event.message_id]
            gone += floor - talk.floor
            if floor == talk.floor:
                continue
            talk.floor = floor
            for device, user in self.devices.items():
                if user in talk.intervals:
                    start = min(joined for joined, _ in talk.intervals[user]) - 1
                    key = (device, conversation)
                    acked = max(self.acked.get(key, 0), start)
                    if any(acked < seq <= floor for seq in talk.owed(user)):
                        self.acked[key] = self.expired[key] = floor
        return gone

    def expired_in_steps(self, user: str, device: str, found: Mapping[str, Position]) -> None:
        """Take over where a store that let events expire in steps left a device, if that is as good: whose user is owed nothing
        of the last steps stays at the floor of an earlier one."""
        for conversation, expected in self.positions(user, device).items():
            talk, seen = self.talks[conversation], found[conversation]
            at_once = expected.expired == expected.acked == talk.floor
            earlier = seen.expired == seen.acked < talk.floor
            if at_once and earlier and not any(seen.acked < seq <= talk.floor for seq in talk.owed(user)):
                self.acked[device, conversation] = self.expired[device, conversation] = seen.acked
