"""Numbers that are looked up until somebody registers them, and what was written to them meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from whatsapp_client import Client, RestError, Unreachable

from .kept import Kept
from .people import Peer, People
from .screen import harmless

#: Seconds between two looks: at first, and at most.
FIRST, LONGEST = 2.0, 20.0
#: Longest wait for numbers that are looked up at once, seconds.
AT_ONCE: Final = 3.0


class _Search:
    """``wake``: look now; ``tried``: since then it has been."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.wake, self.tried = asyncio.Event(), asyncio.Event()
        self.told = False  # the user knows that it waits
        self.limited = False  # the server wants no look before its time


class Finder:
    """``open`` is awaited with a peer who was found, before the lines that waited go to ``send``; ``forget`` is called with one
    whose number is none."""

    def __init__(
        self,
        client: Client,
        people: People,
        kept: Kept,
        *,
        say: Callable[[str], None],
        open: Callable[[Peer], Awaitable[None]],
        send: Callable[[Peer, str], None],
        forget: Callable[[Peer], None],
    ) -> None:
        self._client, self._people, self._kept = client, people, kept
        self._say, self._open, self._send, self._forget = say, open, send, forget
        self._searches: list[_Search] = []

    def keep(self, peer: Peer, text: str) -> None:
        """For when the number is registered."""
        peer.unsent.append(text)
        self._say(f"kept until {peer.label} is here: {harmless(text)}")
        self._save()

    def waiting(self) -> int:
        """Lines that are kept."""
        return sum(len(peer.unsent) for peer in self._people)

    def restore(self) -> list[Peer]:
        """Take up what an earlier run has kept; whom it was for."""
        peers = []
        for number, lines in self._kept.load().items():
            peer = self._people.named(number)
            peer.unsent.extend(lines)
            peers.append(peer)
            for text in lines:
                self._say(f"kept until {peer.label} is here: {harmless(text)}")
        return peers

    async def find(self, peer: Peer) -> None:
        """Look the number up, and wait until somebody registers it. At once done for one who is looked for already."""
        if any(search.peer is peer for search in self._searches):
            return
        search = _Search(peer)
        self._searches.append(search)
        try:
            if not await self._found(search):
                return
            if search.told:
                self._say(f"{peer.label} is here now.")
            await self._open(peer)  # before anything is sent: an answer may come at once
            while peer.unsent:
                self._send(peer, peer.unsent.popleft())
                self._save()
        finally:
            self._searches.remove(search)
            search.tried.set()

    @property
    def searching(self) -> bool:
        return bool(self._searches)

    async def look_now(self) -> None:
        """Who is not known may be one of those who are waited for: look all of them up before this returns, within
        :data:`AT_ONCE`."""
        searches = [search for search in self._searches if not search.limited]
        for search in searches:
            search.tried.clear()
            search.wake.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(AT_ONCE):
                for search in searches:
                    await search.tried.wait()

    async def _found(self, search: _Search) -> bool:
        """True when ``peer`` has a conversation, False when the number is none."""
        peer, delay = search.peer, FIRST
        while True:
            search.wake.clear()
            search.limited = False
            try:
                if not peer.user_id:
                    found = await self._client.rest.add_contact(peer.label, nickname=peer.label)
                    self._people.found(peer, str(found["userId"]))
                if not peer.conversation_id:
                    peer.conversation_id = await self._client.rest.direct(peer.user_id)
                return True
            except RestError as error:
                if error.code == "bad_request":
                    self._say(f"{peer.label}: {error.message}")
                    for text in peer.unsent:
                        self._say(f"not sent: {harmless(text)}")
                    self._forget(peer)
                    self._save()
                    return False
                if error.code == "not_found" and not search.told:
                    search.told = True
                    self._say(
                        f"{peer.label} is not registered yet; waiting. Start it in another terminal: ./dev chat {peer.label}"
                    )
                elif error.code != "not_found":
                    self._say(f"{peer.label}: {error.message or error.code}; trying again")
                    delay, search.limited = max(delay, error.retry_after or 5.0), True
            except Unreachable:
                delay = FIRST
            if search.limited:
                search.tried.set()
                await asyncio.sleep(delay)
            elif not search.wake.is_set():  # else once more: this look may have begun before
                search.tried.set()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(delay):
                        await search.wake.wait()
            delay = min(LONGEST, delay * 1.3)

    def _save(self) -> None:
        try:
            self._kept.save({peer.label: list(peer.unsent) for peer in self._people if peer.unsent})
        except OSError as error:
            self._say(f"what is kept is only in memory: {error.strerror}")
