from __future__ import annotations

from django.db import models


class SmsEvent(models.Model):
    """What became of one code that was sent by SMS, by the prefix of its number (``accounts/guards/traffic.py``). Rows are only
    added, so requests that send at once do not wait for each other. Neither number nor address: the table tells of nobody.
    """

    class Kind(models.TextChoices):
        SENT = "sent"
        VERIFIED = "verified"  # ``at`` is when the code was sent
        FAILED = "failed"  # the network did not take it: it says nothing about who asked; ``at`` likewise

    prefix = models.CharField(max_length=8)  # country code and the first digits of the national number
    at = models.BigIntegerField()
    kind = models.CharField(max_length=8, choices=Kind)
    units = models.IntegerField(default=0, help_text="what a sent one costs")

    class Meta:
        default_permissions = ()
        indexes = [
            models.Index(fields=["prefix", "at"], name="accounts_sms_prefix", include=["kind", "units"]),
            models.Index(fields=["at"], name="accounts_sms_at", include=["units"]),
        ]

    def __str__(self) -> str:
        return f"{self.kind} to +{self.prefix} at {self.at}"


class SmsSlot(models.Model):
    """What became of all codes to a prefix within five minutes (``accounts/guards/slots.py``); the empty prefix is everything."""

    prefix = models.CharField(max_length=8, blank=True)
    slot = models.BigIntegerField(help_text="its beginning in ms, divided by its length")
    units = models.BigIntegerField()
    sent = models.IntegerField()
    failed = models.IntegerField()
    verified = models.IntegerField()

    class Meta:
        default_permissions = ()
        constraints = [
            models.UniqueConstraint(
                fields=["prefix", "slot"],
                name="accounts_sms_slot",
                include=["units", "sent", "failed", "verified"],
            )
        ]
        indexes = [models.Index(fields=["slot"], name="accounts_sms_slot_age")]

    def __str__(self) -> str:
        return f"codes to +{self.prefix} in {self.slot}"


class SmsPrefix(models.Model):
    """A switch of staff for numbers that begin like this, or until when they are blocked automatically. The empty prefix is
    every number."""

    class Mode(models.TextChoices):
        AUTO = "auto", "By conversion"
        ON = "on", "Never judged by conversion"  # caps of spending hold all the same
        OFF = "off", "No messages"

    prefix = models.CharField(max_length=15, primary_key=True)
    mode = models.CharField(max_length=4, choices=Mode, default=Mode.AUTO)
    blocked_until = models.BigIntegerField(null=True, help_text="by the conversion, ms")
    reason = models.CharField(max_length=300, blank=True)
    by = models.CharField(max_length=150, blank=True)
    changed_at = models.BigIntegerField()

    class Meta:
        default_permissions = ("view", "change")

    def __str__(self) -> str:
        return f"+{self.prefix}" if self.prefix else "all numbers"
