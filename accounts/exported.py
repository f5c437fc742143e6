"""What the tables of accounts hold about a person, for that person. Of others only what the person has of them: the entry in
the own address book, the id in an own report. Secrets are not told: hashes of tokens, the PIN, one-time keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from accounts.evidence import note_of
from accounts.export_rows import lines, table
from accounts.models import (
    Account,
    Block,
    Consent,
    Contact,
    Device,
    DeviceKeys,
    Export,
    Identity,
    LeftNumber,
    LimitOverride,
    Pin,
    Prekey,
    Privacy,
    RefreshToken,
    Report,
    Sanction,
)
from accounts.services import persons, pictures
from accounts.stores import Part, Person

_FOLDER = "accounts"


def parts(person: Person) -> Iterator[Part]:
    user = person.user_id
    account = Account.objects.select_related("photo").get(pk=user)
    yield lines(
        f"{_FOLDER}/profile.jsonl",
        [
            {
                "userId": user,
                "phoneNumber": account.phone,
                "name": account.name,
                "about": account.about,
                "language": account.language,
                "region": account.region,
                "createdAt": account.created_at,
                "bannedUntil": account.banned_until,
                "limitClass": account.limit_class,
                "photo": account.photo.digest if account.photo else None,
                "pinSetAt": Pin.objects.filter(account=user).values_list("set_at", flat=True).first(),
            }
        ],
    )
    if account.photo is not None and (photo := pictures.content(account.photo, "full")) is not None:
        yield Part(f"{_FOLDER}/photo.jpg", [photo])
    yield table(
        f"{_FOLDER}/devices.jsonl", Device.objects.filter(user=user).order_by("pk"),
        deviceId="pk", name="name", primary="primary", linkedAt="linked_at", lastSeenAt="last_seen_at",
        unlinkedAt="unlinked_at", unlinkedFor="unlinked_for", linkedBy="linked_by_id", registrationId="registration_id",
        sessionFrom="session_from", revokedAt="revoked_at", bannedUntil="banned_until",
    )  # fmt: skip
    yield table(
        f"{_FOLDER}/sessions.jsonl", RefreshToken.objects.filter(device__user=user).order_by("pk"),
        deviceId="device_id", createdAt="created_at", expiresAt="expires_at", usedAt="used_at", revokedAt="revoked_at",
    )  # fmt: skip
    yield lines(f"{_FOLDER}/left_numbers.jsonl", _left_numbers(user))
    yield lines(f"{_FOLDER}/contacts.jsonl", _contacts(user))
    blocks = Block.objects.filter(owner=user).order_by("pk")
    yield table(f"{_FOLDER}/blocks.jsonl", blocks, userId="user_id", at="at")
    yield table(
        f"{_FOLDER}/privacy.jsonl", Privacy.objects.filter(account=user),
        lastSeen="last_seen", online="online", photo="photo", about="about", readReceipts="read_receipts",
    )  # fmt: skip
    keys = Identity.objects.filter(account=user)
    yield table(f"{_FOLDER}/identity_key.jsonl", keys, key="key", changedAt="changed_at")
    yield table(
        f"{_FOLDER}/device_keys.jsonl", DeviceKeys.objects.filter(device__user=user).order_by("pk"),
        deviceId="device_id", signedId="signed_id", signedKey="signed_key", signedAt="signed_at", lastId="last_id",
        updatedAt="updated_at",
    )  # fmt: skip
    yield table(
        f"{_FOLDER}/prekeys.jsonl", Prekey.objects.filter(device__user=user).order_by("pk"),
        deviceId="device_id", kind="kind", keyId="key_id", givenAt="given_at",
    )  # fmt: skip
    yield lines(f"{_FOLDER}/reports_made.jsonl", _reports(user))
    # Who of the staff it was is theirs; what was seen, and until when, is the person's.
    yield table(
        f"{_FOLDER}/sanctions.jsonl", Sanction.objects.filter(account=user).order_by("imposed_at"),
        kind="kind", reason="reason", evidence="evidence", imposedAt="imposed_at", until="until", liftedAt="lifted_at",
        appeal="appeal", appealAt="appeal_at", appealText="appeal_text",
    )  # fmt: skip
    yield table(
        f"{_FOLDER}/limits.jsonl", LimitOverride.objects.filter(scope="user", subject=user).order_by("pk"),
        name="name", value="value", until="until", createdAt="created_at",
    )  # fmt: skip
    yield table(
        f"{_FOLDER}/consents.jsonl", Consent.objects.filter(account=user).order_by("given_at"),
        document="document", version="version", givenAt="given_at", withdrawnAt="withdrawn_at", deviceId="device",
        withdrawnWith="withdrawn_with",
    )  # fmt: skip
    asked = Export.objects.filter(account=user).order_by("asked_at")
    yield table(f"{_FOLDER}/exports.jsonl", asked, askedAt="asked_at", readyAt="ready_at", size="size")


def _contacts(user: str) -> Iterator[dict[str, Any]]:
    for contact in Contact.objects.select_related("user").filter(owner=user).order_by("pk").iterator(1_000):
        yield {
            "userId": contact.user_id,
            "nickname": contact.nickname,
            "phoneNumber": contact.known_number,  # if the person knows it
            "updatedAt": contact.updated_at,
            "removed": contact.removed,
        }


def _left_numbers(user: str) -> Iterator[dict[str, Any]]:
    for left in LeftNumber.objects.filter(account=user).order_by("left_at"):
        yield {"phoneNumber": persons.unseal_number(bytes(left.sealed), user), "leftAt": left.left_at}


def _reports(user: str) -> Iterator[dict[str, Any]]:
    for report in Report.objects.filter(reporter=user).order_by("created_at").iterator(1_000):
        yield {
            "kind": report.kind,
            "category": report.category,
            "note": note_of(report),
            "reported": report.reported,
            "conversationId": report.conversation,
            "at": report.created_at,
        }
