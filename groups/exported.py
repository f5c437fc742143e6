"""What the tables of groups hold about a person, for that person. Of a group only what the person may know of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from accounts.export_rows import lines, table
from accounts.stores import Part, Person
from groups.models import Invite, JoinRequest, Membership


def parts(person: Person) -> Iterator[Part]:
    user = person.user_id
    yield lines("groups/memberships.jsonl", _memberships(user))
    yield table(
        "groups/invites.jsonl", Invite.objects.filter(created_by=user).order_by("created_at"),
        groupId="group_id", createdAt="created_at", expiresAt="expires_at", maxUses="max_uses", uses="uses",
        revokedAt="revoked_at",
    )  # fmt: skip
    asked = JoinRequest.objects.filter(user=user).order_by("pk")
    yield table("groups/join_requests.jsonl", asked, groupId="group_id", requestedAt="requested_at")


def _memberships(user: str) -> Iterator[dict[str, Any]]:
    rows = Membership.objects.select_related("group").filter(user=user).order_by("pk")
    for one in rows.iterator(1_000):
        yield {
            "groupId": one.group_id,
            "name": one.group.name if one.left_at is None else one.last_name,
            "role": one.role,
            "joinedAt": one.joined_at,
            "leftAt": one.left_at,
            "removed": one.removed,
        }
