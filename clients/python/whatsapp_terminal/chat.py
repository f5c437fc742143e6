"""The chat: events of the client become lines, lines become messages and commands."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Coroutine
from typing import Any

from whatsapp_client import Client, ClientError, Entry, Stopped, events
from whatsapp_client.stream import EventStream

from .facts_of import said_in
from .finding import Finder
from .kept import Kept
from .own_lines import TICKS, OwnLines
from .people import Peer, People
from .screen import Screen, harmless

EARLIER = 20  # lines of a conversation shown when it is opened
TYPING_EVERY = 1.5  # below the 2 s after which it ends by itself
GOODBYE = 3.0
NEWEST = 2**53 - 1

HELP = """\
  text          send it          /to NUMBER    talk to somebody (a number, or one of /list)
  /list         conversations    /quit         leave (also Ctrl-D)
  ticks: · waiting   ✓ stored by the server   ✓✓ on their device   ✓✓ read"""


class Chat:
    """One person at one terminal. ``kept``: where lines for people who are not registered yet outlast it."""

    def __init__(self, client: Client, screen: Screen, kept: Kept | None = None) -> None:
        self._client = client
        self._screen = screen
        self._people = People()
        self._kept = kept or Kept()
        self._finder = Finder(
            client,
            self._people,
            self._kept,
            say=self._say,
            open=self._arrived,
            send=self._transmit,
            forget=self._forget,
        )
        self._meeting: dict[str, list[Entry]] = {}  # from people who may be one of those looked for
        self._current: Peer | None = None
        self._lines = OwnLines(client)
        self._typed_at = 0.0
        self._tasks: set[asyncio.Task[None]] = set()
        self._opening: set[str] = set()  # conversations whose end is being read
        self._was_online = False
        self._told_offline = False
        self._told_groups: set[str] = set()

    async def run(self, to: str = "") -> int:
        """Chat until the user leaves (0) or the session ends (1)."""
        stream = self._client.events()
        self._screen.on_edit = self._on_edit
        self._say(
            "Messages of this client are NOT end-to-end encrypted yet: the server can read them. /help for help."
        )
        self._client.set_presence("online")
        await self._load()  # names first: messages come as soon as the socket is open
        listening = asyncio.create_task(self._listen(stream))
        reading = asyncio.create_task(self._read(to))
        try:
            await asyncio.wait((listening, reading), return_when=asyncio.FIRST_COMPLETED)
            for task in (listening, reading):
                if task.done():
                    task.result()
            if reading.done():
                await self._say_goodbye()
                return 0
            return 1
        finally:
            for task in (listening, reading, *self._tasks):
                task.cancel()
            await asyncio.gather(listening, reading, *self._tasks, return_exceptions=True)
            await self._client.stop()

    # -- input ---------------------------------------------------------------------------------------------
    async def _read(self, to: str) -> None:
        for peer in self._finder.restore():
            self._spawn(self._finder.find(peer))
        if to:
            await self._talk_to(to)
        elif len(self._people):
            self._say("Choose with /to, or wait for a message:")
            self._list()
        else:
            self._say("Nobody yet: /to NUMBER starts a conversation.")
        await self._client.start()
        self._draw()
        while (text := await self._screen.read()) is not None:
            word, _, argument = text.strip().partition(" ")
            if word == "/quit":
                return
            if word == "/help":
                for line in HELP.splitlines():
                    self._screen.line(line)
            elif word == "/list":
                await self._load()
                self._list()
            elif word == "/to":
                await self._talk_to(argument.strip())
            elif word.startswith("/") and not text.startswith("//"):
                self._say(f"There is no command {word}. /help lists them; a text may begin with //.")
            elif text.strip():
                self._send(text[1:] if text.startswith("//") else text)
            self._draw()

    async def _load(self) -> None:
        """Contacts and conversations that the server knows."""
        try:
            contacts = await self._client.rest.contacts()
            conversations = await self._client.rest.conversations()
        except ClientError as error:
            self._say(f"The list of conversations cannot be read now: {error}")
            return
        self._people.load(contacts, conversations, current=self._current)

    def _list(self) -> None:
        if not len(self._people):
            self._screen.line("  nobody yet")
        for number, peer in enumerate(self._people, 1):
            unread = f", {peer.unread} unread" if peer.unread else ""
            here = "  ← here" if peer is self._current else ""
            self._screen.line(
                f"  {number}  {harmless(peer.label)}{' · ' + peer.presence if peer.presence else ''}{unread}{here}"
            )

    async def _talk_to(self, who: str) -> None:
        if not who:
            self._say("/to needs a phone number like +15550002, or a number of /list.")
            return
        peer = self._people.named(who)
        self._current = peer
        self._draw()
        if not peer.conversation_id:
            self._spawn(self._finder.find(peer))
        else:
            await self._open(peer)

    async def _arrived(self, peer: Peer) -> None:
        """A number that was looked for has a conversation."""
        if self._current is not None and not any(one is self._current for one in self._people):
            self._current = peer  # who was known by id only
        if peer is self._current:
            await self._open(peer)

    def _forget(self, peer: Peer) -> None:
        self._people.forget(peer)
        if self._current is peer:
            self._current = None
        self._draw()

    async def _open(self, peer: Peer) -> None:
        """Show the end of the conversation, and follow the other's presence."""
        self._client.watch_presence([peer.user_id])
        self._opening.add(peer.conversation_id)
        try:
            page = await self._client.rest.events(peer.conversation_id, before=NEWEST, limit=EARLIER)
        except ClientError:
            page = []
        finally:
            self._opening.discard(peer.conversation_id)
        entries = [Entry.from_frame(item, peer.conversation_id) for item in page]
        self._client.history[peer.conversation_id].earlier(entries)
        for entry in self._client.history[peer.conversation_id].entries[-EARLIER:]:
            self._show(peer, entry)
        self._mark_read(peer)
        self._draw()

    # -- output --------------------------------------------------------------------------------------------
    def _say(self, text: str) -> None:
        self._screen.line(f"-- {text}", dim=True)

    def _send(self, text: str) -> None:
        peer = self._current
        if peer is None:
            self._say("To whom? /to NUMBER first.")
        elif not peer.conversation_id:
            self._finder.keep(peer, text)
        else:
            self._transmit(peer, text)

    def _transmit(self, peer: Peer, text: str) -> None:
        try:
            outgoing = self._client.send(peer.conversation_id, text)
        except (ValueError, ClientError) as error:
            self._say(f"not sent: {error}")
            return
        self._client.typing(peer.conversation_id, False)
        self._typed_at = 0.0
        shown = f"{_clock(outgoing.timestamp)}  you: {harmless(text)}"
        line = self._screen.line(shown, mark=TICKS["queued"])
        self._lines.sent(outgoing, line)

    def _show(self, peer: Peer, entry: Entry) -> None:
        peer.shown = max(peer.shown, entry.seq)
        if entry.type != "message":
            return
        mine = entry.sender_id == self._client.session.user_id
        name = "you" if mine else harmless(peer.label)
        told = entry.text if entry.kind == "text" and not entry.view_once else said_in(entry)
        text = "(deleted)" if entry.deleted or not told else harmless(told)
        state = self._client.receipt_at(entry.conversation_id, entry.seq) if mine else ""
        at = _clock(entry.server_timestamp)
        line = self._screen.line(
            f"{at}  {name}: {text}{' (edited)' if entry.edited else ''}", mark=TICKS[state] if mine else " "
        )
        if mine:
            self._lines.found(entry.conversation_id, entry.seq, line, state)

    def _mark_read(self, peer: Peer) -> None:
        peer.unread = 0
        if peer.shown:
            self._client.mark_read(peer.conversation_id, peer.shown)

    def _draw(self) -> None:
        state = self._client.state
        parts = []
        if state.status == "waiting":
            parts.append(f"[offline, next try in {state.retry_in:.0f} s] ")
        elif state.status == "syncing":
            parts.append(f"[syncing… {state.remaining} left] " if state.remaining else "[syncing…] ")
        elif state.status != "online":
            parts.append(f"[{state.status}…] ")
        if self._current is not None:
            parts.append(harmless(self._current.label))
            if self._current.typing:
                parts.append(" typing…")
            elif self._current.presence:
                parts.append(f" ({self._current.presence})")
        self._screen.prompt("".join(parts) + "> ")

    def _on_edit(self, text: str) -> None:
        peer = self._current
        if peer is None or not peer.conversation_id or (text.startswith("/") and not text.startswith("//")):
            return
        now = time.monotonic()
        if text and now - self._typed_at > TYPING_EVERY:
            self._typed_at = now
            self._client.typing(peer.conversation_id, True)
        elif not text and self._typed_at:
            self._typed_at = 0.0
            self._client.typing(peer.conversation_id, False)

    # -- events --------------------------------------------------------------------------------------------
    async def _listen(self, stream: EventStream) -> None:
        async for event in stream:
            match event:
                case events.Message(entry=entry):
                    self._on_message(entry)
                case events.Sent(outgoing=outgoing):
                    self._lines.tick(outgoing.conversation_id)
                case events.Failed(outgoing=outgoing, code=code, message=message):
                    self._lines.tick(outgoing.conversation_id)
                    self._say(f"not sent ({message or code}): {harmless(outgoing.content.decode())}")
                case events.Receipt(conversation_id=conversation_id):
                    self._lines.tick(conversation_id)
                case events.Typing():
                    self._on_typing(event)
                case events.Presence():
                    self._on_presence(event)
                case events.State():
                    self._on_state(event)
                case events.Problem(code=code, message=message, ref=ref) if ref != "read":
                    self._say(f"{code}: {message}")
            self._draw()

    async def _meet(self, conversation_id: str) -> None:
        """Show what somebody has written who is not known, once it is clear whether it is one of those looked for: otherwise
        it would stand there under an id, and again under the number."""
        await self._finder.look_now()
        for entry in self._meeting.pop(conversation_id):
            self._on_message(entry, met=True)
        self._draw()

    def _on_message(self, entry: Entry, *, met: bool = False) -> None:
        chats = {chat.conversation_id: chat for chat in self._client.chats()}
        if (chat := chats.get(entry.conversation_id)) is not None and chat.kind == "group":
            if chat.title not in self._told_groups:
                self._told_groups.add(chat.title)
                self._say(f"{harmless(chat.title)}: groups are shown by the full screen (without --plain)")
            return
        peer = self._people.conversation(entry.conversation_id)
        if peer is None:
            if entry.sender_id == self._client.session.user_id:
                return  # from another device of ours, to somebody we have not talked to here
            looked_for = self._finder.searching and not self._people.knows(entry.sender_id)
            if not met and (looked_for or entry.conversation_id in self._meeting):
                self._meeting.setdefault(entry.conversation_id, []).append(entry)
                if len(self._meeting[entry.conversation_id]) == 1:
                    self._spawn(self._meet(entry.conversation_id))
                return
            peer = self._people.user(entry.sender_id)
            peer.conversation_id = entry.conversation_id
            self._spawn(self._name(peer))
        if self._current is None:
            self._current = peer
            self._client.watch_presence([peer.user_id])
            self._say(f"talking with {harmless(peer.label)} now (/to changes that)")
        peer.typing = False
        if entry.seq > peer.shown:
            if peer is not self._current:
                peer.unread += 1
            if peer.conversation_id not in self._opening:  # else it is shown with what came before it
                self._show(peer, entry)
        if peer is self._current:
            self._mark_read(peer)

    async def _name(self, peer: Peer) -> None:
        with contextlib.suppress(ClientError):
            user = await self._client.rest.user(peer.user_id)
            peer.label = user.get("name") or peer.label
            self._draw()

    def _on_typing(self, event: events.Typing) -> None:
        for peer in self._people:
            if peer.user_id == event.user_id and peer.conversation_id == event.conversation_id:
                peer.typing = event.active
                if event.active and not self._screen.interactive:
                    self._say(f"{harmless(peer.label)} is typing…")

    def _on_presence(self, event: events.Presence) -> None:
        for peer in self._people:
            if peer.user_id != event.user_id:
                continue
            presence = event.status
            if event.status == "offline" and event.last_seen:
                presence = f"last seen {_clock(event.last_seen)}"
            if presence != peer.presence:
                peer.presence = presence
                if not self._screen.interactive:
                    self._say(f"{harmless(peer.label)}: {presence}")

    def _on_state(self, state: events.State) -> None:
        if state.status == "online":
            self._say("connected again" if self._was_online else "connected")
            self._was_online, self._told_offline = True, False
        elif state.status == "waiting" and not self._told_offline:
            self._told_offline = True
            self._say(
                f"no connection ({state.detail}); trying again until there is one, what you write waits"
            )
        elif state.status == "stopped" and state.code:
            self._say(f"The end: {state.detail}.")
        elif state.status == "syncing" and state.remaining and not self._screen.interactive:
            self._say(f"syncing… {state.remaining} left")

    # -- the end -------------------------------------------------------------------------------------------
    async def _say_goodbye(self) -> None:
        if count := self._finder.waiting():
            words = f"{_messages(count)} for people who are not here yet"
            if self._kept.lasts:
                self._say(f"{words}; the next ./dev chat --plain sends what waits.")
            else:
                self._say(f"{words}: gone, this client keeps what it sends in memory only.")
        waiting = self._lines.waiting()
        if waiting:
            self._say(f"waiting for the ✓ of {_messages(len(waiting))}…")
            with contextlib.suppress(TimeoutError, ClientError, Stopped):
                async with asyncio.timeout(GOODBYE):
                    for outgoing in waiting:
                        await outgoing.sent()
        lost = [o for o in waiting if o.state != "sent"]
        if lost:
            self._say(
                f"{_messages(len(lost))} without a ✓: gone, this client keeps what it sends in memory only."
            )

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _messages(count: int) -> str:
    return "1 message" if count == 1 else f"{count} messages"


def _clock(ms: int) -> str:
    return time.strftime("%H:%M", time.localtime(ms / 1000))
