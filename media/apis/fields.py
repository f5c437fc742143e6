"""What clients tell of a file, and what is told of it on every address."""

from __future__ import annotations

from typing import Any, Final

from rest_framework import serializers

from accounts.rest import samples
from accounts.rest.fields import ChosenField, IdField
from media.models import Kind, Media, State
from media.services.uploads import Told
from media.storage import names
from whatsapp.infra.limits import LIMITS

TAG: Final = "media"
MEDIA_ID: Final = "0193b2a0-7c00-7a11-8b22-1d2c3b4a5f60"
SHA256_PATTERN: Final = r"^[0-9a-f]{64}$"


class ToldInput(serializers.Serializer):
    """Fields of a form, and entries of ``Upload-Metadata``: all of them are text."""

    fileType = ChosenField(Kind.values)
    conversationId = IdField(help_text="where it is to be sent; the caller is a member")
    encrypted = ChosenField(
        ["true", "false"], default="false", help_text="`true`: end-to-end encrypted, never looked into"
    )
    sha256 = serializers.RegexField(
        SHA256_PATTERN,
        required=False,
        help_text="of the bytes that are sent, in hexadecimal; other bytes are refused",
    )


class MediaOutput(serializers.Serializer):
    mediaId = serializers.UUIDField()
    mediaUrl = serializers.CharField(help_text="what a message carries; members who are sent it may fetch it")
    thumbnailUrl = serializers.CharField(allow_null=True, help_text="null: there is none, or not yet")
    fileType = serializers.ChoiceField(Kind.values)
    encrypted = serializers.BooleanField()
    mediaType = serializers.CharField()
    size = serializers.IntegerField(help_text="bytes, as they were uploaded")
    sha256 = serializers.CharField(allow_null=True, help_text="of these bytes")
    state = serializers.ChoiceField(State.values)
    reason = serializers.CharField(allow_null=True, help_text="why it was refused")
    percent = serializers.IntegerField(help_text="of the work behind the upload")
    expiresAt = serializers.IntegerField(help_text="when it is deleted unless somebody is sent it")


MEDIA_EXAMPLE: Final = {
    "mediaId": MEDIA_ID,
    "mediaUrl": f"/media/{MEDIA_ID}/content",
    "thumbnailUrl": None,
    "fileType": "image",
    "encrypted": False,
    "mediaType": "image/jpeg",
    "size": 482_113,
    "sha256": None,
    "state": "stored",
    "reason": None,
    "percent": 0,
    "expiresAt": samples.AT + 86_400_000,
}


def told(data: dict[str, str], media_type: str) -> Told:
    """What a client tells, checked. Raises DRF's ``ValidationError``."""
    given = ToldInput(data=data)
    given.is_valid(raise_exception=True)
    return told_of(given.validated_data, media_type)


def told_of(valid: dict[str, Any], media_type: str) -> Told:
    """The same of what was checked."""
    return Told(
        conversation_id=valid["conversationId"],
        kind=valid["fileType"],
        encrypted=valid["encrypted"] in (True, "true"),
        media_type=_media_type(media_type),
        sha256=valid.get("sha256", ""),
    )


def _media_type(text: str) -> str:
    """Without parameters; what is none is a file of unknown type."""
    try:
        return names.check_media_type(text.partition(";")[0].strip().lower())
    except ValueError:
        return "application/octet-stream"


def media_json(media: Media, thumbnail: bool = False) -> dict[str, Any]:
    url = f"/media/{media.pk}/content"
    return {
        "mediaId": str(media.pk),
        "mediaUrl": url,
        "thumbnailUrl": f"{url}?rendition=thumb" if thumbnail else None,
        "fileType": media.kind,
        "encrypted": media.encrypted,
        "mediaType": media.media_type,
        "size": media.size,
        "sha256": media.sha256 or None,
        "state": media.state,
        "reason": media.reason or None,
        "percent": media.percent,
        "expiresAt": media.created_at + LIMITS.media_unused_ms,
    }
