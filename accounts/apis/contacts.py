"""/contacts and /users: whom the caller knows."""

from __future__ import annotations

import base64
import uuid
from typing import Any, Final

from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import profiles, selectors
from accounts.models import Contact, phone_hash
from accounts.phone import normalize
from accounts.rest import paging, pictures, samples
from accounts.rest.fields import LineField, PhoneField
from accounts.rest.idempotency import once
from accounts.rest.schema import cursor, limit, number, operation
from accounts.rest.views import OneForm
from accounts.services import address_book, contacts
from accounts.services.contacts import MAX_CONTACTS
from accounts.squares import MEDIA_TYPE
from accounts.visibility import Visible, visible
from whatsapp.wire.errors import Code

#: 32 bytes in base64.
HASH_PATTERN: Final = "^[A-Za-z0-9+/]{43}=$"


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
    photo = pictures.PictureOutput(allow_null=True)
    updatedAt = serializers.IntegerField()
    phoneNumber = serializers.CharField(
        required=False,
        help_text="The one by which the contact was added, while it is theirs, or that they told",
    )
    numberChangedAt = serializers.IntegerField(required=False)
    removed = serializers.BooleanField(
        required=False, help_text="True: it is no contact any more; only in what changed since"
    )


class ContactsOutput(serializers.Serializer):
    items = ContactOutput(many=True)
    next = serializers.CharField(required=False)


class SyncInput(serializers.Serializer):
    hashes = serializers.ListField(
        child=serializers.RegexField(HASH_PATTERN, max_length=44),
        max_length=MAX_CONTACTS,
        help_text="SHA-256 of each number in E.164 (`+4915112345678`)",
    )


class MatchOutput(ContactOutput):
    hash = serializers.CharField(help_text="The one that was sent")


class MatchesOutput(serializers.Serializer):
    items = MatchOutput(many=True)


class UserOutput(serializers.Serializer):
    userId = serializers.UUIDField()
    name = serializers.CharField()
    about = serializers.CharField()
    photo = pictures.PictureOutput(allow_null=True)


_HASH = base64.b64encode(phone_hash(samples.BOBS_NUMBER)).decode()
_PHOTO = {"url": f"/users/{samples.BOB}/photo", "version": samples.PHOTO}
_EXAMPLE = {
    "userId": samples.BOB,
    "nickname": "Bobby",
    "name": "Bob",
    "about": "",
    "photo": _PHOTO,
    "updatedAt": samples.AT,
    "phoneNumber": samples.BOBS_NUMBER,
}


def _contact(contact: Contact, seen: Visible) -> dict[str, Any]:
    photo = contact.user.photo if seen.photo else None
    about: dict[str, Any] = {
        "userId": str(contact.user_id),
        "nickname": contact.nickname,
        "name": contact.user.name,
        "about": contact.user.about if seen.about else "",
        "photo": pictures.photo_of(str(contact.user_id), photo and photo.digest),
        "updatedAt": contact.updated_at,
    }
    if contact.removed:
        about["removed"] = True
        return about
    if contact.known_number is not None:
        about["phoneNumber"] = contact.known_number
    if contact.number_changed_at is not None:
        about["numberChangedAt"] = contact.number_changed_at
    return about


def _one(contact: Contact) -> dict[str, Any]:
    return _contact(contact, visible([(str(contact.user_id), str(contact.owner_id))])[0])


def _all(contacts: list[Contact]) -> list[dict[str, Any]]:
    seen = visible([(str(contact.user_id), str(contact.owner_id)) for contact in contacts])
    return [_contact(contact, one) for contact, one in zip(contacts, seen, strict=True)]


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
        """The address book, by user id; with `since` (ms) only what changed after it, those who were removed too. Removals are
        told for 90 days: whoever was away for longer reads the whole list."""
        limit = paging.page_limit(request)
        found = selectors.contacts(
            account=request.user,
            since=paging.whole_number(request, "since", 0),
            after=paging.id_cursor(request),
            limit=limit + 1,
        )
        return Response(paging.page(_all(found), limit, "userId"))

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
            return Response(_one(contact))

        return once(request, caller=str(request.user.pk), body=data.validated_data, run=run)


class SyncView(APIView):
    @operation(
        "sync_contacts",
        tag="people",
        summary="Add everybody of an address book",
        request=SyncInput,
        sent={"example": {"hashes": [_HASH]}},
        answer=MatchesOutput,
        example={"items": [{"hash": _HASH, **_EXAMPLE, "nickname": ""}]},
        refuses=[Code.RATE_LIMITED, Code.LIMIT_EXCEEDED],
        idempotent=True,
    )
    def post(self, request: Request) -> Response:
        """Turn the numbers of an address book into contacts: all who are here, new or not, with the hash that found them. Once an
        hour; limited in what is asked and in who is found. Hashes that find nobody are not kept."""
        data = SyncInput(data=request.data)
        data.is_valid(raise_exception=True)
        hashes = [base64.b64decode(one) for one in data.validated_data["hashes"]]

        def run() -> Response:
            matches = address_book.sync(owner=request.user, hashes=hashes)
            items = _all([match.contact for match in matches])
            return Response(
                {
                    "items": [
                        {"hash": base64.b64encode(match.hash).decode(), **item}
                        for match, item in zip(matches, items, strict=True)
                    ]
                }
            )

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
        return Response(_one(contact))

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
        example={"userId": samples.BOB, "name": "Bob", "about": "", "photo": _PHOTO},
    )
    def get(self, request: Request, user_id: uuid.UUID) -> Response:
        """What the caller may see of a user: `about` is empty and `photo` null where they are hidden from them. Clients may keep
        it for an hour, or until `notice` `profile_changed`, which comes to who follows the user's presence."""
        profile = profiles.profile_of(user_id=user_id)
        (seen,) = visible([(str(user_id), str(request.user.pk))])
        return Response(
            {
                "userId": str(user_id),
                "name": profile.name,
                "about": profile.about if seen.about else "",
                "photo": pictures.photo_of(str(user_id), profile.photo if seen.photo else None),
            }
        )


class UserPhotoView(APIView):
    content_negotiation_class = OneForm  # <img> asks for image/*

    @operation(
        "user_photo",
        tag="people",
        summary="A user's photo",
        parameters=[pictures.SIZE],
        answer=OpenApiTypes.BINARY,
        media_type=MEDIA_TYPE,
    )
    def get(self, request: Request, user_id: uuid.UUID) -> HttpResponseBase:
        """A JPEG. With an `ETag`: kept by clients, asked about each time. `not_found`: there is none, or none that the caller
        may see."""
        return pictures.answer(request, lambda: selectors.photo(user_id=user_id, viewer=request.user))
