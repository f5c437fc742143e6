"""Messages on their way to ✓, and the order in which they go.

Pure logic: no socket and no clock of its own (``now`` is monotonic seconds), so that every answer of the
server can be tried. The promise: each message keeps its ``messageId`` until it is confirmed or refused for
good, and the messages of a conversation reach the log in the order of :meth:`Outbox.add`, whatever is lost,
refused or answered twice.
"""

from __future__ import annotations

import random
import time
import uuid
from collections import deque
from typing import Any

from .codecs import Frame
from .database import Database
from .errors import OutboxFull, SendFailed, refused
from .outgoing import Outgoing, OutgoingRows
from .pace import Pace

MAX_CONTENT = 65_536
#: Of all messages without ✓: they are in memory too.
MAX_WAITING_BYTES = 64 * 1024 * 1024
#: An answer that is not here after this long is taken for lost, although the socket lives.
ANSWER_TIMEOUT = 10.0
#: Messages in flight. Far below the number of refusals in a row that a server takes for a flood.
WINDOW = 16
#: Messages a second, and at once after a pause; a server counts frames of any kind, and acks are frames too.
PER_SECOND, BURST = 50, 40
#: Retryable, but not as it is: who encrypted it must do so again (:meth:`Outbox.retry`).
FOR_THE_CALLER = frozenset({"device_mismatch", "member_mismatch"})
#: The share of the server's own limit a minute that is used: its clock and ours are not the same.
SHARE = 0.9


class Outbox:
    """All messages without ✓, by conversation.

    In each queue a prefix is in flight and the rest waits. A refused or lost message puts its whole queue
    back, so nothing overtakes it. Every transmission has its own ``ref``: an answer to an earlier one is
    recognized and ignored, unless it is ✓. What failed waits for :meth:`retry` or :meth:`discard`.

    ``database``: every message is a row there before it goes out; what an earlier process left is queued again.
    ``limit``: messages without ✓, failed ones included.
    """

    def __init__(
        self,
        database: Database | None = None,
        *,
        window: int = WINDOW,
        limit: int = 10_000,
        rng: random.Random | None = None,
    ) -> None:
        self._rows = OutgoingRows(database if database is not None else Database())
        self._window = window
        self._limit = limit
        self._rng = rng or random.Random()
        self._queues: dict[str, deque[Outgoing]] = {}
        self._by_id: dict[str, Outgoing] = {}
        self._paces = {"second": Pace(PER_SECOND, 1.0, burst=BURST)}
        self._per_minute = 0
        self._refs = 0
        self._resume_at = 0.0
        self._refusals = 0
        self._flying: dict[str, Outgoing] = {}  # by messageId, oldest first
        self._failed: dict[str, Outgoing] = {}
        self._bytes = 0
        self._last_num = self._rows.confirmed()
        for outgoing in self._rows.load():
            if outgoing.state == "failed":
                self._failed[outgoing.message_id] = outgoing
                self._bytes += len(outgoing.content)
            else:
                self._enqueue(outgoing)

    def __len__(self) -> int:
        """Messages that are still to be confirmed."""
        return len(self._by_id)

    def add(
        self,
        conversation_id: str,
        content: bytes,
        *,
        kind: str = "text",
        message_id: str = "",
        timestamp: int = 0,
        **fields: Any,
    ) -> Outgoing:
        """Queue a message. Raises ValueError above 65,536 bytes, :class:`OutboxFull` when too many wait."""
        self.check_room(1, len(content))
        outgoing = Outgoing(
            message_id or str(uuid.uuid4()),
            conversation_id,
            content,
            timestamp or time.time_ns() // 1_000_000,
            kind=kind,
            fields=dict(fields),
        )
        self._rows.add(outgoing)
        self._enqueue(outgoing)
        return outgoing

    def check_room(self, count: int, size: int) -> None:
        """Whether ``count`` more messages of ``size`` bytes can be queued. Raises what :meth:`add` raises."""
        if size > MAX_CONTENT:
            raise ValueError(f"content is {size} bytes, the limit is {MAX_CONTENT}")
        if len(self._by_id) + len(self._failed) + count > self._limit:
            raise OutboxFull(f"{self._limit} messages are waiting already")
        if self._bytes + count * size > MAX_WAITING_BYTES:
            raise OutboxFull(f"{self._bytes} bytes are waiting already")

    def retry(self, outgoing: Outgoing, **fields: Any) -> None:
        """Queue a message that failed once more, behind what waits; ``fields`` replace those it had. Raises ValueError for
        any other."""
        if self._failed.get(outgoing.message_id) is not outgoing:
            raise ValueError("only a failed message can be tried again")
        self._forget_failed(outgoing)
        # `conflict` means that the id stands for another body; any other refusal says that nothing was stored.
        used = outgoing.error is not None and outgoing.error.code == "conflict"
        self._rows.remove(outgoing)
        outgoing.again(str(uuid.uuid4()) if used else outgoing.message_id)
        outgoing.fields |= fields
        self._rows.add(outgoing)
        self._enqueue(outgoing)

    def discard(self, outgoing: Outgoing, now: float = 0.0) -> None:
        """Forget a message that failed, or was certainly never sent. Raises ValueError for any other."""
        if self._failed.get(outgoing.message_id) is outgoing:
            self._forget_failed(outgoing)
        elif (
            self._by_id.get(outgoing.message_id) is outgoing
            and not outgoing.attempts
            and not outgoing.recalled
        ):
            self._take(outgoing.message_id)
            outgoing.settle("failed", SendFailed("discarded", "discarded before it was sent"))
            self._close_gap(outgoing, now)
        else:
            raise ValueError("this message may have been sent already")
        self._rows.remove(outgoing)

    def pending(self, conversation_id: str) -> list[Outgoing]:
        """What has no ✓ in a conversation, messages and changes: failed ones and those that wait, oldest first."""
        failed = [o for o in self._failed.values() if o.conversation_id == conversation_id]
        return sorted([*failed, *self._queues.get(conversation_id, ())], key=lambda o: o.number)

    def newest(self) -> dict[str, int]:
        """Where something waits or has failed, and when the last of it was written (ms)."""
        newest: dict[str, int] = {}
        for conversation_id, queue in self._queues.items():
            written = next((outgoing.timestamp for outgoing in reversed(queue) if outgoing.is_message), 0)
            if written:
                newest[conversation_id] = written
        for outgoing in self._failed.values():
            known = newest.get(outgoing.conversation_id, 0)
            newest[outgoing.conversation_id] = max(known, outgoing.timestamp)
        return newest

    def limit(self, per_minute: int) -> None:
        """The server's limit of messages a minute, from `ready`; 0: none."""
        if per_minute != self._per_minute:
            self._per_minute = per_minute
            self._paces.pop("minute", None)
            if per_minute > 0:
                self._paces["minute"] = Pace(per_minute * SHARE, 60.0, burst=max(1.0, per_minute * SHARE))

    def waiting(self, conversation_id: str) -> list[Outgoing]:
        """The messages of a conversation that have no ✓ yet, in order."""
        return list(self._queues.get(conversation_id, ()))

    def due(self, now: float) -> list[Frame]:
        """What to send now, in order; marks it as in flight."""
        self._expire(now)
        if now < self._resume_at:
            return []
        frames: list[Frame] = []
        for queue in self._queues.values():
            for outgoing in queue:
                if outgoing.in_flight:
                    continue
                if len(self._flying) >= self._window or self._pause(now):
                    return frames
                for pace in self._paces.values():
                    pace.take(now)
                self._refs += 1
                outgoing.ref = str(self._refs)
                outgoing.in_flight, outgoing.flown_at = True, now
                outgoing.attempts += 1
                self._flying[outgoing.message_id] = outgoing
                frames.append(outgoing.frame())
        return frames

    def next_due(self, now: float) -> float | None:
        """Seconds until :meth:`due` may have something that no frame announces; None: nothing to wait for."""
        times = []
        if len(self._by_id) > len(self._flying) and len(self._flying) < self._window:
            times.append(max(self._resume_at, now + self._pause(now)))
        if self._flying:
            times.append(next(iter(self._flying.values())).flown_at + ANSWER_TIMEOUT)
        return max(0.0, min(times) - now) if times else None

    def unanswered(self, now: float) -> float | None:
        """When the oldest message in flight went out, if its answer is overdue."""
        oldest = next(iter(self._flying.values())).flown_at if self._flying else now
        return oldest if now - oldest >= ANSWER_TIMEOUT else None

    def confirm(
        self,
        message_id: str,
        seq: int,
        timestamp: int = 0,
        duplicate: bool = False,
        delayed: bool = False,
    ) -> Outgoing | None:
        """✓ for a message (or its own copy read back from the log). None if it is not ours or was confirmed
        before."""
        outgoing = self._take(message_id)
        if outgoing is not None:
            self._refusals = 0
            outgoing.seq, outgoing.server_timestamp, outgoing.duplicate = seq, timestamp, duplicate
            outgoing.delayed = delayed
            self._rows.remove(outgoing)
            self._rows.confirm(outgoing.conversation_id, outgoing.seq_num)
            outgoing.settle("sent")
        return outgoing

    def refuse(self, error: Frame, now: float) -> Outgoing | None:
        """An `error` frame. Returns the message if it failed for good; otherwise what must go again is
        queued again."""
        outgoing = self._find(error)
        if outgoing is None:
            return None
        if error.get("code") == "out_of_order":
            self._renumber(outgoing.conversation_id, _expected(error), now)
            return None
        if error.get("retryable") and error.get("code") not in FOR_THE_CALLER:
            self._put_back(outgoing.conversation_id)
            self._hold(now, error.get("retryAfterMs"))
            return None
        why = refused(str(error.get("code", "")), str(error.get("message", "")), error.get("details"))
        self._fail(outgoing, why, now)
        return outgoing

    def close(self, conversation_id: str, code: str, message: str, *, now: float) -> list[Outgoing]:
        """Nothing more can be written there: what was certainly never sent fails, and is returned. Of the rest the server has
        to say what became of it."""
        closed = [o for o in self._queues.get(conversation_id, ()) if not o.attempts and not o.recalled]
        for outgoing in reversed(closed):
            self._fail(outgoing, refused(code, message), now)
        return closed

    def owns(self, error: Frame) -> bool:
        """Whether an `error` frame answers a message of this outbox, now or earlier."""
        message_id = error.get("messageId")
        return message_id in self._by_id if message_id else str(error.get("ref", "")).isdigit()

    def disconnected(self) -> None:
        """The socket is gone: everything without ✓ goes again, in order, with the same ids and numbers."""
        for conversation_id in self._queues:
            self._put_back(conversation_id)

    # -- inside --------------------------------------------------------------------------------------------
    def _fail(self, outgoing: Outgoing, why: SendFailed, now: float) -> None:
        self._take(outgoing.message_id)
        outgoing.settle("failed", why)
        if outgoing.is_message:
            self._failed[outgoing.message_id] = outgoing
            self._bytes += len(outgoing.content)
            self._rows.fail(outgoing)
        else:  # what was to be changed is what it was; there is nothing to keep
            self._rows.remove(outgoing)
        self._close_gap(outgoing, now)

    def _enqueue(self, outgoing: Outgoing) -> None:
        number = self._last_num.get(outgoing.conversation_id, 0) + 1
        outgoing.seq_num = self._last_num[outgoing.conversation_id] = number
        self._queues.setdefault(outgoing.conversation_id, deque()).append(outgoing)
        self._by_id[outgoing.message_id] = outgoing
        self._bytes += len(outgoing.content)

    def _forget_failed(self, outgoing: Outgoing) -> None:
        del self._failed[outgoing.message_id]
        self._bytes -= len(outgoing.content)

    def _close_gap(self, gone: Outgoing, now: float) -> None:
        """A number was not used: those behind it move up."""
        queue = self._queues.get(gone.conversation_id)
        if queue and queue[-1].seq_num > gone.seq_num:
            first = min(queue[0].seq_num, gone.seq_num)
            self._renumber(gone.conversation_id, first, now, pause=False)
        else:
            self._last_num[gone.conversation_id] = gone.seq_num - 1

    def _pause(self, now: float) -> float:
        return max(pace.wait(now) for pace in self._paces.values())

    def _find(self, error: Frame) -> Outgoing | None:
        ref, message_id = error.get("ref"), error.get("messageId")
        if message_id:
            outgoing = self._by_id.get(message_id)
            stale = outgoing is not None and ref and ref != outgoing.ref
            return None if stale else outgoing
        return next((o for o in self._flying.values() if ref and o.ref == ref), None)

    def _take(self, message_id: str) -> Outgoing | None:
        outgoing = self._by_id.pop(message_id, None)
        if outgoing is None:
            return None
        queue = self._queues[outgoing.conversation_id]
        queue.remove(outgoing)
        if not queue:
            del self._queues[outgoing.conversation_id]
        self._flying.pop(message_id, None)
        self._bytes -= len(outgoing.content)
        return outgoing

    def _put_back(self, conversation_id: str) -> None:
        for outgoing in self._queues.get(conversation_id, ()):
            if outgoing.in_flight:
                del self._flying[outgoing.message_id]
                outgoing.in_flight = False
                outgoing.ref = ""

    def _renumber(
        self, conversation_id: str, expected: int | None, now: float, *, pause: bool = True
    ) -> None:
        """Number the queue from what the server expects and send it again.

        With ``expected`` equal to the first number this is an ordinary repetition (an earlier one failed).
        Another number means that this process does not remember what its device has sent before. A message
        that was stored already is answered as a duplicate, whatever number it carries, so too many
        repetitions do no harm.
        """
        self._put_back(conversation_id)
        if expected is not None:
            number = expected
            for outgoing in self._queues.get(conversation_id, ()):
                outgoing.seq_num = number
                number += 1
            self._last_num[conversation_id] = number - 1
        self._refusals += 1
        if pause and self._refusals > 2:  # not converging: do not spin
            self._hold(now, None)

    def _hold(self, now: float, after_ms: int | None) -> None:
        self._refusals += 1
        least = after_ms / 1000 if after_ms else 0.1
        spread = min(5.0, 0.1 * 2 ** min(self._refusals, 6))
        self._resume_at = max(self._resume_at, now + least + self._rng.uniform(0, spread))

    def _expire(self, now: float) -> None:
        late = {o.conversation_id for o in self._flying.values() if now - o.flown_at >= ANSWER_TIMEOUT}
        for conversation_id in late:
            self._put_back(conversation_id)


def _expected(error: Frame) -> int | None:
    """``expected`` of an `out_of_order`: in ``details``, or beside the code."""
    details = error.get("details")
    value = details.get("expected") if isinstance(details, dict) else error.get("expected")
    return value if isinstance(value, int) and value > 0 else None
