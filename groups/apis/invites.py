"""/groups/{id}/invites for admins, /invites for who got the code of one."""

from __future__ import annotations

import uuid
from typing import Any, Final

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.rest import samples
from accounts.rest.fields import FlagField, WholeNumberField
from accounts.rest.idempotency import once
from accounts.rest.schema import operation
from groups import selectors
from groups.apis.fields import CODE, TAG
from groups.models import Invite
from groups.services import invites
from whatsapp.wire.errors import Code

_MAX_SECONDS: Final = 366 * 86_400
_MAX_USES: Final = 100_000


class InviteInput(serializers.Serializer):
    expiresIn = WholeNumberField(
        min_value=1, max_value=_MAX_SECONDS, required=False, help_text="seconds; without it never"
    )
    maxUses = WholeNumberField(min_value=1, max_value=_MAX_USES, required=False)
    approval = FlagField(required=False, help_text="who uses it asks, and an admin decides")


class InviteOutput(serializers.Serializer):
    code = serializers.CharField()
    createdBy = serializers.UUIDField()
    createdAt = serializers.IntegerField()
    expiresAt = serializers.IntegerField(allow_null=True)
    maxUses = serializers.IntegerField(allow_null=True)
    uses = serializers.IntegerField()
    approval = serializers.BooleanField()


class InvitesOutput(serializers.Serializer):
    items = InviteOutput(many=True)


class PreviewOutput(serializers.Serializer):
    groupId = serializers.UUIDField()
    name = serializers.CharField()
    description = serializers.CharField(allow_blank=True)
    memberCount = serializers.IntegerField()
    approval = serializers.BooleanField()
    expiresAt = serializers.IntegerField(allow_null=True)


class UsedOutput(serializers.Serializer):
    groupId = serializers.UUIDField()
    state = serializers.ChoiceField(["joined", "requested"])


_EXAMPLE: Final = {
    "code": CODE,
    "createdBy": samples.ANN,
    "createdAt": samples.AT,
    "expiresAt": samples.AT + 86_400_000,
    "maxUses": None,
    "uses": 0,
    "approval": False,
}


def _invite(invite: Invite) -> dict[str, Any]:
    return {
        "code": invite.code,
        "createdBy": str(invite.created_by_id),
        "createdAt": invite.created_at,
        "expiresAt": invite.expires_at,
        "maxUses": invite.max_uses,
        "uses": invite.uses,
        "approval": invite.approval,
    }


class InvitesView(APIView):
    @operation(
        "create_invite",
        tag=TAG,
        summary="A new link",
        status=201,
        request=InviteInput,
        sent={"example": {"expiresIn": 86_400}},
        answer=InviteOutput,
        example=_EXAMPLE,
        refuses=[Code.FORBIDDEN, Code.LIMIT_EXCEEDED, Code.RATE_LIMITED, Code.WRONG_REGION],
        idempotent=True,
    )
    def post(self, request: Request, group_id: uuid.UUID) -> Response:
        """For admins; at most 20 that are open."""
        data = InviteInput(data=request.data)
        data.is_valid(raise_exception=True)
        given = data.validated_data

        def run() -> Response:
            invite = invites.create_invite(
                account=request.user,
                group_id=group_id,
                expires_in_ms=given["expiresIn"] * 1000 if "expiresIn" in given else None,
                max_uses=given.get("maxUses"),
                approval=given.get("approval", False),
            )
            return Response(_invite(invite), status=201)

        return once(request, caller=str(request.user.pk), body=given, run=run)

    @operation(
        "invites",
        tag=TAG,
        summary="Open links",
        answer=InvitesOutput,
        example={"items": [_EXAMPLE]},
        refuses=[Code.FORBIDDEN],
    )
    def get(self, request: Request, group_id: uuid.UUID) -> Response:
        """For admins, newest first; they are few, so there are no pages."""
        found = selectors.open_invites(account=request.user, group_id=group_id)
        return Response({"items": [_invite(invite) for invite in found]})


class GroupInviteView(APIView):
    @operation("revoke_invite", tag=TAG, summary="End a link", status=204, refuses=[Code.FORBIDDEN])
    def delete(self, request: Request, group_id: uuid.UUID, code: str) -> Response:
        """For admins. Who asked by it still asks."""
        invites.revoke_invite(account=request.user, group_id=group_id, code=code)
        return Response(status=204)


class InviteView(APIView):
    @operation(
        "invite",
        tag=TAG,
        summary="What a link leads to",
        answer=PreviewOutput,
        example={
            "groupId": samples.CONVERSATION,
            "name": "Sailing",
            "description": "Sundays at nine",
            "memberCount": 2,
            "approval": False,
            "expiresAt": None,
        },
        refuses=[Code.GONE],
    )
    def get(self, request: Request, code: str) -> Response:
        """For who thinks about joining. `gone`: expired, revoked or used up."""
        invite = selectors.open_invite(code=code)
        return Response(
            {
                "groupId": str(invite.group_id),
                "name": invite.group.name,
                "description": invite.group.description,
                "memberCount": invite.group.member_count,
                "approval": invite.approval,
                "expiresAt": invite.expires_at,
            }
        )


class JoinView(APIView):
    @operation(
        "join",
        tag=TAG,
        summary="Join by a link",
        answer=UsedOutput,
        example={"groupId": samples.CONVERSATION, "state": "joined"},
        refuses=[Code.GONE, Code.FORBIDDEN, Code.LIMIT_EXCEEDED, Code.RATE_LIMITED, Code.WRONG_REGION],
        idempotent=True,
    )
    def post(self, request: Request, code: str) -> Response:
        """`requested`: an admin decides. `forbidden`: an admin had removed the caller."""

        def run() -> Response:
            used = invites.use_invite(account=request.user, code=code)
            return Response({"groupId": str(used.group_id), "state": used.state})

        return once(request, caller=str(request.user.pk), body={}, run=run)
