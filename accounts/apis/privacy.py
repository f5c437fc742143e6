"""/me/privacy and /blocks: what an account shows to whom, and whom it wants nothing from."""

from __future__ import annotations

import uuid

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import selectors
from accounts.rest import paging, samples
from accounts.rest.schema import cursor, limit, operation
from accounts.services import blocks, privacy
from whatsapp.wire.errors import Code

_AUDIENCES = list(privacy.NAMES.values())


class PrivacyInput(serializers.Serializer):
    lastSeen = serializers.ChoiceField(_AUDIENCES, required=False)
    online = serializers.ChoiceField(_AUDIENCES, required=False)
    photo = serializers.ChoiceField(_AUDIENCES, required=False)
    about = serializers.ChoiceField(_AUDIENCES, required=False)
    readReceipts = serializers.ChoiceField(
        _AUDIENCES, required=False, help_text="in 1:1 conversations; in groups they are always told"
    )


class PrivacyOutput(serializers.Serializer):
    lastSeen = serializers.ChoiceField(_AUDIENCES)
    online = serializers.ChoiceField(_AUDIENCES)
    photo = serializers.ChoiceField(_AUDIENCES)
    about = serializers.ChoiceField(_AUDIENCES)
    readReceipts = serializers.ChoiceField(_AUDIENCES)


class BlockOutput(serializers.Serializer):
    userId = serializers.UUIDField()
    at = serializers.IntegerField()


class BlocksOutput(serializers.Serializer):
    items = BlockOutput(many=True)
    next = serializers.CharField(required=False)


_EXAMPLE = {
    "lastSeen": "contacts",
    "online": "everyone",
    "photo": "everyone",
    "about": "everyone",
    "readReceipts": "everyone",
}


class PrivacyView(APIView):
    @operation("privacy", tag="me", summary="What one shows to whom", answer=PrivacyOutput, example=_EXAMPLE)
    def get(self, request: Request) -> Response:
        """To whom each thing is shown: `everyone`, `contacts` (who is in one's address book) or `nobody`."""
        return Response(privacy.settings_of(account=request.user))

    @operation(
        "update_privacy",
        tag="me",
        summary="Change what one shows to whom",
        request=PrivacyInput,
        sent={"example": {"lastSeen": "contacts"}},
        answer=PrivacyOutput,
        example=_EXAMPLE,
    )
    def patch(self, request: Request) -> Response:
        """Change what is given. Who hides from somebody when they were last seen, or what they have read, does not see that
        somebody's either. What is delivered is always told, and in groups what was read, too. Who shows it again shows how far
        they are now."""
        data = PrivacyInput(data=request.data)
        data.is_valid(raise_exception=True)
        return Response(
            privacy.change(account=request.user, changes=data.validated_data, device_id=str(request.auth.pk))
        )


class BlocksView(APIView):
    @operation(
        "blocks",
        tag="people",
        summary="Whom one has blocked",
        parameters=[cursor(samples.BOB), limit(100, 500)],
        answer=BlocksOutput,
        example={"items": [{"userId": samples.BOB, "at": samples.AT}], "next": samples.BOB},
    )
    def get(self, request: Request) -> Response:
        """By user id."""
        limit = paging.page_limit(request)
        found = selectors.blocks(account=request.user, after=paging.id_cursor(request), limit=limit + 1)
        items = [{"userId": str(block.user_id), "at": block.at} for block in found]
        return Response(paging.page(items, limit, "userId"))


class BlockView(APIView):
    @operation("block", tag="people", summary="Block a user", status=204, refuses=[Code.LIMIT_EXCEEDED])
    def put(self, request: Request, user_id: uuid.UUID) -> Response:
        """Want nothing from a user. What the user writes from now on in the 1:1 conversation is withheld, also after an unblock;
        neither is told receipts of the other, or sees the other's presence, picture and about any more; nobody is told. Groups
        are exempt."""
        blocks.block(owner=request.user, user_id=user_id, device_id=str(request.auth.pk))
        return Response(status=204)

    @operation("unblock", tag="people", summary="Unblock a user", status=204)
    def delete(self, request: Request, user_id: uuid.UUID) -> Response:
        """Unblock a user, if blocked."""
        blocks.unblock(owner=request.user, user_id=user_id, device_id=str(request.auth.pk))
        return Response(status=204)
