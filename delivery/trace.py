"""Everything known of one message: from the stores, which prove it, and from the hot node, which only hints (C6).

States of a device, from the store:

================ ==============================================================================================================
sender           it sent the message: its ✓ was its delivery
acknowledged     its position is at or above the message: the device has said that it stored it
waiting          its position is below: owed, and delivered when the device next reads
expired          terminal: the retention ended before the device acknowledged it
unlinked         terminal: the device was unlinked afterwards; whether it had the message before is not kept
passed           the message has expired and the position is above it: acknowledged, or the device was linked later
linked_later     it was linked after the message, which is not owed to it
================ ==============================================================================================================

A message that is ``withheld`` is owed to the devices of its sender alone: the other user had blocked the sender.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, ParamSpec, TypeVar

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from delivery.inbox import dirty_key
from delivery.roster import owed
from delivery.store import chosen
from delivery.store import trace as store_trace
from delivery.store.operation import Operation
from delivery.store.outbox import KEEP_MS
from delivery.store.sync import SyncStore
from delivery.store.values import Conversation
from delivery.tracing import MAX_WATCHED, WATCHED, events_key
from whatsapp.infra import hot_sync
from whatsapp.infra.bus import alive_key
from whatsapp.infra.directory import parse_sessions, sessions_key
from whatsapp.infra.valkey import HotUnavailable

P = ParamSpec("P")
T = TypeVar("T")

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
TERMINAL = frozenset(("acknowledged", "expired", "unlinked", "sender", "passed", "linked_later"))


class TraceError(Exception):
    """One sentence for the operator."""


class Former(NamedTuple):
    """A device that was unlinked; the engine keeps nothing of it, the accounts do."""

    user: str
    device: str
    linked_at: int
    unlinked_at: int


def an_id(text: str) -> str:
    """Lower-case UUID text. Raises :class:`TraceError`."""
    found = text.strip().lower()
    if not _UUID.fullmatch(found):
        raise TraceError(f"{text!r} is no id: ids are UUIDs, such as 0193c1f0-1111-7000-8000-00000000000a.")
    return found


class Tracer:
    """``former(users)`` lists unlinked devices."""

    def __init__(
        self, store: SyncStore, hot_url: str, former: Callable[[list[str]], Iterable[Former]], now: int
    ) -> None:
        self._store = store
        self._former = former
        self._now = now
        self._hot: Any = hot_sync.client(
            hot_url, socket_timeout=2, socket_connect_timeout=2, retry=Retry(NoBackoff(), 1)
        )

    def _ask(self, question: Callable[P, Operation[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """The answer to one of the questions of :mod:`delivery.store.trace`, wherever the log is."""
        if chosen.elsewhere():
            return self._store.traced(question.__name__, *args)  # type: ignore[attr-defined, no-any-return]
        return self._store.ask(question(*args, **kwargs))

    def message(self, message_id: str) -> list[dict[str, Any]]:
        """One trace for each sender that used this id. Raises :class:`TraceError` when there is none."""
        message_id = an_id(message_id)
        places = self._ask(store_trace.by_message, message_id)
        if not places:
            raise TraceError(
                f"No message {message_id} is in the log: it was never stored (its sender has no ✓), or the retention has "
                "ended. If you know conversation and seq, ask for CONVERSATION --seq N."
            )
        return [self._trace(place.conversation, place.seq, place) for place in places]

    def position(self, conversation: str, seq: int) -> dict[str, Any]:
        """The trace of a place in a log, whose message may have expired. Raises :class:`TraceError`."""
        conversation = an_id(conversation)
        places = self._ask(store_trace.by_seq, conversation, seq)
        return self._trace(conversation, seq, places[0] if places else None)

    def conversation_of(self, some_id: str) -> str:
        """The conversation with this id, or that of the message with this id. Raises :class:`TraceError`."""
        some_id = an_id(some_id)
        if self._ask(store_trace.head, some_id) is not None:
            return some_id
        places = self._ask(store_trace.by_message, some_id)
        if not places:
            raise TraceError(f"There is no conversation and no message {some_id}.")
        return places[0].conversation

    # watching

    def watch(self, conversation: str, for_ms: int) -> int:
        """Until when (ms). Raises :class:`TraceError`."""
        until = self._now + for_ms
        with _reached():
            self._hot.zremrangebyscore(WATCHED, "-inf", self._now)
            watched = self._hot.zrange(WATCHED, 0, -1)
            if len(watched) >= MAX_WATCHED and conversation.encode() not in watched:
                raise TraceError(f"{MAX_WATCHED} conversations are watched already; end one with --unwatch.")
            self._hot.zadd(WATCHED, {conversation: until})
            self._hot.expire(WATCHED, 2 * 86_400)
        return until

    def unwatch(self, conversation: str) -> bool:
        """Whether it was watched. What was traced goes too. Raises :class:`TraceError`."""
        with _reached():
            removed = self._hot.zrem(WATCHED, conversation)
            self._hot.delete(events_key(conversation))
        return bool(removed)

    def watched(self) -> dict[str, int]:
        """Conversation → until. Raises :class:`TraceError`."""
        with _reached():
            found = self._hot.zrangebyscore(WATCHED, self._now, "+inf", withscores=True)
        return {conversation.decode(): int(until) for conversation, until in found}

    # from the stores

    def _trace(self, conversation: str, seq: int, place: store_trace.Place | None) -> dict[str, Any]:
        head = self._ask(store_trace.head, conversation)
        if head is None:
            raise TraceError(f"There is no conversation {conversation}.")
        if not 0 < seq <= head.head:
            raise TraceError(f"The log of this conversation ends at {head.head}: there is no seq {seq}.")
        known = Conversation(
            conversation, head.kind, head.head, tuple(self._ask(store_trace.members, conversation))
        )
        users = [place.sender] if place is not None and place.withheld else owed(known, seq)
        stored: dict[str, Any] = {
            "conversation": {"id": conversation, "kind": head.kind, "head": head.head, "floor": head.floor},
            "append": _append(seq, place, head.floor),
            "outbox": self._outbox(conversation, seq, place),
            "devices": self._devices(conversation, seq, users, place),
            "users": self._users(conversation, seq, users),
        }
        return {
            "stored": stored,
            "hints": self._hints(conversation, seq, stored),
            **self._events(conversation, seq),
        }

    def _outbox(self, conversation: str, seq: int, place: store_trace.Place | None) -> dict[str, Any]:
        row = self._ask(store_trace.outbox, conversation, seq, place.at) if place is not None else None
        if row is None:
            old = place is None or place.at < self._now - KEEP_MS
            return {"state": "trimmed" if old else "missing"}
        marks = self._ask(store_trace.watermarks, row.writer)
        done = [mark for mark in marks if mark.row >= row.row]
        return {
            "state": "marked" if done else "open",
            "writer": row.writer,
            "row": row.row,
            "at": row.at,
            "upTo": row.up_to,
            "markedUnder": [{"epoch": m.epoch, "watermark": m.row, "writtenAt": m.at} for m in done],
        }

    def _devices(
        self, conversation: str, seq: int, users: list[str], place: store_trace.Place | None
    ) -> list[dict[str, Any]]:
        found = []
        for state in self._ask(store_trace.devices, conversation, users):
            acked = state.acked if state.acked is not None else 0
            if place is not None and state.device == place.device:
                name = "sender"
            elif place is not None and state.linked_at > place.at:
                name = "linked_later"
            elif state.expired >= seq:
                name = "expired"
            else:
                above = "acknowledged" if place is not None else "passed"
                name = above if acked >= seq else "waiting"
            found.append(_device(state.user, state.device, name, state.linked_at, position=acked))
        for former in self._former(users):
            # Whoever was linked at the time of the message was owed it.
            if place is None or former.linked_at <= place.at < former.unlinked_at:
                name = "sender" if place is not None and former.device == place.device else "unlinked"
                ended = {"unlinkedAt": former.unlinked_at}
                found.append(_device(former.user, former.device, name, former.linked_at, **ended))
        return sorted(found, key=lambda one: (one["userId"], one["linkedAt"], one["deviceId"]))

    def _users(self, conversation: str, seq: int, users: list[str]) -> list[dict[str, Any]]:
        receipts = self._ask(store_trace.receipts, conversation, users)
        shown = []
        for user in users:
            state = receipts.get(user)
            delivered = state is not None and state.delivered >= seq
            shown.append(
                {
                    "userId": user,
                    "delivered": delivered,
                    "read": state is not None and state.read >= seq,
                    # Only the last move of a receipt is dated: the one that passed this message was then or earlier.
                    "notLaterThan": state.changed_at if state is not None and delivered else None,
                }
            )
        return shown

    # hints

    def _hints(self, conversation: str, seq: int, stored: dict[str, Any]) -> dict[str, Any]:
        devices = stored["devices"]
        try:
            epoch = hot_sync.epoch(self._hot)
            shown = [self._hint(conversation, device["userId"], device["deviceId"]) for device in devices]
        except (redis.RedisError, HotUnavailable) as error:
            return {"reachable": False, "error": type(error).__name__}
        outbox = stored["outbox"]
        marked = any(mark["epoch"] == epoch for mark in outbox.get("markedUnder", ()))
        return {
            "reachable": True,
            "epoch": epoch,
            "markedUnderThisEpoch": marked if outbox["state"] in ("marked", "open") else None,
            "devices": shown,
        }

    def _hint(self, conversation: str, user: str, device: str) -> dict[str, Any]:
        score = self._hot.zscore(dirty_key(user, device), conversation)
        entry = parse_sessions(self._hot.get(sessions_key(user))).get(device)
        session = None
        if entry is not None:
            name = self._hot.get(alive_key(entry.process))
            session = {
                "process": name.decode() if name else None,
                "incarnation": entry.process,
                "status": entry.status if name else "gone",
                "openedAt": entry.generation,
            }
        return {
            "deviceId": device,
            "mark": int(score) if score is not None else None,
            "session": session,
        }

    def _events(self, conversation: str, seq: int) -> dict[str, Any]:
        """What was traced of this message, oldest first, and until when its conversation is watched."""
        try:
            until = self._hot.zscore(WATCHED, conversation)
            entries = self._hot.xrange(events_key(conversation))
        except redis.RedisError:
            return {"traced": [], "watchedUntil": None}
        notes = [json.loads(fields[b"e"]) for _, fields in entries]
        watched = int(until) if until is not None and until > self._now else None
        return {"traced": [note for note in notes if note["seq"] == seq], "watchedUntil": watched}


def _append(seq: int, place: store_trace.Place | None, floor: int) -> dict[str, Any]:
    if place is None:
        return {"seq": seq, "state": "expired" if seq <= floor else "missing"}
    return {
        "seq": seq,
        "state": "deleted" if place.deleted else "stored",
        "messageId": place.message_id,
        "at": place.at,
        "clientTimestamp": place.sent_at,
        "senderId": place.sender,
        "senderDeviceId": place.device,
        "kind": place.kind,
        "seqNum": place.seq_num or None,
        "contentBytes": place.size,
        **({"withheld": True} if place.withheld else {}),
    }


def _device(user: str, device: str, state: str, linked_at: int, **more: int) -> dict[str, Any]:
    return {
        "userId": user,
        "deviceId": device,
        "state": state,
        "terminal": state in TERMINAL,
        "linkedAt": linked_at,
        **more,
    }


class _reached:
    """Valkey's errors as one sentence."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, traceback: Any) -> None:
        if isinstance(error, redis.RedisError):
            raise TraceError(f"The hot node cannot be reached: {type(error).__name__}.") from None
