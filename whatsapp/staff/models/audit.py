"""The audit log that cannot be edited: records in a chain, anchors of its head, and what checks of it found."""

from __future__ import annotations

from django.db import models


class AuditRecord(models.Model):
    """Something that a member of staff did. Rows are written by :mod:`whatsapp.staff.audit` alone.

    ``mac`` is made by the process that writes, under a key that is not in the database; it covers every column but ``id`` and
    what links the row. ``seq``, ``previous`` and ``hash`` are set by the database when the transaction commits (migration 0004),
    one transaction after the other: ``hash`` = SHA-256(``previous`` ‖ ``seq`` as 8 bytes, big-endian ‖ ``mac``). Triggers refuse
    every other change. ``object_id`` and ``message`` are covered through ``details`` = SHA-256(``salt`` ‖ both), so that they can
    be forgotten when a person is erased without a break in the chain.
    """

    seq = models.BigIntegerField(null=True, unique=True)
    at = models.BigIntegerField()
    by = models.CharField(max_length=150, help_text="who of the staff, or 'automatic'")
    by_id = models.IntegerField(null=True)
    action = models.CharField(max_length=64)
    object_type = models.CharField(max_length=100)
    object_id = models.CharField(max_length=200)
    message = models.CharField(max_length=2_000)
    salt = models.BinaryField(max_length=16, help_text="empty: the object and the message were forgotten")
    details = models.BinaryField(max_length=32)
    mac = models.BinaryField(max_length=32)
    previous = models.BinaryField(max_length=32, null=True)
    hash = models.BinaryField(max_length=32, null=True)

    class Meta:
        default_permissions = ("view",)
        verbose_name = "audit record"
        indexes = [
            models.Index(fields=["object_id", "-id"], name="staff_audit_object"),
            models.Index(fields=["action", "-id"], name="staff_audit_action"),
        ]

    def __str__(self) -> str:
        return f"record {self.seq}"


class AuditAnchor(models.Model):
    """The head of the chain at a time, with a MAC. The same goes to the log and to a file, out of reach of who can change tables:
    a chain that ends before an anchor was cut."""

    class Kind(models.TextChoices):
        HEAD = "head"
        #: Up to here the chain may be deleted, and begins behind it.
        CHECKPOINT = "checkpoint"

    kind = models.CharField(max_length=16, choices=Kind.choices, default=Kind.HEAD)
    seq = models.BigIntegerField()
    hash = models.BinaryField(max_length=32)
    at = models.BigIntegerField()
    mac = models.BinaryField(max_length=32)

    class Meta:
        default_permissions = ()
        indexes = [models.Index(fields=["kind", "-seq"], name="staff_audit_anchor_newest")]

    def __str__(self) -> str:
        return f"{self.kind} at {self.seq}"


class AuditCheck(models.Model):
    """One check of the chain and what it found. Bounded: the newest are kept."""

    at = models.BigIntegerField()
    duration_ms = models.BigIntegerField()
    first = models.BigIntegerField(help_text="the first record that was looked at")
    last = models.BigIntegerField(help_text="the last one")
    whole = models.BooleanField(help_text="from the first record on")
    finding = models.CharField(max_length=500, blank=True, default="", help_text="empty: the chain is whole")

    class Meta:
        default_permissions = ("view",)

    def __str__(self) -> str:
        return f"check {self.pk}"
