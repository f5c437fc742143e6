"""Fields of bodies, what is shown, and examples that several addresses share."""

from __future__ import annotations

from typing import Any, Final

from rest_framework import serializers

from accounts.rest import samples
from accounts.rest.fields import ChosenField
from accounts.rest.pictures import PictureOutput
from groups import events, selectors
from groups.access import Seen
from groups.models import Membership, Role, Who

TAG: Final = "groups"
CODE: Final = "mJ3v0qXb7TnRk2sYd9wLpA"


class SettingsInput(serializers.Serializer):
    whoSends = ChosenField(Who.values, required=False, help_text="messages")
    whoEdits = ChosenField(Who.values, required=False, help_text="name and description")
    whoAdds = ChosenField(Who.values, required=False, help_text="members")


class SettingsOutput(serializers.Serializer):
    whoSends = serializers.ChoiceField(Who.values)
    whoEdits = serializers.ChoiceField(Who.values)
    whoAdds = serializers.ChoiceField(Who.values)


class GroupOutput(serializers.Serializer):
    groupId = serializers.UUIDField(help_text="its conversationId")
    name = serializers.CharField()
    description = serializers.CharField(allow_blank=True)
    settings = SettingsOutput()
    memberCount = serializers.IntegerField()
    creatorId = serializers.UUIDField(allow_null=True)
    createdAt = serializers.IntegerField()
    role = serializers.ChoiceField(Role.values, help_text="the caller's own")
    icon = PictureOutput(allow_null=True)


class MemberOutput(serializers.Serializer):
    userId = serializers.UUIDField()
    name = serializers.CharField(allow_blank=True, help_text="of the user's profile")
    role = serializers.ChoiceField(Role.values)
    joinedAt = serializers.IntegerField()


GROUP_EXAMPLE: Final = {
    "groupId": samples.CONVERSATION,
    "name": "Sailing",
    "description": "Sundays at nine",
    "settings": {"whoSends": "all", "whoEdits": "admins", "whoAdds": "admins"},
    "memberCount": 2,
    "creatorId": samples.ANN,
    "createdAt": samples.AT,
    "role": "creator",
    "icon": {"url": f"/groups/{samples.CONVERSATION}/icon", "version": "9f86d081884c7d659a2feaa0c55ad015"},
}
MEMBER_EXAMPLE: Final = {"userId": samples.BOB, "name": "Bob", "role": "member", "joinedAt": samples.AT}


def group_json(seen: Seen) -> dict[str, Any]:
    group = seen.group
    creator = selectors.creator_id(group.pk)
    return {
        "groupId": str(group.pk),
        "name": group.name,
        "description": group.description,
        "settings": events.settings_of(group),
        "memberCount": group.member_count,
        "creatorId": str(creator) if creator else None,
        "createdAt": group.created_at,
        "role": seen.me.role,
        "icon": events.icon_of(group.icon),
    }


def member_json(member: Membership) -> dict[str, Any]:
    return {
        "userId": str(member.user_id),
        "name": member.user.name,
        "role": member.role,
        "joinedAt": member.joined_at,
    }
