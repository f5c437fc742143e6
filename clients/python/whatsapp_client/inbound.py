"""What the server says: each frame changes the state of the device and becomes events for the application."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from . import events as ev
from .chats import Chats
from .codecs import Frame
from .duties import Duties
from .entry import Entry, once, whole
from .group_state import DISSOLVED
from .history import History
from .outbox import Outbox
from .outgoing import Outgoing
from .session import Session
from .stream import Broadcast

TYPING_ENDS = 2.0
#: What the server shows of a message that was sent with it; so a device's own copy has it too.
_SHOWN = ("mediaUrl", "replyTo", "forwardCount", "mentions", "expiresIn", "viewOnce")


class Inbound:
    """Handles frames one after the other. ValueError and TypeError mean a frame that makes no sense.

    ``progress`` is told how many events a sync has still to bring, and None when it is complete. ``slot``:
    when the server wants this client to connect again (monotonic seconds), from `reconnect`. ``look_up`` is
    told of groups of which the server must be asked something, ``renumbered`` that the session has another number,
    ``media_told`` what becomes of an upload.
    """

    def __init__(
        self,
        session: Session,
        history: History,
        outbox: Outbox,
        chats: Chats,
        duties: Duties,
        broadcast: Broadcast,
        wake: asyncio.Event,
        progress: Callable[[int | None], Awaitable[None]],
        clock: Callable[[], float] = time.monotonic,
        look_up: Callable[[str], None] = lambda conversation_id: None,
        renumbered: Callable[[], None] = lambda: None,
        media_told: Callable[[Frame], None] = lambda data: None,
    ) -> None:
        self._session = session
        self._history = history
        self._outbox = outbox
        self._chats = chats
        self._duties = duties
        self._broadcast = broadcast
        self._wake = wake
        self._progress = progress
        self._wanted = look_up
        self._renumbered = renumbered
        self._media_told = media_told
        self._now = clock
        self.slot: float | None = None
        self._typing: dict[tuple[str, str], asyncio.TimerHandle] = {}
        self._closed: list[Outgoing] = []
        self._handlers: dict[str, Callable[[Frame], Awaitable[None]]] = {
            "message": self._on_entry,
            "event": self._on_entry,
            "sync_batch": self._on_batch,
            "sync_complete": self._on_complete,
            "status_update": self._on_status,
            "typing": self._on_typing,
            "presence": self._on_presence,
            "notice": self._on_notice,
            "reconnect": self._on_reconnect,
            "error": self._on_error,
        }

    async def handle(self, frame: Frame) -> None:
        """One frame; types this client does not know are for newer ones."""
        handler = self._handlers.get(str(frame.get("type")))
        if handler is None:
            return
        try:
            await handler(frame)
        except (LookupError, ArithmeticError, AttributeError) as error:
            raise ValueError(f"a {frame['type']} of the wrong shape: {error!r}") from error

    def end(self) -> None:
        """Nothing more will come."""
        for timer in self._typing.values():
            timer.cancel()
        self._typing.clear()

    async def _on_entry(self, frame: Frame) -> None:
        entry = once(Entry.from_frame(frame), self._session.user_id)
        released = self._history[entry.conversation_id].live(entry)
        self._wrote(released)
        self._duties.live_stored(entry.conversation_id, self._now())
        self._wake.set()
        await self._show(released)

    async def _on_batch(self, frame: Frame) -> None:
        conversation_id = str(frame["conversationId"])
        items = frame.get("events") or ()
        entries = [once(Entry.from_frame(item, conversation_id), self._session.user_id) for item in items]
        released = self._history[conversation_id].page(entries, whole(frame["through"]))
        self._wrote(released)
        self._duties.page_stored(conversation_id, self._now())
        self._wake.set()
        await self._show(released)
        await self._progress(whole(frame.get("remaining")))

    async def _on_complete(self, frame: Frame) -> None:
        self._duties.synced(whole(frame.get("serverTime")))
        self._wake.set()
        await self._progress(None)

    def _wrote(self, entries: list[Entry]) -> None:
        """What follows from entries that were stored, in the same turn: so it is in the same transaction."""
        groups = self._chats.groups
        for entry in entries:
            self._chats.wrote(entry)
            conversation_id = entry.conversation_id
            if entry.type in ("member_removed", "info") and (why := groups.ended(conversation_id)):
                self._duties.close(conversation_id, tell=False)
                self._closed += self._outbox.close(conversation_id, *no_member(why), now=self._now())
            if groups.unnamed(conversation_id):
                self._wanted(conversation_id)

    async def _show(self, entries: list[Entry]) -> None:
        for entry in entries:
            if entry.type != "message":
                await self._broadcast.publish(ev.Change(entry))
                continue
            mine = entry.sender_id == self._session.user_id
            if mine and (
                outgoing := self._outbox.confirm(entry.message_id, entry.seq, entry.server_timestamp)
            ):
                # Its ✓ was lost; the log itself is the answer.
                await self._broadcast.publish(ev.Sent(outgoing))
                continue
            if entry.view_once:
                entry = replace(entry, content=None)  # opened by :meth:`Client.open_once` only
            await self._broadcast.publish(ev.Message(entry, own=mine))
        closed, self._closed = self._closed, []
        for outgoing in closed:
            self._chats.touch(outgoing.conversation_id)
            assert outgoing.error is not None
            await self._broadcast.publish(ev.Failed(outgoing, outgoing.error.code, outgoing.error.message))

    async def _on_status(self, frame: Frame) -> None:
        status, conversation_id = str(frame.get("status")), str(frame.get("conversationId"))
        if status in ("sent", "queued"):
            await self._on_tick(frame)
            return
        user_id, up_to = str(frame.get("userId") or ""), whole(frame.get("upTo"))
        counts = frame.get("counts")
        if counts is not None:
            # Of a large group: how many others, not who.
            delivered, read = whole(counts.get("delivered")), whole(counts.get("read"))
            self._chats.groups.counted(conversation_id, up_to, delivered, read)
            self._look_up(conversation_id)
            await self._broadcast.publish(ev.Receipt(conversation_id, user_id, status, up_to, counts))
        elif self._history[conversation_id].receipt(user_id, status, up_to):
            if user_id == self._session.user_id and status == "read":
                self._chats.read(conversation_id, up_to, told=True)
            self._chats.touch(conversation_id)
            self._look_up(conversation_id)
            await self._broadcast.publish(ev.Receipt(conversation_id, user_id, status, up_to))

    def _look_up(self, conversation_id: str) -> None:
        """What ticks need."""
        groups = self._chats.groups
        if groups.unnamed(conversation_id) or groups.lacks_members(conversation_id):
            self._wanted(conversation_id)

    async def _on_tick(self, frame: Frame) -> None:
        """✓ (or `queued`, which is as durable)."""
        outgoing = self._outbox.confirm(
            str(frame.get("messageId")),
            whole(frame.get("seq")),
            whole(frame.get("timestamp")),
            bool(frame.get("duplicate")),
            delayed=frame.get("status") == "queued",
        )
        self._wake.set()
        if outgoing is None:
            return
        behind = self._keep_own(outgoing) if outgoing.seq else []
        self._wrote(behind)
        self._chats.touch(outgoing.conversation_id)
        await self._broadcast.publish(ev.Sent(outgoing))
        await self._show(behind)

    def _keep_own(self, outgoing: Outgoing) -> list[Entry]:
        """Our own message takes its place in the log; returns what waited behind it."""
        entry = Entry(
            outgoing.conversation_id,
            outgoing.seq,
            self._session.user_id,
            outgoing.message_id,
            kind=outgoing.kind,
            content=outgoing.content,
            timestamp=outgoing.timestamp,
            server_timestamp=outgoing.server_timestamp,
            device_id=self._session.device_id,
            fields={name: outgoing.fields[name] for name in _SHOWN if name in outgoing.fields},
        )
        if not outgoing.is_message:
            entry = self._change(outgoing)
        elif timer := self._chats.timer(outgoing.conversation_id, outgoing.seq):
            asked = entry.fields.get("expiresIn")
            entry.fields["expiresIn"] = min(timer, asked) if isinstance(asked, int) else timer
        once(entry, self._session.user_id)
        released = self._history[outgoing.conversation_id].own(entry)
        self._wrote([entry])
        self._look_up(outgoing.conversation_id)
        self._duties.live_stored(outgoing.conversation_id, self._now())
        return released

    def _change(self, outgoing: Outgoing) -> Entry:
        """What the log says of an edit, a delete, a reaction or a vote of ours: its ✓ stands for it."""
        data = {"emoji": outgoing.text} if outgoing.kind == "reaction" else {}
        return Entry(
            outgoing.conversation_id, outgoing.seq, self._session.user_id, type=outgoing.kind, kind="event",
            content=outgoing.content or None if outgoing.kind in ("edit", "vote") else None,
            server_timestamp=outgoing.server_timestamp, fields={"targetId": outgoing.target_id, "data": data},
        )  # fmt: skip

    async def _on_typing(self, frame: Frame) -> None:
        conversation_id, user_id = str(frame.get("conversationId")), str(frame.get("userId"))
        key = (conversation_id, user_id)
        known = self._typing.pop(key, None)
        if known is not None:
            known.cancel()
        active = bool(frame.get("active"))
        kind = str(frame.get("kind") or "text")
        if active:
            over = ev.Typing(conversation_id, user_id, False, kind)
            self._typing[key] = asyncio.get_running_loop().call_later(
                TYPING_ENDS, self._typing_over, key, over
            )
        if active != (known is not None):
            self._broadcast.offer(ev.Typing(conversation_id, user_id, active, kind))

    def _typing_over(self, key: tuple[str, str], over: ev.Typing) -> None:
        self._typing.pop(key, None)
        self._broadcast.offer(over)

    async def _on_presence(self, frame: Frame) -> None:
        count = frame.get("onlineCount")
        presence = ev.Presence(
            str(frame.get("userId") or ""), str(frame.get("status")), frame.get("lastSeen"),
            frame.get("conversationId"), None if count is None else whole(count),
        )  # fmt: skip
        await self._broadcast.publish(presence)

    async def _on_notice(self, frame: Frame) -> None:
        kind, data = str(frame.get("kind")), frame.get("data") or {}
        user_id = data.get("userId")
        if kind == "flags":
            self._chats.flags.told(data)
            if data.get("request") is False and data.get("conversationId"):
                self._chats.accepted(str(data["conversationId"]))
            if user_id and isinstance(data.get("blocked"), bool):
                self._chats.block(str(user_id), data["blocked"])
        elif kind == "contact_deleted" and user_id:
            self._chats.unnick(str(user_id))
        elif kind == "number_changed" and user_id == self._session.user_id and data.get("phoneNumber"):
            self._session.phone_number = str(data["phoneNumber"])  # by another device of this user
            self._renumbered()
        elif kind == "media":
            self._media_told(data)
        if user_id:
            self._chats.forget_profile(str(user_id))
        await self._broadcast.publish(ev.Notice(kind, data))

    async def _on_reconnect(self, frame: Frame) -> None:
        self.slot = self._now() + whole(frame.get("afterMs")) / 1000

    async def _on_error(self, frame: Frame) -> None:
        code, message, ref = (
            str(frame.get("code")),
            str(frame.get("message") or ""),
            str(frame.get("ref") or ""),
        )
        at = self._now()
        self._wake.set()
        if self._outbox.owns(frame):
            failed = self._outbox.refuse(frame, at)
            if failed is not None:
                self._chats.touch(failed.conversation_id)
                await self._broadcast.publish(ev.Failed(failed, code, message))
            return
        if code == "reset":
            details = frame.get("details") or {}
            self._history[str(details.get("conversationId") or frame.get("conversationId"))].forget_position()
            self._duties.sync_again(at)
            return
        if ref.startswith("sync") and frame.get("retryable"):
            self._duties.sync_again(at + max(0.5, whole(frame.get("retryAfterMs")) / 1000))
            return
        await self._broadcast.publish(ev.Problem(code, message, ref))


def no_member(why: str) -> tuple[str, str]:
    """Code and text of a message to a group whose member this user is no more."""
    text = "this group is over" if why == DISSOLVED else "you are no member of this group any more"
    return "not_member", text


def now() -> float:
    """Monotonic seconds: every delay here is counted in them."""
    return time.monotonic()
