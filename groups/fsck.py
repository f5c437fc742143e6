"""Groups as people see them against the engine's roster: a section of fsck (``delivery/fsck``).

What the groups' own rows say counts, for that is what admins were allowed to do. The roster is made to follow by events of the
group's log, as with any change, so that clients learn of it and each list of members that was read before is known to be old.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Sequence
from typing import Any

from django.db import DatabaseError, transaction

from accounts.fsck import Files, Pictures
from delivery.changes import change_group
from delivery.fsck.engine import Engine
from delivery.fsck.section import BUSY, Finding, Keys, facts, some
from delivery.store.interface import Unavailable
from delivery.store.sync import SyncStore
from delivery.store.values import Change
from groups import events
from groups.models import Group, Icon, Membership, Role, Who
from groups.services.members import heir_of


class Groups:
    name = "groups"

    def __init__(self, store: SyncStore, engine: Engine) -> None:
        self._store, self._engine = store, engine

    def keys(self, after: str, limit: int) -> Keys:
        above = uuid.UUID(after) if after else uuid.UUID(int=0)
        ids = Group.objects.filter(pk__gt=above).order_by("pk").values_list("pk", flat=True)[:limit]
        return some([str(id_) for id_ in ids], limit)

    def look(self, keys: Sequence[str]) -> Iterable[str]:
        return list(dict.fromkeys(finding.key for finding in self._examine(keys)))

    def _examine(self, keys: Sequence[str]) -> list[Finding]:
        rosters = self._engine.rosters(keys)
        roles: dict[str, dict[str, str]] = {key: {} for key in keys}
        rows = Membership.objects.filter(group__in=keys, left_at=None).values_list(
            "group_id", "user_id", "role"
        )
        for group_id, user, role in rows:
            roles[str(group_id)][str(user)] = role
        found: list[Finding] = []
        for group in Group.objects.filter(pk__in=keys):
            key = str(group.pk)
            own, roster = roles[key], rosters.get(key)
            if group.member_count != len(own):
                found.append(
                    Finding("group.count", key, facts(**{"is": group.member_count, "should": len(own)}))
                )
            if own and group.dissolved_at is None and Role.CREATOR not in own.values():
                found.append(Finding("group.creator", key))
            if roster is None:
                found.append(Finding("group.head", key))
                continue
            found += [
                Finding("group.unknown", key, facts(user=u)) for u in sorted(own.keys() - roster.members)
            ]
            found += [
                Finding("group.stranger", key, facts(user=u)) for u in sorted(roster.members.keys() - own)
            ]
            for user in sorted(own.keys() & roster.members.keys()):
                if (own[user] in (Role.CREATOR, Role.ADMIN)) != roster.members[user]:
                    found.append(Finding("group.speaker", key, facts(user=user)))
            if own and roster.restricted != (group.who_sends == Who.ADMINS):
                found.append(Finding("group.restricted", key))
        return found

    def settle(self, keys: Sequence[str], repair: bool) -> Iterable[Finding]:
        for key in keys:
            try:
                with transaction.atomic():
                    # As in groups.access.lock, but ended ones too: everything that changes a group holds it.
                    group = Group.objects.select_for_update(no_key=True).get(pk=key)
                    self._store.settle(key)
                    found = self._examine([key])
                    if repair:
                        self._mend(group, found)
                if repair and found:
                    # Elsewhere it is mended with the commit.
                    left = {(f.kind, f.facts) for f in self._examine([key])}
                    found = [f._replace(mended=(f.kind, f.facts) not in left) for f in found]
                yield from found
            except (Unavailable, DatabaseError):
                yield Finding(BUSY, key)

    def _mend(self, group: Group, found: Sequence[Finding]) -> None:
        key = str(group.pk)
        by_kind: dict[str, list[str]] = {}
        for finding in found:
            by_kind.setdefault(finding.kind, []).append(str(dict(finding.facts).get("user", "")))
        members = Membership.objects.filter(group=group, left_at=None)
        changes: list[Change] = []
        if "group.count" in by_kind:
            group.member_count = members.count()
            group.save(update_fields=["member_count"])
        if "group.creator" in by_kind and (next_one := heir_of(group)) is not None:
            next_one.role = Role.CREATOR
            next_one.save(update_fields=["role"])
            changes.append(events.role(str(next_one.user_id), Role.CREATOR))
        if "group.head" in by_kind:
            self._store.create_group(key, group.created_at)
            by_kind["group.unknown"] = [str(user) for user in members.values_list("user_id", flat=True)]
            by_kind["group.restricted"] = [""]
        if unknown := by_kind.get("group.unknown"):
            changes.append(events.added(unknown))
        changes += [events.removed(user) for user in by_kind.get("group.stranger", ())]
        roles = members.filter(user__in=by_kind.get("group.speaker", ())).values_list("user_id", "role")
        # Who is new to the roster is no speaker there yet.
        admins = members.filter(user__in=unknown or (), role__in=(Role.CREATOR, Role.ADMIN))
        said = {**dict(roles), **dict(admins.values_list("user_id", "role"))}
        changes += [events.role(str(user), role) for user, role in said.items()]
        if "group.restricted" in by_kind:
            changes.append(
                events.info({"settings": events.settings_of(group)}, group.who_sends == Who.ADMINS)
            )
        if changes:
            creator = members.order_by("joined_at", "pk").filter(role=Role.CREATOR).first() or members.first()
            actor = str(creator.user_id) if creator is not None else by_kind.get("group.stranger", [key])[0]
            change_group(conversation=key, sender=actor, changes=changes)


def against_engine(store: SyncStore, engine: Engine) -> list[Any]:
    return [Groups(store, engine)]


def sections() -> list[Any]:
    return [Pictures("icons", Icon, Group, "icon"), Files("icon-files", Icon, "groups")]
