"""Uploads and what becomes of them. Times are milliseconds since the epoch.

A :class:`Media` is what clients name: one upload, one owner, one state. Its bytes are :class:`Rendition` rows that point at keys
of the storage; the same content is stored once, whoever has it (``media/storage/names.py``). :class:`Upload` is there while bytes
come.
"""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.db import models

from accounts.models import Account, Case


class Kind(models.TextChoices):
    IMAGE = "image"
    VIDEO = "video"
    AUDIO = "audio"
    DOCUMENT = "document"


class State(models.TextChoices):
    UPLOADING = "uploading"
    STORED = "stored"  # all bytes are here; they wait for the pipeline
    PROCESSING = "processing"
    READY = "ready"
    REFUSED = "refused"  # for good, for the file's own reason
    GONE = "gone"  # deleted; the row answers ``gone`` until it is pruned


#: States in which there is something to send.
USABLE: Final = (State.STORED, State.PROCESSING, State.READY)


class Media(models.Model):
    """What one upload is and has become. A message names it by its id."""

    id = models.UUIDField(primary_key=True)
    owner = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="media")
    #: Where its owner said it would be sent first; null while a form that says it behind the file still comes.
    conversation_id = models.UUIDField(null=True)
    kind = models.CharField(max_length=8, choices=Kind.choices, blank=True, default="")
    #: End-to-end encrypted: opaque, never looked into.
    encrypted = models.BooleanField(default=False)
    #: What the client says it is; of what is not encrypted, what it turned out to be.
    media_type = models.CharField(max_length=200, blank=True, default="")
    size = models.BigIntegerField(default=0)
    #: Of the bytes that were uploaded, hexadecimal; "" until they were read back. Before: what the client said it would be.
    sha256 = models.CharField(max_length=64, blank=True, default="")
    state = models.CharField(max_length=10, choices=State.choices, default=State.UPLOADING)
    reason = models.CharField(max_length=32, blank=True, default="", help_text="why it was refused")
    percent = models.PositiveSmallIntegerField(default=0, help_text="of the work behind the upload")
    #: ``Upload-Metadata`` of an upload that has all its bytes, as it came: tus 1.0 tells it again.
    upload_metadata = models.TextField(blank=True, default="", db_default="")
    #: What the client named its request, hashed; the same name again is the same upload for a day.
    request = models.BinaryField(max_length=32, null=True, blank=True)
    #: Who works on it, and until when nobody else does. A worker says again and again that it is still there.
    worker = models.UUIDField(null=True, blank=True)
    leased_until = models.BigIntegerField(default=0)
    attempts = models.PositiveSmallIntegerField(default=0, help_text="how often work on it has begun")
    #: When somebody looks at it next: whether the task of what waits was lost, whether a message carries what is ready.
    look_at = models.BigIntegerField(default=0, db_default=0)
    created_at = models.BigIntegerField()
    stored_at = models.BigIntegerField(null=True, blank=True)
    ready_at = models.BigIntegerField(null=True, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["owner", "request"],
                condition=models.Q(request__isnull=False),
                name="media_request_once",
            ),
        ]
        indexes = [
            models.Index(fields=["state", "created_at"], name="media_by_state"),
            models.Index(fields=["state", "look_at"], name="media_to_look_at"),
            models.Index(fields=["sha256"], name="media_by_content"),
        ]
        verbose_name = "file"
        # Of staff.
        default_permissions = ("view",)
        permissions = [
            ("retry_media", "Can have the work on an upload tried again"),
            ("block_media", "Can block and unblock content by its hash"),
            ("look_media", "Can look at files that are not encrypted"),
        ]

    def __str__(self) -> str:
        return f"media {self.pk}"  # no name: this text reaches logs


class Upload(models.Model):
    """An upload that is under way. ``offset`` bytes are durable: ``parts`` of a multipart upload of the storage, then
    ``tail_size`` bytes in an object of their own, which is too small for a part.

    One request at a time has it (``holder``); the next one takes it away. Whoever has lost it may still be writing one part, so
    each holder's part numbers begin above those of the one before.
    """

    media = models.OneToOneField(Media, on_delete=models.CASCADE, primary_key=True, related_name="upload")
    length = models.BigIntegerField(null=True, blank=True, help_text="bytes in all; null: not told yet")
    offset = models.BigIntegerField(default=0)
    token = models.TextField(blank=True, default="", help_text="the storage's name of the multipart upload")
    #: ``[[number, etag, size, sha256], …]`` in their order.
    parts = models.JSONField(default=list)
    next_part = models.PositiveIntegerField(default=1)
    tail = models.PositiveIntegerField(
        default=0, help_text="number of the object with the last bytes; 0: none"
    )
    tail_size = models.PositiveIntegerField(default=0)
    holder = models.UUIDField(null=True, blank=True)
    #: Of one whose parts the client puts straight into the storage, bytes of each but the last one; 0: its bytes come to us.
    part_size = models.PositiveIntegerField(default=0, db_default=0)
    #: As it came (tus 1.0, ``Upload-Metadata``): a client may ask for it.
    metadata = models.TextField(blank=True, default="")
    expires_at = models.BigIntegerField()

    class Meta:
        indexes = [models.Index(fields=["expires_at"], name="media_upload_expiry")]

    def __str__(self) -> str:
        return f"upload {self.pk}"


class Reference(models.Model):
    """A message that carries a media: those who are owed it may fetch it. Written before the message is stored, so there may be
    one for a message that never came to be."""

    media = models.ForeignKey(Media, on_delete=models.CASCADE, related_name="references")
    conversation_id = models.UUIDField()
    sender_id = models.UUIDField()
    message_id = models.UUIDField()
    created_at = models.BigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["media", "conversation_id", "sender_id", "message_id"], name="media_reference_once"
            )
        ]
        indexes = [
            models.Index(fields=["created_at"], name="media_reference_age"),
            models.Index(fields=["conversation_id", "message_id"], name="media_reference_message"),
        ]

    def __str__(self) -> str:
        return f"reference to {self.media_id}"


class Hold(models.Model):
    """A file that moderators have yet to look at: it stays while the case is not decided, whatever becomes of its messages."""

    media = models.ForeignKey(Media, on_delete=models.CASCADE, related_name="holds")
    case = models.ForeignKey(Case, on_delete=models.CASCADE, related_name="+")
    created_at = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["media", "case"], name="media_hold_once")]

    def __str__(self) -> str:
        return f"hold of {self.media_id}"


class Rendition(models.Model):
    """One file of a :class:`Media`: what was uploaded (``original``) or something made of it (``full``, ``thumb``, ``720p``)."""

    media = models.ForeignKey(Media, on_delete=models.CASCADE, related_name="renditions")
    name = models.CharField(max_length=16)
    #: In the storage; others may point at the same key.
    key = models.CharField(max_length=200)
    media_type = models.CharField(max_length=200)
    sha256 = models.CharField(
        max_length=64, blank=True, default="", help_text="hexadecimal; of an original: not yet"
    )
    size = models.BigIntegerField()
    width = models.PositiveIntegerField(default=0)
    height = models.PositiveIntegerField(default=0)
    duration_ms = models.PositiveIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["media", "name"], name="media_rendition_once")]
        indexes = [
            models.Index(fields=["key"], name="media_rendition_key"),
            models.Index(fields=["sha256", "name"], name="media_rendition_content"),
        ]

    def __str__(self) -> str:
        return f"{self.name} of {self.media_id}"


class BlockedContent(models.Model):
    """Content that staff do not let pass, whoever uploads it. Taking the block away deletes the row; who did either is in the
    log of the admin."""

    #: Of the bytes as they are uploaded, hexadecimal; of what is encrypted, of the encrypted bytes.
    sha256 = models.CharField(max_length=64, primary_key=True)
    reason = models.CharField(max_length=300)
    staff = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.BigIntegerField(db_index=True)

    class Meta:
        verbose_name = "blocked content"
        verbose_name_plural = "blocked content"
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"content {self.pk}"
