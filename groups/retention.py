"""How long groups are kept: rows of the table in ``whatsapp/infra/retention.py``."""

from __future__ import annotations

from typing import Final

from groups.models import Icon
from whatsapp.infra import retention
from whatsapp.infra.retention import HOUR_MS, Policy

POLICIES: Final = (
    Policy(
        "groups",
        "Name, description, settings and invitations of a group; who is and was a member, and since when",
        ("groups.Group", "groups.Membership", "groups.Invite"),
        "a group is made of them",
        "memberships and what somebody made: while the account lives; a group: while it has members",
        "erasure",
    ),
    Policy(
        "join_requests",
        "Who asked to join a group",
        ("groups.JoinRequest",),
        "an admin decides",
        "until it is decided, or while the account lives",
        "erasure",
    ),
    Policy(
        "unused_icons",
        "Pictures that no group shows any more",
        ("groups.Icon", "files.groups"),
        "what a crash or a storage that was away has left is found",
        "an hour after it was made",
        "groups-drop-icons",
        lambda now: Icon.objects.filter(shown_by=None, created_at__lt=now - HOUR_MS),
    ),
)


def register() -> None:
    retention.register(POLICIES)
