"""/groups: making one, what it is called and allows, and its end."""

from __future__ import annotations

import uuid

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.rest import samples
from accounts.rest.fields import IdField, LineField, ParagraphField
from accounts.rest.idempotency import once
from accounts.rest.schema import operation
from groups import access
from groups.apis.fields import GROUP_EXAMPLE, TAG, GroupOutput, SettingsInput, group_json
from groups.services import groups
from whatsapp.wire.errors import Code


class GroupInput(serializers.Serializer):
    name = LineField(max_length=256)
    members = serializers.ListField(
        child=IdField(), min_length=1, help_text="user ids; with the caller at most 1,024"
    )
    description = ParagraphField(max_length=512, required=False, allow_blank=True)
    settings = SettingsInput(required=False)


class GroupChanges(serializers.Serializer):
    name = LineField(max_length=256, required=False)
    description = ParagraphField(max_length=512, required=False, allow_blank=True)
    settings = SettingsInput(required=False)


class MadeOutput(serializers.Serializer):
    groupId = serializers.UUIDField(help_text="its conversationId")


class GroupsView(APIView):
    @operation(
        "create_group",
        tag=TAG,
        summary="Make a group",
        status=201,
        request=GroupInput,
        sent={"example": {"name": "Sailing", "members": [samples.BOB]}},
        answer=MadeOutput,
        example={"groupId": samples.CONVERSATION},
        refuses=[Code.NOT_FOUND, Code.RATE_LIMITED, Code.LIMIT_EXCEEDED, Code.WRONG_REGION],
        idempotent=True,
    )
    def post(self, request: Request) -> Response:
        """The caller becomes its creator. Everybody is told by the first two events of the group's log: `member_added` with
        `userIds` and `creatorId`, and `info`. At most 10 an hour."""
        data = GroupInput(data=request.data)
        data.is_valid(raise_exception=True)
        given = data.validated_data

        def run() -> Response:
            group = groups.create_group(
                account=request.user,
                name=given["name"],
                members=given["members"],
                description=given.get("description", ""),
                allowed=given.get("settings"),
            )
            return Response({"groupId": str(group.pk)}, status=201)

        return once(request, caller=str(request.user.pk), body=given, run=run)


class GroupView(APIView):
    @operation("group", tag=TAG, summary="A group", answer=GroupOutput, example=GROUP_EXAMPLE)
    def get(self, request: Request, group_id: uuid.UUID) -> Response:
        """What a member may see of it."""
        return Response(group_json(access.view(group_id=group_id, account=request.user)))

    @operation(
        "update_group",
        tag=TAG,
        summary="Change a group",
        request=GroupChanges,
        sent={"example": {"name": "Sailing", "settings": {"whoSends": "admins"}}},
        answer=GroupOutput,
        example=GROUP_EXAMPLE,
        refuses=[Code.FORBIDDEN, Code.RATE_LIMITED, Code.WRONG_REGION],
    )
    def patch(self, request: Request, group_id: uuid.UUID) -> Response:
        """What is not given stays. Name and description are for whom `whoEdits` names, settings for admins. Members are told by
        an `info` event with what is different. `whoSends` is in force for every socket within 5 s."""
        data = GroupChanges(data=request.data)
        data.is_valid(raise_exception=True)
        seen = groups.update_group(account=request.user, group_id=group_id, changes=data.validated_data)
        return Response(group_json(seen))

    @operation("delete_group", tag=TAG, summary="End a group", status=204, refuses=[Code.FORBIDDEN])
    def delete(self, request: Request, group_id: uuid.UUID) -> Response:
        """Its creator ends it: everybody leaves, told by an `info` event with `dissolved`. What was said before can still be
        read by those it was said to."""
        groups.dissolve_group(account=request.user, group_id=group_id)
        return Response(status=204)
