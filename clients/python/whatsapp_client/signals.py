"""What is worth something now only: who is writing, who is online, which chats the user looks at."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from .duties import Duties
from .group_calls import GroupCalls
from .inbound import now
from .lookups import Lookups


class Signals(GroupCalls):
    """The part of a :class:`Client` that says what is not stored."""

    _duties: Duties
    _lookups: Lookups
    _wake: asyncio.Event

    def typing(self, conversation_id: str, active: bool = True, *, kind: str = "text") -> None:
        """Show or end "typing…" at the others; it ends by itself after 2 s, so repeat it while it goes on."""
        self._duties.typing(conversation_id, active, kind)
        self._wake.set()

    def set_presence(self, status: str) -> None:
        """``online``, ``away`` or ``offline``."""
        self._duties.status(status)
        self._wake.set()

    def watch_presence(self, user_ids: Iterable[str]) -> None:
        """Get :class:`events.Presence` of these users from now on, over reconnects too."""
        self._duties.watch(user_ids, now())
        self._wake.set()

    def open_chat(self, conversation_id: str) -> None:
        """The user looks at this chat. In a group typing and presence of its members come from now on, over reconnects too;
        they come to who has it open only. At most 10 are open; the first one is closed for an eleventh. The members' names
        are asked for if they are not known."""
        groups = self._chats.groups
        if groups.ended(conversation_id) or not self._chats.is_group(conversation_id):
            return
        if self._want_names(conversation_id) or groups.unnamed(conversation_id):
            self._lookups.want(conversation_id)
        self._duties.open(conversation_id, now())
        self._wake.set()

    def close_chat(self, conversation_id: str) -> None:
        """The user looks away."""
        self._duties.close(conversation_id)
        self._wake.set()
