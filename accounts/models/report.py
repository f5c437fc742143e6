from __future__ import annotations

from django.db import models

from accounts.models.account import new_id


class Report(models.Model):
    """What one person reported. Ids are not foreign keys: a report stays, without a name, when an account is erased."""

    class Kind(models.TextChoices):
        USER = "user"
        MESSAGE = "message"
        GROUP = "group"
        MEDIA = "media"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=8, choices=Kind.choices)
    category = models.CharField(max_length=32)
    #: Sealed (``accounts/evidence.py``): people quote what others wrote.
    note = models.CharField(max_length=12_000, blank=True, default="")
    reporter = models.UUIDField(null=True, help_text="empty: the account was erased")
    reported = models.UUIDField(null=True, help_text="the account; empty for a group")
    conversation = models.UUIDField(null=True)
    media = models.UUIDField(null=True)
    created_at = models.BigIntegerField()
    case = models.ForeignKey("Case", on_delete=models.SET_NULL, null=True, related_name="reports")
    #: Of all its messages: one that was forged makes the report one. Empty: it came with none.
    verdict = models.CharField(max_length=16, blank=True, default="", db_default="")
    #: What its reporter's word counted then, in hundredths of that of somebody new (``accounts/services/standing.py``).
    weight = models.PositiveSmallIntegerField(default=0, db_default=0)
    #: False: it adds nothing to an earlier one of the same reporter, or is forged.
    counts = models.BooleanField(default=False, db_default=False)

    class Meta:
        indexes = [
            models.Index(fields=["reported", "-created_at"], name="accounts_report_reported"),
            models.Index(fields=["reporter", "-created_at"], name="accounts_report_reporter"),
            models.Index(fields=["-created_at"], name="accounts_report_newest"),
            models.Index(fields=["case", "-created_at", "-id"], name="accounts_report_case"),
        ]

    def __str__(self) -> str:
        return f"report {self.pk}"


class ReportedMessage(models.Model):
    """The reporter's own copy of one message, with what the franking says of it (``delivery/franking.py``)."""

    class Verdict(models.TextChoices):
        VERIFIED = "verified"  # the accused's client committed to exactly this
        FORGED = "forged"  # it did not: this was not written so
        UNVERIFIABLE = "unverifiable"  # the message came without a commitment, or not encrypted and is gone

    report = models.ForeignKey(Report, on_delete=models.CASCADE, related_name="messages")
    position = models.PositiveSmallIntegerField()
    message_id = models.UUIDField()
    sender = models.UUIDField()
    sent_at = models.BigIntegerField(help_text="the server's time, ms")
    kind = models.CharField(max_length=32, default="text")
    #: Sealed (``accounts/evidence.py``); empty once its time was over.
    content = models.BinaryField(max_length=66_000)
    media = models.UUIDField(null=True)
    verdict = models.CharField(max_length=16, choices=Verdict.choices)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["report", "position"], name="accounts_reported_message_once")
        ]
        indexes = [models.Index(fields=["sender"], name="accounts_reported_sender")]

    def __str__(self) -> str:
        return f"message {self.position} of report {self.report_id}"
