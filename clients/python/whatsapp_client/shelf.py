"""What is on this device: chats, messages, ticks. Everything but the two reads over REST works offline."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from .chats import Chat, Chats
from .database import Database
from .entry import Entry, once
from .errors import RestError
from .groups import Group
from .history import History
from .keeper import Keeper
from .log import NEWEST
from .outbox import Outbox
from .outgoing import Outgoing
from .rest import Rest
from .session import Session

MAX_PROFILES = 100  # unknown names that one refresh asks for


class Shelf:
    """The part of a :class:`Client` that reads the database and fills it from the server's history."""

    def __init__(self, url: str, session: Session, database: Database) -> None:
        self.session = session
        self.rest = Rest(url, token=session.token)
        self.database = database
        self.database.claim(session.user_id, session.device_id)
        self.history = History(database)
        self.outbox = Outbox(database)
        self._chats = Chats(database, self.history, session.user_id)
        self.keeper = Keeper(database, self.history, self._chats)
        while self.keeper.vanish():
            pass
        database.commit()

    def chats(self) -> list[Chat]:
        """All chats, newest activity first. From the database: also offline, also before :meth:`start`."""
        return self._chats.all(self.outbox.newest())

    def chat(self, conversation_id: str) -> Chat:
        """One line of :meth:`chats`."""
        return self._chats.chat(conversation_id)

    def known_group(self, conversation_id: str) -> Group | None:
        """A group as this device knows it, without asking; None when it does not (yet)."""
        return self._chats.groups.group(conversation_id)

    def name_of(self, user_id: str) -> str:
        """The nickname in one's contacts, the name of the profile, or a short form of the id."""
        return self._chats.name(user_id)

    def messages(self, conversation_id: str, before: int | None = None, limit: int = 50) -> list[Entry]:
        """The last ``limit`` entries that are stored here (below the number ``before``), ascending. Own messages
        are among them after their ✓; until then see :meth:`pending`."""
        return self.history[conversation_id].log.page(before, limit)

    async def load_older(self, conversation_id: str, limit: int = 50) -> bool:
        """Read what lies before the oldest entry here from the server and store it. False at the beginning (and when
        twice as many entries are here as the database keeps of a conversation). Raises :class:`RestError`,
        :class:`Unreachable`."""
        conversation = self.history[conversation_id]
        if conversation.log.count >= 2 * self.database.keep:
            return False
        before = conversation.log.oldest() or NEWEST
        items = await self.rest.events(conversation_id, before=before, limit=limit)
        entries = [once(Entry.from_frame(item, conversation_id), self.session.user_id) for item in items]
        added, oldest = conversation.earlier(entries), conversation.log.oldest()
        self._chats.touch(conversation_id)
        self.database.begin()
        return added > 0 or (oldest is not None and oldest < before)

    async def refresh_chats(self) -> None:
        """Ask the server for what the log does not say: titles, contacts, unread counts of what is not here. Raises
        :class:`RestError`, :class:`Unreachable`."""
        mark = self._chats.groups.mark
        contacts, conversations = await asyncio.gather(self.rest.contacts(), self.rest.conversations())
        self._chats.people(contacts)
        for item in conversations:
            self._chats.listed(item, mark)
        self.database.begin()
        await self.learn_names(self._chats.unnamed()[:MAX_PROFILES])

    async def learn_names(self, user_ids: Iterable[str]) -> None:
        """Read these people's profiles, also those that were read before: who had no name may have set one since. Raises
        :class:`RestError`, :class:`Unreachable`."""
        for user_id in user_ids:
            try:
                self._chats.people([await self.rest.user(user_id)])
            except RestError as error:
                if error.status == 429 or error.status >= 500:
                    raise
                self._chats.people([{"userId": user_id}])  # deleted: asked once

    def unhandled(self, conversation_id: str | None = None, limit: int = 100) -> list[Entry]:
        """Messages of others that are stored here and that :meth:`handled` has not named, in order; without a
        conversation those of all. For programs: what a message caused is done once, over crashes too, if it is done in
        the same turn of the event loop as :meth:`handled`. What the database no longer keeps is not among them."""
        ids = [conversation_id] if conversation_id else [conversation.id for conversation in self.history]
        found: list[Entry] = []
        for each in ids:
            found += self.history[each].log.unhandled(self.session.user_id, limit - len(found))
            if len(found) >= limit:
                break
        return found

    def handled(self, conversation_id: str, up_to: int) -> None:
        """The program has dealt with everything up to this number. Nobody is told."""
        self.history[conversation_id].log.handle(up_to)

    def pending(self, conversation_id: str) -> list[Outgoing]:
        """Own messages without ✓, oldest first: waiting ones and failed ones."""
        return [outgoing for outgoing in self.outbox.pending(conversation_id) if outgoing.is_message]

    def flush(self) -> None:
        """Everything done so far is in the file when this returns; without it, when the turn of the event loop is
        over. Raises :class:`DatabaseBroken`."""
        self.database.commit()

    def receipt_of(self, outgoing: Outgoing) -> str:
        """``queued``, ``sent``, ``delivered``, ``read`` or ``failed``: the ticks of a message."""
        if outgoing.state != "sent":
            return "failed" if outgoing.state == "failed" else "queued"
        return self.receipt_at(outgoing.conversation_id, outgoing.seq)

    def receipt_at(self, conversation_id: str, seq: int) -> str:
        """``sent``, ``delivered`` or ``read``, for a message of ours at ``seq``; in a group by all others who were there when
        it was sent and still are."""
        if conversation_id in self._chats.groups:
            return self._chats.groups.receipt(conversation_id, seq)
        receipts = self.history[conversation_id].receipts
        others = [receipt for user, receipt in receipts.items() if user != self.session.user_id]
        if any(receipt.read >= seq for receipt in others):
            return "read"
        return "delivered" if any(receipt.delivered >= seq for receipt in others) else "sent"
