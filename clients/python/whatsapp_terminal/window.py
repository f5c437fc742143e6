"""The part of a conversation that is in memory: some hundred entries around what is seen, of any number.

Pure logic over the client's local store. Scrolling up reads pages from the store, and from the server below
what the store has; what is far below the view is let go and read again on the way down.
"""

from __future__ import annotations

import time

from whatsapp_client import Entry, Outgoing, Shown

from .backend import Backend

PAGE = 50
#: Entries kept; above it the end that is further from the reader is dropped.
KEEP = 600
#: Unsent messages shown; a terminal may find thousands in its outbox.
WAITING = 100


class Window:
    """Ascending :attr:`entries` of one conversation without holes, and :attr:`pending` sends below them."""

    def __init__(self, backend: Backend, conversation_id: str) -> None:
        self._backend = backend
        self.conversation_id = conversation_id
        self.entries: list[Entry] = []
        self.pending: list[Outgoing] = []
        self.at_newest = True  # whether the newest entry is in the window
        self.at_beginning = False
        self._unplaced: dict[str, Outgoing] = {}  # ✓, but their place in the log is still to come
        self.shown: dict[str, Shown] = {}  # by message id: what the messages in the window are now

    def newest(self) -> None:
        """Go to the end of the conversation."""
        self.shown.clear()
        self.entries = self._page()
        self.at_newest, self.at_beginning = True, bool(self.entries) and self.entries[0].seq <= 1
        self._renew_pending()

    def renew(self) -> bool:
        """Take in what has happened since. Whether anything was added at the end."""
        self._renew_pending()
        if not self.at_newest:
            return False
        tail = self._page()
        if not self.entries:
            self.entries = tail
            self._renew_pending()
            return bool(tail)
        now = time.time_ns() // 1_000_000
        if any(0 < entry.expires_at <= now for entry in self.entries[:-PAGE]):
            self.amended()
        # What has vanished, or was deleted for this device, is not in the store any more.
        here = {entry.seq for entry in tail}
        self.entries = [e for e in self.entries if e.seq in here or (tail and e.seq < tail[0].seq)]
        if not self.entries:
            self.entries = tail
            return bool(tail)
        last = self.entries[-1].seq
        known = {entry.seq: index for index, entry in enumerate(self.entries[-PAGE * 2 :])}
        base = max(0, len(self.entries) - PAGE * 2)
        for entry in tail:  # edited and deleted ones come as new objects
            if entry.seq in known:
                self.entries[base + known[entry.seq]] = entry
        fresh = [entry for entry in tail if entry.seq > last]
        if len(fresh) == len(tail) == PAGE:
            # A whole page is new: there may be more between. Start anew at the end.
            self.entries = tail
            self.at_beginning = False
        else:
            # What came late, from above the top of the store's page.
            missing = [e for e in tail if e.seq not in known and self.entries[0].seq < e.seq <= last]
            if missing:
                self.entries = sorted([*self.entries, *missing], key=lambda entry: entry.seq)
            self.entries += fresh
        self._trim_top()
        self._renew_pending()
        return bool(fresh)

    async def older(self) -> int:
        """Another page at the top; the number of entries added. 0: the beginning.

        Raises what :meth:`Backend.load_older` raises when the server is needed and away.
        """
        if self.at_beginning:
            return 0
        before = self.entries[0].seq if self.entries else None
        page = self._page(before)
        if len(page) < PAGE and not (page and page[0].seq <= 1):
            more = await self._backend.load_older(self.conversation_id, limit=PAGE)
            before = self.entries[0].seq if self.entries else None  # it may have moved meanwhile
            page = self._page(before)
            if not page and not more:
                self.at_beginning = True
                return 0
        self.entries = page + self.entries
        if page and page[0].seq <= 1:
            self.at_beginning = True
        if len(self.entries) > KEEP:
            del self.entries[KEEP:]
            self.at_newest = False
        return len(page)

    def newer(self) -> int:
        """Another page at the bottom, after entries there were let go; the number of entries added."""
        if self.at_newest or not self.entries:
            return 0
        last, step = self.entries[-1].seq, PAGE
        while True:
            page = self._page(last + step + 1, step)
            fresh = [entry for entry in page if entry.seq > last]
            newest = self._backend.messages(self.conversation_id, limit=1)
            end = newest[-1].seq if newest else last
            if fresh or last + step >= end:
                break
            step *= 4  # many numbers in a row that hold nothing for us
        self.entries += fresh
        self.at_newest = self.entries[-1].seq >= end
        self._trim_top()
        return len(fresh)

    def keep(self, outgoing: Outgoing) -> None:
        """One of ours has its ✓: show it at the end until the log has it. A change shows in what it is about."""
        if outgoing.is_message and all(
            entry.message_id != outgoing.message_id for entry in self.entries[-PAGE:]
        ):
            self._unplaced[outgoing.message_id] = outgoing

    def around(self, seq: int) -> bool:
        """Have this entry in the window; False if it is not here."""
        if any(entry.seq == seq for entry in self.entries):
            return True
        page = self._page(seq + PAGE // 2 + 1)
        if all(entry.seq != seq for entry in page):
            return False
        newest = self._backend.messages(self.conversation_id, limit=1)
        self.entries = page
        self.at_newest = not newest or page[-1].seq >= newest[-1].seq
        self.at_beginning = page[0].seq <= 1
        self._renew_pending()
        return True

    def amended(self) -> None:
        """Something was said about a message of the window, wherever it is: read all of it again."""
        if not self.entries:
            return
        low, high = self.entries[0].seq, self.entries[-1].seq
        self.shown.clear()
        found: list[Entry] = []
        before: int | None = high + 1
        while page := self._page(before):
            found = [entry for entry in page if entry.seq >= low] + found
            if page[0].seq <= low:
                break
            before = page[0].seq
        self.entries = found

    # -- inside --------------------------------------------------------------------------------------------
    def _page(self, before: int | None = None, limit: int = PAGE) -> list[Entry]:
        """A page of the log, with what its messages are now."""
        page = self._backend.messages(self.conversation_id, before=before, limit=limit)
        for shown in self._backend.view(self.conversation_id, before=before, limit=limit):
            if shown.outgoing is None:
                self.shown[shown.message_id] = shown
        return page

    def _renew_pending(self) -> None:
        for entry in self.entries[-PAGE:]:
            self._unplaced.pop(entry.message_id, None)
        waiting = self._backend.pending(self.conversation_id)
        ids = {outgoing.message_id for outgoing in waiting}
        placed = {entry.message_id for entry in self.entries[-PAGE:] if entry.message_id}
        unplaced = [o for o in self._unplaced.values() if o.message_id not in ids]
        waiting = [o for o in waiting if o.message_id not in placed and o.is_message]
        if (
            len(waiting) > WAITING
        ):  # written by a program: the refused ones and the newest are what one wants to see
            failed = [o for o in waiting[:-WAITING] if o.state == "failed"]
            waiting = failed[-WAITING:] + waiting[-WAITING:]
        self.pending = unplaced + waiting

    def _trim_top(self) -> None:
        if len(self.entries) > KEEP:
            del self.entries[: len(self.entries) - KEEP]
            self.at_beginning = False
