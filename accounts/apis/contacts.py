"""/contacts and /users: whom the caller knows."""

from __future__ import annotations

import uuid
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import selectors
from accounts.models import Contact
from accounts.phone import normalize
from accounts.rest import paging
from accounts.rest.idempotency import once
from accounts.rest.schema import IDEMPOTENCY_KEY, PROBLEMS
from accounts.services import contacts


class ContactInput(serializers.Serializer):
    phoneNumber = serializers.CharField(max_length=32)
    nickname = serializers.CharField(max_length=100, required=False, allow_blank=True)


class NicknameInput(serializers.Serializer):
    nickname = serializers.CharField(max_length=100, required=False, allow_blank=True)


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


def _contact(contact: Contact) -> dict[str, Any]:
    return {
        "userId": str(contact.user_id),
        "nickname": contact.nickname,
        "name": contact.user.name,
        "about": contact.user.about,
        "updatedAt": contact.updated_at,
    }


class ContactsView(APIView):
    @extend_schema(
        operation_id="contacts",
        parameters=[
            OpenApiParameter("since", int),
            OpenApiParameter("after", str),
            OpenApiParameter("limit", int),
        ],
        responses={200: ContactsOutput, **PROBLEMS},
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

    @extend_schema(
        operation_id="add_contact",
        parameters=[IDEMPOTENCY_KEY],
        request=ContactInput,
        responses={200: ContactOutput, **PROBLEMS},
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
    @extend_schema(
        operation_id="put_contact", request=NicknameInput, responses={200: ContactOutput, **PROBLEMS}
    )
    def put(self, request: Request, user_id: uuid.UUID) -> Response:
        """Add a known user, or change the nickname."""
        data = NicknameInput(data=request.data)
        data.is_valid(raise_exception=True)
        contact = contacts.put_contact(
            owner=request.user, user_id=user_id, nickname=data.validated_data.get("nickname")
        )
        return Response(_contact(contact))

    @extend_schema(operation_id="remove_contact", responses={204: None, **PROBLEMS})
    def delete(self, request: Request, user_id: uuid.UUID) -> Response:
        """Remove a contact, if there."""
        contacts.remove_contact(owner=request.user, user_id=user_id)
        return Response(status=204)


class UserView(APIView):
    @extend_schema(operation_id="user", responses={200: UserOutput, **PROBLEMS})
    def get(self, request: Request, user_id: uuid.UUID) -> Response:
        """What anybody with the id may see of a user."""
        account = selectors.account_by_id(user_id=user_id)
        return Response({"userId": str(account.pk), "name": account.name, "about": account.about})
