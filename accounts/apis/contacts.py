"""/contacts and /users: whom the caller knows."""

from __future__ import annotations

import uuid
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import selectors
from accounts.models import Contact
from accounts.phone import normalize
from accounts.rest import paging, samples
from accounts.rest.fields import LineField, PhoneField
from accounts.rest.idempotency import once
from accounts.rest.schema import cursor, limit, number, operation
from accounts.services import contacts
from whatsapp.wire.errors import Code


class ContactInput(serializers.Serializer):
    phoneNumber = PhoneField()
    nickname = LineField(max_length=100, required=False, allow_blank=True)


class NicknameInput(serializers.Serializer):
    nickname = LineField(max_length=100, required=False, allow_blank=True)


class ContactOutput(serializers.Serializer):
    userId = serializers.UUIDField()
    nickname = serializers.CharField()
    name = serializers.CharField()
    about = serializers.CharField()
    updatedAt = serializers.IntegerField()


class ContactsOutput(serializers.Serializer):
    items = ContactOutput(many=True)
    next = serializers.CharField(required=False)


class UserOutput(serializers.Serializer):
    userId = serializers.UUIDField()
    name = serializers.CharField()
    about = serializers.CharField()


_EXAMPLE = {
    "userId": samples.BOB,
    "nickname": "Bobby",
    "name": "Bob",
    "about": "",
    "updatedAt": samples.AT,
}


def _contact(contact: Contact) -> dict[str, Any]:
    return {
        "userId": str(contact.user_id),
        "nickname": contact.nickname,
        "name": contact.user.name,
        "about": contact.user.about,
        "updatedAt": contact.updated_at,
    }


class ContactsView(APIView):
    @operation(
        "contacts",
        tag="people",
        summary="The address book",
        parameters=[
            number("since", "Only what changed after this, ms since the epoch.", example=samples.AT),
            cursor(samples.BOB),
            limit(100, 500),
        ],
        answer=ContactsOutput,
        example={"items": [_EXAMPLE], "next": samples.BOB},
    )
    def get(self, request: Request) -> Response:
        """The address book, by user id; with `since` (ms) only what changed after it."""
        limit = paging.page_limit(request)
        found = selectors.contacts(
            account=request.user,
            since=paging.whole_number(request, "since", 0),
            after=paging.id_cursor(request),
            limit=limit + 1,
        )
        return Response(paging.page([_contact(contact) for contact in found], limit, "userId"))

    @operation(
        "add_contact",
        tag="people",
        summary="Add a contact by number",
        request=ContactInput,
        sent={"example": {"phoneNumber": samples.BOBS_NUMBER, "nickname": "Bobby"}},
        answer=ContactOutput,
        example=_EXAMPLE,
        refuses=[Code.NOT_FOUND, Code.RATE_LIMITED, Code.LIMIT_EXCEEDED],
        idempotent=True,
    )
    def post(self, request: Request) -> Response:
        """Turn a phone number into a contact. Limited per hour and day, whether somebody is found or not."""
        data = ContactInput(data=request.data)
        data.is_valid(raise_exception=True)
        phone = normalize(data.validated_data["phoneNumber"])

        def run() -> Response:
            contact = contacts.add_by_number(
                owner=request.user, phone=phone, nickname=data.validated_data.get("nickname")
            )
            return Response(_contact(contact))

        return once(request, caller=str(request.user.pk), body=data.validated_data, run=run)


class ContactView(APIView):
    @operation(
        "put_contact",
        tag="people",
        summary="Add a contact by id, or change its nickname",
        request=NicknameInput,
        sent={"example": {"nickname": "Bobby"}},
        answer=ContactOutput,
        example=_EXAMPLE,
        refuses=[Code.LIMIT_EXCEEDED],
    )
    def put(self, request: Request, user_id: uuid.UUID) -> Response:
        """Add a known user, or change the nickname."""
        data = NicknameInput(data=request.data)
        data.is_valid(raise_exception=True)
        contact = contacts.put_contact(
            owner=request.user, user_id=user_id, nickname=data.validated_data.get("nickname")
        )
        return Response(_contact(contact))

    @operation("remove_contact", tag="people", summary="Remove a contact", status=204)
    def delete(self, request: Request, user_id: uuid.UUID) -> Response:
        """Remove a contact, if there."""
        contacts.remove_contact(owner=request.user, user_id=user_id)
        return Response(status=204)


class UserView(APIView):
    @operation(
        "user",
        tag="people",
        summary="What may be seen of a user",
        answer=UserOutput,
        example={"userId": samples.BOB, "name": "Bob", "about": ""},
    )
    def get(self, request: Request, user_id: uuid.UUID) -> Response:
        """What anybody with the id may see of a user."""
        account = selectors.account_by_id(user_id=user_id)
        return Response({"userId": str(account.pk), "name": account.name, "about": account.about})
