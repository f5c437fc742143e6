"""What this device knows of its groups: from the log, in order, and from answers of the server.

The log is what counts: its events change name, settings, roles and members one after the other. An answer over REST fills in
what the log did not say (it began before this user was there); one that an event has overtaken is not taken.

Up to :data:`EACH` members the server tells receipts of each, and so the members are kept here: a message is read when all
those have read it who were there at its place and still are. In larger groups it tells how many.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from .database import Database
from .entry import Entry
from .groups import CREATOR, MEMBER, Group, GroupSettings, MemberReceipt, icon_of, text
from .history import History, Receipt

#: Up to so many members the server tells the receipts of each.
EACH = 32
#: Stands for the others of a large group, of whom only the number is told.
EVERYBODY = "*"
NOTHING, LISTED, WHOLE = range(3)
REMOVED, LEFT, DISSOLVED = "removed", "left", "dissolved"


@dataclass(slots=True, eq=False)
class _Known:
    """``ended``: why this user is no member any more; "" for a member. ``told``: how much of it is known; :data:`LISTED` is
    name, role and number of members, :data:`WHOLE` all of it. ``members``: where each came in; None: not known, or too many.
    ``counts``: of a large group, for the message at a number: to how many others it was delivered, how many have read it.
    ``events``: when it changed last."""

    group: Group
    ended: str = ""
    told: int = NOTHING
    members: dict[str, int] | None = None
    counts: tuple[int, int, int] = (0, 0, 0)
    events: int = 0
    dirty_members: bool = False


class GroupState:
    """The groups of one user. ``touch`` is told of each that is another now."""

    def __init__(
        self, database: Database, history: History, user_id: str, touch: Callable[[str], None]
    ) -> None:
        self._database = database
        self._history = history
        self._user_id = user_id
        self._touch = touch
        self._known: dict[str, _Known] = {}
        self._dirty: set[str] = set()
        self._events = 0
        self._load()

    # -- reading -------------------------------------------------------------------------------------------
    def __contains__(self, conversation_id: object) -> bool:
        return conversation_id in self._known

    def group(self, conversation_id: str) -> Group | None:
        """As this device knows it."""
        known = self._known.get(conversation_id)
        return known.group if known is not None and (known.told or known.group.name) else None

    def ended(self, conversation_id: str) -> str:
        """``removed``, ``left`` or ``dissolved``; "" for a member, and for what is no group."""
        known = self._known.get(conversation_id)
        return known.ended if known is not None else ""

    def unnamed(self, conversation_id: str) -> bool:
        """Whether the server must be asked what this group is."""
        known = self._known.get(conversation_id)
        return known is not None and not known.ended and not known.told

    def described_in_full(self, conversation_id: str) -> bool:
        """Whether description and settings are known too."""
        known = self._known.get(conversation_id)
        return known is not None and known.told == WHOLE

    def incomplete(self) -> list[str]:
        """All that :meth:`unnamed` is true of."""
        return [conversation_id for conversation_id in self._known if self.unnamed(conversation_id)]

    def lacks_members(self, conversation_id: str) -> bool:
        """Whether ticks need the list of members."""
        known = self._known.get(conversation_id)
        return (
            known is not None
            and known.told > NOTHING
            and not known.ended
            and known.members is None
            and known.group.member_count <= EACH
        )

    def members(self, conversation_id: str) -> list[str] | None:
        """User ids, in a small group whose list is known."""
        known = self._known.get(conversation_id)
        return list(known.members) if known is not None and known.members is not None else None

    def receipt(self, conversation_id: str, seq: int) -> str:
        """``sent``, ``delivered`` or ``read`` by all others, of a message of this user."""
        receipts = self._history[conversation_id].receipts
        known = self._known[conversation_id]
        whole_group = receipts.get(EVERYBODY, Receipt())
        delivered, read = whole_group.delivered >= seq, whole_group.read >= seq
        if known.members is not None:
            others = [u for u, joined in known.members.items() if u != self._user_id and joined <= seq]
            each = [receipts.get(user, Receipt()) for user in others]
            delivered = delivered or (bool(each) and all(r.delivered >= seq for r in each))
            read = read or (bool(each) and all(r.read >= seq for r in each))
        return "read" if read else "delivered" if delivered else "sent"

    # -- the log -------------------------------------------------------------------------------------------
    def exists(self, conversation_id: str) -> None:
        """This conversation is a group."""
        if conversation_id not in self._known:
            self._known[conversation_id] = _Known(Group(conversation_id, ""))
            self._changed(conversation_id)

    def happened(self, entry: Entry) -> None:
        """An event of the log, in its order. What makes no sense is passed over."""
        data = entry.fields.get("data")
        apply = {"member_added": self._added, "member_removed": self._removed, "role": self._role, "info": self._info}.get(
            entry.type
        )  # fmt: skip
        if apply is None or not isinstance(data, dict):
            return
        self.exists(entry.conversation_id)
        known = self._known[entry.conversation_id]
        self._events += 1
        known.events = self._events
        apply(known, entry, data)
        self._recount(known)
        self._changed(entry.conversation_id)

    def _added(self, known: _Known, entry: Entry, data: dict) -> None:
        users = _users(entry, data)
        group = known.group
        if data.get("creatorId"):  # the group's first event: everybody is named
            role = CREATOR if data["creatorId"] == self._user_id else MEMBER
            known.group = replace(
                group, my_role=role, creator_id=text(data["creatorId"]), member_count=len(users),
                created_at=entry.server_timestamp,
            )  # fmt: skip
            known.members, known.dirty_members = dict.fromkeys(users, entry.seq), True
            return
        if self._user_id in users:
            # Of the time before nothing is known, and after a gap nothing of it is true any more.
            known.ended, known.told, known.members = "", NOTHING, None
            known.group = replace(group, my_role=MEMBER)
            self._history[entry.conversation_id].ended = False
            return
        if known.members is None:
            known.group = replace(group, member_count=group.member_count + len(users))
        else:
            known.members |= dict.fromkeys(users, entry.seq)
            known.dirty_members = True

    def _removed(self, known: _Known, entry: Entry, data: dict) -> None:
        for user in _users(entry, data):
            self._history[entry.conversation_id].forget_receipt(user)
            if user == self._user_id:
                self._end(known, LEFT if entry.sender_id == user else REMOVED)
            elif known.members is None:
                count = max(0, known.group.member_count - 1)
                known.group = replace(known.group, member_count=count)
            elif known.members.pop(user, None) is not None:
                known.dirty_members = True

    def _role(self, known: _Known, entry: Entry, data: dict) -> None:
        role = text(data.get("role") or MEMBER)
        for user in _users(entry, data):
            if user == self._user_id:
                known.group = replace(known.group, my_role=role)
            if role == CREATOR:
                known.group = replace(known.group, creator_id=user)

    def _info(self, known: _Known, entry: Entry, data: dict) -> None:
        if data.get("dissolved"):
            self._end(known, DISSOLVED)
            return
        group = known.group
        settings = data.get("settings")
        icon = icon_of(data["icon"]) if "icon" in data else (group.icon_url, group.icon_version)
        known.group = replace(
            group,
            name=text(data["name"]) if "name" in data else group.name,
            description=text(data["description"]) if "description" in data else group.description,
            settings=GroupSettings.of(settings) if isinstance(settings, dict) else group.settings,
            icon_url=icon[0],
            icon_version=icon[1],
        )
        if entry.seq == 2 and {"name", "description", "settings"} <= data.keys():
            known.told = WHOLE  # the second event of a group says all of it

    def _end(self, known: _Known, why: str) -> None:
        known.ended, known.members = why, None
        known.group = replace(known.group, my_role="")
        self._history[known.group.conversation_id].ended = True

    # -- answers of the server -------------------------------------------------------------------------------
    @property
    def mark(self) -> int:
        """Take it before a question; what has happened since then is newer than the answer."""
        return self._events

    def overtaken(self, conversation_id: str, mark: int) -> bool:
        known = self._known.get(conversation_id)
        return known is not None and known.events > mark

    def described(self, group: Group, mark: int) -> bool:
        """The answer of ``/groups/{id}``. False if an event has overtaken it: ask again."""
        if self.overtaken(group.conversation_id, mark):
            return False
        self.exists(group.conversation_id)
        known = self._known[group.conversation_id]
        before = (known.group, known.told, known.ended)
        if known.members is not None and len(known.members) != group.member_count:
            known.members = None  # something was missed; ticks ask again
        known.group, known.told = group, WHOLE
        if known.ended and group.my_role:  # back again; the event is still to come
            known.ended = ""
            self._history[group.conversation_id].ended = False
        self._recount(known)
        if before != (known.group, known.told, known.ended):
            self._changed(group.conversation_id)
        return True

    def listed(self, conversation_id: str, name: str, role: str, count: int | None, mark: int) -> None:
        """What ``GET /conversations`` says of a group. ``role`` "": no member any more."""
        if self.overtaken(conversation_id, mark):
            return
        self.exists(conversation_id)
        known = self._known[conversation_id]
        if not role and not known.ended:
            self._end(known, LEFT)
        elif role and known.ended:
            known.ended = ""
            self._history[conversation_id].ended = False
        group = replace(
            known.group, name=name or known.group.name, my_role=role,
            member_count=known.group.member_count if count is None else count,
        )  # fmt: skip
        if group != known.group or not role or not known.told:
            known.group, known.told = group, max(known.told, LISTED)
            self._recount(known)
            self._changed(conversation_id)

    def roster(self, conversation_id: str, users: Iterable[str], mark: int) -> bool:
        """All members, as the server lists them. False if an event has overtaken the list."""
        known = self._known.get(conversation_id)
        if known is None or known.events > mark or known.ended:
            return False
        before = known.members or {}
        known.members = {user: before.get(user, 0) for user in users}
        known.dirty_members = True
        self._recount(known)
        self._changed(conversation_id)
        return True

    def counted(self, conversation_id: str, up_to: int, delivered: int, read: int) -> None:
        """`counts` of a large group: how many others have the message at ``up_to``."""
        self.exists(conversation_id)
        known = self._known[conversation_id]
        known.counts = (up_to, delivered, read)
        self._recount(known)

    def details(self, conversation_id: str, seq: int, found: list[MemberReceipt]) -> list[MemberReceipt]:
        """What the server lists for the message at ``seq``, with what this device was told already: the server writes it down
        a second later."""
        receipts = self._history[conversation_id].receipts
        found = [raised(receipt, receipts.get(receipt.user_id, Receipt()), seq) for receipt in found]
        statuses = {receipt.status for receipt in found}
        if conversation_id in self._known and statuses and "sent" not in statuses:
            status = "delivered" if "delivered" in statuses else "read"
            if self._history[conversation_id].receipt(EVERYBODY, status, seq):
                self._touch(conversation_id)
        return found

    # -- inside --------------------------------------------------------------------------------------------
    def _recount(self, known: _Known) -> None:
        if known.members is not None:
            if len(known.members) != known.group.member_count:
                known.group = replace(known.group, member_count=len(known.members))
                known.dirty_members = True
            if len(known.members) > EACH:
                known.members = None
        up_to, delivered, read = known.counts
        others = known.group.member_count - 1
        if up_to and others > 0 and (known.told or known.group.member_count > EACH):
            conversation = self._history[known.group.conversation_id]
            for status, count in (("delivered", delivered), ("read", read)):
                if count >= others and conversation.receipt(EVERYBODY, status, up_to):
                    self._touch(known.group.conversation_id)

    def _changed(self, conversation_id: str) -> None:
        self._dirty.add(conversation_id)
        self._database.dirty(self)
        self._touch(conversation_id)

    def _load(self) -> None:
        rows = self._database.read(
            "SELECT c.id, g.* FROM groups g JOIN conversations c ON g.conversation = c.number"
        )
        for conversation_id, _number, name, about, settings, role, count, *facts in rows.fetchall():
            creator, created, icon, ended, told = facts
            icon_url, icon_version = json.loads(icon) if icon.startswith("[") else (None, "")
            group = Group(
                conversation_id, name, about, role, GroupSettings(*json.loads(settings)), count, creator or None,
                created, icon_url, icon_version,
            )  # fmt: skip
            self._known[conversation_id] = _Known(group, ended, told)
            self._history[conversation_id].ended = bool(ended)
        members = self._database.read(
            "SELECT c.id, m.user, m.joined FROM members m JOIN conversations c ON m.conversation = c.number"
        )
        for conversation_id, user, joined in members.fetchall():
            known = self._known.get(conversation_id)
            if known is not None and not known.ended:
                known.members = known.members or {}
                known.members[user] = joined

    def save(self) -> None:
        """Once a turn, what has changed."""
        changed, self._dirty = self._dirty, set()
        for conversation_id in changed:
            known, number = self._known[conversation_id], self._history[conversation_id].log.number
            group, settings = known.group, known.group.settings
            icon = json.dumps([group.icon_url, group.icon_version]) if group.icon_url else ""
            self._database.write(
                "INSERT OR REPLACE INTO groups VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    number, group.name, group.description,
                    json.dumps([settings.who_sends, settings.who_edits, settings.who_adds]), group.my_role,
                    group.member_count, group.creator_id or "", group.created_at, icon, known.ended,
                    known.told,
                ),
            )  # fmt: skip
            if known.dirty_members or known.members is None:
                known.dirty_members = False
                self._database.write("DELETE FROM members WHERE conversation = ?", (number,))
                rows = [(number, user, joined) for user, joined in (known.members or {}).items()]
                self._database.write_many("INSERT INTO members VALUES (?, ?, ?)", rows)


def raised(listed: MemberReceipt, known: Receipt, seq: int) -> MemberReceipt:
    status = "read" if known.read >= seq else "delivered" if known.delivered >= seq else "sent"
    order = ("sent", "delivered", "read")
    if listed.status in order and order.index(status) > order.index(listed.status):
        return replace(listed, status=status)
    return listed


def _users(entry: Entry, data: dict) -> list[str]:
    """Whom an event is about: one, or several at once."""
    one, several = entry.fields.get("userId"), data.get("userIds")
    users = [text(one)] if one else []
    return users + [text(user) for user in several if user != one] if isinstance(several, list) else users
