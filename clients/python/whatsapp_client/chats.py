"""The list of chats: titles, the last entry, how much is unread. All of it is read from the database."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from .codecs import Frame
from .database import Database
from .entry import Entry, ends_at, timer_of, whole
from .flags import FlagState
from .group_state import GroupState
from .groups import Group, text
from .history import History
from .known_people import KnownPeople

#: A `read` told so shortly before the last one is told again by a new process: the server writes it behind.
UNSURE_MS = 10_000


@dataclass(frozen=True, slots=True)
class Chat:
    """A line of the list. ``user_id``: the other one of a direct chat. ``last``: its newest message. ``read_up_to``:
    this user has read everything up to it, on whatever device.

    Of a group: ``role`` (``creator``, ``admin``, ``member``; None: not known, or no member any more), ``member_count`` (None:
    not known), and ``read_only``, why nothing can be written: ``removed``, ``left``, ``dissolved``, ``announcements`` (only
    admins write), or "" when it can.

    ``muted_until``: ms since the epoch, None: not muted. ``draft``: what was begun to write, as the client that kept
    it encrypted it. ``mentioned``: how many unread messages name this user.
    ``timer``: after so many seconds new messages vanish. ``blocked``: by this user, the other one of a direct chat.
    ``request``: from somebody whom this user does not know, and has not answered.
    ``active_at``: where there is no message, when something else was said (ms).
    """

    conversation_id: str
    kind: str
    user_id: str | None
    title: str
    last: Entry | None
    unread: int
    read_up_to: int
    role: str | None = None
    member_count: int | None = None
    read_only: str = ""
    muted_until: int | None = None
    pinned: bool = False
    archived: bool = False
    draft: bytes | None = None
    mentioned: int = 0
    active_at: int = 0
    timer: int | None = None
    blocked: bool = False
    request: bool = False


@dataclass(slots=True)
class _Facts:
    """What is stored of a chat beside its log. ``told``: the read position that the server knows, since ``told_at``
    (ms); ``server_*``: what its list said last."""

    kind: str = "direct"
    peer: str = ""
    title: str = ""
    read_up_to: int = 0
    told: int = 0
    told_at: int = 0
    server_read: int = 0
    server_unread: int = 0
    server_head: int = 0
    last: str = ""
    server_mentioned: int = 0
    timer: int = 0
    timer_seq: int = 0
    request: int = 0


class Chats(KnownPeople):
    """All chats of one user. A chat exists once something of it is stored or the server has listed it."""

    def __init__(self, database: Database, history: History, user_id: str) -> None:
        super().__init__(database)
        self._history = history
        self._user_id = user_id
        self._facts: dict[str, _Facts] = {}
        self._dirty: set[str] = set()
        self._shown: dict[str, Chat] = {}  # as last made; without those that have changed
        self.changed: dict[str, None] = {}  # for the application, in order
        rows = database.read(
            "SELECT c.id, x.* FROM chats x JOIN conversations c ON x.conversation = c.number"
        )
        for conversation_id, _number, *facts in rows.fetchall():
            self._facts[conversation_id] = _Facts(*facts)
        self.blocked = {row[0] for row in database.read("SELECT user FROM blocks")}
        self.groups = GroupState(database, history, user_id, self.touch)
        self.flags = FlagState(database, history, self.touch)

    # -- reading -------------------------------------------------------------------------------------------
    def all(self, waiting: Mapping[str, int]) -> list[Chat]:
        """Newest activity first. ``waiting``: conversations with own messages without ✓, and when they were written."""
        known = {c.id for c in self._history if c.log.low or c.id in self._facts}
        chats = [self.chat(conversation_id) for conversation_id in known | waiting.keys()]
        at = {chat.conversation_id: max(_at(chat), waiting.get(chat.conversation_id, 0)) for chat in chats}
        return sorted(chats, key=lambda chat: (at[chat.conversation_id], chat.conversation_id), reverse=True)

    def chat(self, conversation_id: str) -> Chat:
        chat = self._shown.get(conversation_id)
        if chat is None:
            chat = self._shown[conversation_id] = self._make(conversation_id)
        return chat

    def is_group(self, conversation_id: str) -> bool:
        return conversation_id in self.groups or _group_id(conversation_id)

    def unnamed(self) -> list[str]:
        """Peers whose profile was never read."""
        return [f.peer for f in self._facts.values() if f.peer and f.peer not in self._people]

    def untold(self) -> dict[str, int]:
        """Read positions that the server may not know yet."""
        unsure = max((f.told_at for f in self._facts.values()), default=0) - UNSURE_MS
        return {
            conversation_id: facts.read_up_to
            for conversation_id, facts in self._facts.items()
            if facts.read_up_to and (facts.told < facts.read_up_to or facts.told_at > unsure)
        }

    def _make(self, conversation_id: str) -> Chat:
        facts = self._facts.get(conversation_id, _Facts())
        log = self._history[conversation_id].log
        last = log.last_message()
        if facts.last and (last is None or last.seq < facts.server_head):
            listed = Entry.from_frame(json.loads(facts.last), conversation_id)
            if last is None or listed.seq > last.seq:
                last = listed
        if conversation_id in self.groups:
            return self._make_group(conversation_id, facts, last)
        peer = facts.peer or (last.sender_id if last and last.sender_id != self._user_id else "")
        direct = facts.kind == "direct"
        title = facts.title or (
            self.name(peer) if direct and peer else f"{facts.kind} {conversation_id[-8:]}"
        )
        flags = self.flags.of(conversation_id)
        return Chat(
            conversation_id, facts.kind, peer or None if direct else None, title, last,
            self._unread(conversation_id, facts), facts.read_up_to, muted_until=flags.muted_until, pinned=flags.pinned,
            archived=flags.archived, draft=flags.draft, mentioned=self._mentioned(conversation_id, facts),
            timer=facts.timer or None, blocked=peer in self.blocked, request=bool(facts.request),
        )  # fmt: skip

    def _make_group(self, conversation_id: str, facts: _Facts, last: Entry | None) -> Chat:
        group = self.groups.group(conversation_id) or Group(conversation_id, "")
        ended = self.groups.ended(conversation_id)
        flags = self.flags.of(conversation_id)
        return Chat(
            conversation_id, "group", None, group.name or facts.title or f"group {conversation_id[-8:]}", last,
            self._unread(conversation_id, facts), facts.read_up_to, role=group.my_role or None if not ended else None,
            member_count=group.member_count or None if not ended else None,
            read_only=ended or ("" if group.may_send else "announcements" if group.my_role else ""),
            muted_until=flags.muted_until, pinned=flags.pinned, archived=flags.archived, draft=flags.draft,
            mentioned=self._mentioned(conversation_id, facts),
            active_at=0 if last else self._history[conversation_id].log.last_at(), timer=facts.timer or None,
        )  # fmt: skip

    def _unread(self, conversation_id: str, facts: _Facts) -> int:
        return self._counted(facts, facts.server_unread, self._history[conversation_id].log.unread)

    def _mentioned(self, conversation_id: str, facts: _Facts) -> int:
        return self._counted(facts, facts.server_mentioned, self._history[conversation_id].log.mentions)

    def _counted(self, facts: _Facts, at_server: int, count: Callable[..., int]) -> int:
        """The server counts what is not here, as long as nothing has been read since."""
        read = facts.read_up_to
        if at_server and read <= facts.server_read and read < facts.server_head:
            here = count(self._user_id, read, facts.server_head)
            return max(at_server, here) + count(self._user_id, facts.server_head)
        return count(self._user_id, read)

    # -- what happens --------------------------------------------------------------------------------------
    def touch(self, conversation_id: str) -> None:
        """Something of this chat has changed; the application is told after the commit."""
        self._shown.pop(conversation_id, None)
        self.changed[conversation_id] = None

    def wrote(self, entry: Entry) -> None:
        """An entry is stored: who writes has read what is above, and says who the other one is; what happens to a group
        changes it."""
        if entry.conversation_id not in self.groups and _group_id(entry.conversation_id):
            self.groups.exists(entry.conversation_id)
        if entry.type != "message":
            self.groups.happened(entry)
            self._said(entry)
        elif entry.conversation_id not in self.groups:
            self._requested(entry)
        if entry.sender_id == self._user_id and entry.type == "message":
            self.read(entry.conversation_id, entry.seq, told=True)
        self.touch(entry.conversation_id)

    def timer(self, conversation_id: str, seq: int) -> int:
        """Seconds after which a message at this number vanishes; 0: never."""
        facts = self._facts.get(conversation_id)
        if facts is None:
            return 0
        return facts.timer if seq > facts.timer_seq else self._history[conversation_id].log.timer_before(seq)

    def _said(self, entry: Entry) -> None:
        """What an event says of the chat, and of what the server's list said was the last message."""
        if entry.type == "timer":
            facts = self._of(entry.conversation_id)
            if entry.seq > facts.timer_seq:
                facts.timer, facts.timer_seq = timer_of(entry), entry.seq
                self._save_later(entry.conversation_id)
        elif entry.type in ("edit", "delete") and entry.target_id:
            self.forget_last(entry.conversation_id, entry.target_id)

    def _requested(self, entry: Entry) -> None:
        """Whether who writes is a stranger, says each message."""
        facts = self._facts.get(entry.conversation_id)
        request = entry.sender_id != self._user_id and entry.fields.get("request") is True
        if request or (facts is not None and facts.request):
            facts = self._of(entry.conversation_id)
            if facts.request != request:
                facts.request = int(request)
                self._save_later(entry.conversation_id)

    def accepted(self, conversation_id: str) -> None:
        """A stranger's request was answered."""
        facts = self._facts.get(conversation_id)
        if facts is not None and facts.request:
            facts.request = 0
            self._save_later(conversation_id)
            self.touch(conversation_id)

    def block(self, user_id: str, blocked: bool) -> None:
        if blocked == (user_id in self.blocked):
            return
        statement = (
            "INSERT OR IGNORE INTO blocks VALUES (?)" if blocked else "DELETE FROM blocks WHERE user = ?"
        )
        (self.blocked.add if blocked else self.blocked.discard)(user_id)
        self._database.write(statement, (user_id,))
        self._touch_of(user_id)

    def read(self, conversation_id: str, up_to: int, *, told: bool = False, at: int = 0) -> bool:
        """This user has read up to there (``told``: and the server knows). False if that was known."""
        facts = self._of(conversation_id)
        news = up_to > facts.read_up_to
        if not news and not (told and up_to > facts.told):
            return False
        facts.read_up_to = max(facts.read_up_to, up_to)
        if told and up_to >= facts.told:
            facts.told, facts.told_at = up_to, at or facts.told_at
        self._save_later(conversation_id)
        if news:
            self.touch(conversation_id)
        return news

    def listed(self, item: Frame, mark: int) -> None:
        """An item of ``GET /conversations``; ``mark``: of the groups, from before it was asked for."""
        conversation_id = str(item["conversationId"])
        self.flags.told(item)
        if item.get("kind") == "group":
            count = item.get("memberCount")
            self.groups.listed(
                conversation_id, text(item.get("name") or ""), text(item.get("role") or ""),
                None if count is None else whole(count), mark,
            )  # fmt: skip
        facts = self._of(conversation_id)
        before = replace(facts)
        facts.kind, facts.peer = str(item.get("kind") or "direct"), str(item.get("peerId") or "")
        facts.title = str(item.get("title") or item.get("name") or "")
        facts.server_read, facts.server_head = whole(item.get("read")), whole(item.get("head"))
        facts.server_unread, facts.server_mentioned = whole(item.get("unread")), whole(item.get("mentioned"))
        last = item.get("lastEvent")
        facts.last = self._last(conversation_id, last) if last and last.get("type") != "event" else ""
        if facts.server_head >= facts.timer_seq and "timer" in item:
            facts.timer = whole(item["timer"])
        if "request" in item:
            facts.request = int(item["request"] is True)
        self.read(conversation_id, facts.server_read, told=True)
        if facts != before:
            self._save_later(conversation_id)
            self.touch(conversation_id)

    def _last(self, conversation_id: str, last: Frame) -> str:
        """What is kept of it: nothing that is deleted for this device, vanished, or to be seen once."""
        entry = Entry.from_frame(last, conversation_id)
        if (
            entry.seq in self._history[conversation_id].log.hidden
            or 0 < ends_at(entry) <= self._database.now_ms()
        ):
            return ""
        if entry.view_once:
            last = {name: value for name, value in last.items() if name != "encryptedContent"}
        return json.dumps(last, separators=(",", ":"))

    def forget_ended(self, now: int) -> int:
        """Last messages of the server's list vanish too; how many did."""
        ended = 0
        for conversation_id, facts in self._facts.items():
            if '"expiresIn"' in facts.last:
                ends = ends_at(Entry.from_frame(json.loads(facts.last), conversation_id))
                if 0 < ends <= now:
                    ended += 1
                    facts.last = ""
                    self._save_later(conversation_id)
                    self.touch(conversation_id)
        if ended:
            self._database.scrub_soon()
        return ended

    def forget_last(self, conversation_id: str, message_id: str) -> None:
        """A message is gone from this device: also as what the server's list said was the last one."""
        facts = self._facts.get(conversation_id)
        if facts is not None and facts.last and message_id in facts.last:
            facts.last = ""
            self._save_later(conversation_id)

    def direct(self, user_id: str) -> str | None:
        """The chat with this user, if there is one here."""
        return next((c for c, facts in self._facts.items() if facts.peer == user_id), None)

    def is_direct(self, conversation_id: str, user_id: str) -> None:
        facts = self._of(conversation_id)
        if facts.peer != user_id:
            facts.peer = user_id
            self._save_later(conversation_id)

    def _touch_of(self, user_id: str) -> None:
        for conversation_id, chat in list(self._facts.items()):
            if chat.peer == user_id:
                self.touch(conversation_id)

    def save(self) -> None:
        changed, self._dirty = self._dirty, set()
        rows = []
        for conversation_id in changed:
            f = self._facts[conversation_id]
            rows.append(
                (
                    self._history[conversation_id].log.number, f.kind, f.peer, f.title, f.read_up_to, f.told, f.told_at,
                    f.server_read, f.server_unread, f.server_head, f.last, f.server_mentioned, f.timer, f.timer_seq, f.request,
                )
            )  # fmt: skip
        marks = ", ".join("?" * 15)
        self._database.write_many(f"INSERT OR REPLACE INTO chats VALUES ({marks})", rows)

    def _of(self, conversation_id: str) -> _Facts:
        facts = self._facts.get(conversation_id)
        if facts is None:
            facts = self._facts[conversation_id] = _Facts()
            self._history[conversation_id]
        return facts

    def _save_later(self, conversation_id: str) -> None:
        self._dirty.add(conversation_id)
        self._database.dirty(self)


def _at(chat: Chat) -> int:
    return chat.last.server_timestamp or chat.last.timestamp if chat.last else chat.active_at


def _group_id(conversation_id: str) -> bool:
    """Whether an id is one of a group: a UUID of version 8 has the kind in two bits behind the version."""
    try:
        bits = int(conversation_id[14:18], 16) if len(conversation_id) == 36 else 0
    except ValueError:
        return False
    return bits >> 12 == 8 and bits >> 10 & 0b11 == 1
