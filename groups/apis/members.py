"""/groups/{id}/members, and /groups/{id}/requests of those who want to be one."""

from __future__ import annotations

import uuid
from typing import get_args

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.rest import paging, samples
from accounts.rest.fields import ChosenField, IdField
from accounts.rest.idempotency import once
from accounts.rest.schema import cursor, limit, operation
from groups import selectors
from groups.apis.fields import MEMBER_EXAMPLE, TAG, MemberOutput, member_json
from groups.models import Role
from groups.services import invites, members
from whatsapp.infra.limits import LIMITS
from whatsapp.wire.errors import Code


class RoleInput(serializers.Serializer):
    role = ChosenField(Role.values, required=False)


class MembersOutput(serializers.Serializer):
    items = MemberOutput(many=True)
    next = serializers.CharField(required=False)


class AddInput(serializers.Serializer):
    members = serializers.ListField(
        child=IdField(), min_length=1, max_length=LIMITS.group_adds_at_once, help_text="user ids"
    )


class OutcomeOutput(serializers.Serializer):
    userId = serializers.UUIDField()
    state = serializers.ChoiceField(get_args(members.Outcome))


class AddedOutput(serializers.Serializer):
    items = OutcomeOutput(many=True)


class RequestOutput(serializers.Serializer):
    userId = serializers.UUIDField()
    name = serializers.CharField(allow_blank=True)
    requestedAt = serializers.IntegerField()


class RequestsOutput(serializers.Serializer):
    items = RequestOutput(many=True)
    next = serializers.CharField(required=False)


class MembersView(APIView):
    @operation(
        "members",
        tag=TAG,
        summary="The members of a group",
        parameters=[cursor(samples.BOB), limit(100, 500)],
        answer=MembersOutput,
        example={"items": [MEMBER_EXAMPLE]},
    )
    def get(self, request: Request, group_id: uuid.UUID) -> Response:
        """By user id."""
        size = paging.page_limit(request)
        found = selectors.members(
            account=request.user, group_id=group_id, after=paging.id_cursor(request), limit=size + 1
        )
        return Response(paging.page([member_json(member) for member in found], size, "userId"))

    @operation(
        "add_members",
        tag=TAG,
        summary="Add several members",
        request=AddInput,
        sent={"example": {"members": [samples.BOB, samples.ANN]}},
        answer=AddedOutput,
        example={
            "items": [
                {"userId": samples.BOB, "state": "added"},
                {"userId": samples.ANN, "state": "member"},
            ]
        },
        refuses=[Code.FORBIDDEN, Code.RATE_LIMITED, Code.WRONG_REGION],
        idempotent=True,
    )
    def post(self, request: Request, group_id: uuid.UUID) -> Response:
        """For whom `whoAdds` names; at most 100, in the order given. What became of each: `added`, a `member` already,
        `not_found`, `limit_exceeded` since the group is full, or `wrong_region` since the law is stricter at their home than
        where the group is kept; nobody keeps anybody else out. Members are told by a `member_added` event for each."""
        data = AddInput(data=request.data)
        data.is_valid(raise_exception=True)
        given = data.validated_data

        def run() -> Response:
            outcomes = members.add_members(account=request.user, group_id=group_id, user_ids=given["members"])
            return Response(
                {"items": [{"userId": str(user), "state": state} for user, state in outcomes.items()]}
            )

        return once(request, caller=str(request.user.pk), body=given, run=run)


class MemberView(APIView):
    @operation(
        "add_member",
        tag=TAG,
        summary="Add a member",
        answer=MemberOutput,
        example=MEMBER_EXAMPLE,
        refuses=[Code.FORBIDDEN, Code.LIMIT_EXCEEDED, Code.RATE_LIMITED, Code.WRONG_REGION],
    )
    def put(self, request: Request, group_id: uuid.UUID, user_id: uuid.UUID) -> Response:
        """For whom `whoAdds` names. They are owed the group's log from their own `member_added` on. Of a member nothing
        changes."""
        member = members.add_member(account=request.user, group_id=group_id, user_id=user_id)
        return Response(member_json(member))

    @operation(
        "change_role",
        tag=TAG,
        summary="Promote, demote, hand over",
        request=RoleInput,
        sent={"example": {"role": "admin"}},
        answer=MemberOutput,
        example={**MEMBER_EXAMPLE, "role": "admin"},
        refuses=[Code.FORBIDDEN, Code.RATE_LIMITED, Code.WRONG_REGION],
    )
    def patch(self, request: Request, group_id: uuid.UUID, user_id: uuid.UUID) -> Response:
        """Admins make members admins, and admins members. `creator` hands the group over, for its creator only, who is an admin
        then. Members are told by a `role` event for each."""
        data = RoleInput(data=request.data)
        data.is_valid(raise_exception=True)
        member = members.change_role(
            account=request.user, group_id=group_id, user_id=user_id, role=data.validated_data.get("role")
        )
        return Response(member_json(member))

    @operation(
        "remove_member",
        tag=TAG,
        summary="Remove a member, or leave",
        status=204,
        refuses=[Code.FORBIDDEN, Code.RATE_LIMITED],
    )
    def delete(self, request: Request, group_id: uuid.UUID, user_id: uuid.UUID) -> Response:
        """Admins remove anybody but the creator; everybody may leave. Who goes is owed the log up to their own `member_removed`.
        When the creator leaves, the oldest admin is it then, or else the oldest member."""
        members.remove_member(account=request.user, group_id=group_id, user_id=user_id)
        return Response(status=204)


class RequestsView(APIView):
    @operation(
        "join_requests",
        tag=TAG,
        summary="Who asks to join",
        parameters=[cursor(samples.BOB), limit(100, 500)],
        answer=RequestsOutput,
        example={"items": [{"userId": samples.BOB, "name": "Bob", "requestedAt": samples.AT}]},
        refuses=[Code.FORBIDDEN],
    )
    def get(self, request: Request, group_id: uuid.UUID) -> Response:
        """For admins; by user id."""
        size = paging.page_limit(request)
        found = selectors.join_requests(
            account=request.user, group_id=group_id, after=paging.id_cursor(request), limit=size + 1
        )
        items = [
            {"userId": str(one.user_id), "name": one.user.name, "requestedAt": one.requested_at}
            for one in found
        ]
        return Response(paging.page(items, size, "userId"))


class RequestView(APIView):
    @operation(
        "approve_request",
        tag=TAG,
        summary="Let somebody in",
        answer=MemberOutput,
        example=MEMBER_EXAMPLE,
        refuses=[Code.FORBIDDEN, Code.LIMIT_EXCEEDED, Code.RATE_LIMITED, Code.WRONG_REGION],
    )
    def put(self, request: Request, group_id: uuid.UUID, user_id: uuid.UUID) -> Response:
        """For admins. Of a member nothing changes."""
        member = invites.approve_request(account=request.user, group_id=group_id, user_id=user_id)
        return Response(member_json(member))

    @operation(
        "refuse_request",
        tag=TAG,
        summary="Refuse somebody, or stop asking",
        status=204,
        refuses=[Code.FORBIDDEN],
    )
    def delete(self, request: Request, group_id: uuid.UUID, user_id: uuid.UUID) -> Response:
        """For admins, and for who asked."""
        invites.refuse_request(account=request.user, group_id=group_id, user_id=user_id)
        return Response(status=204)
