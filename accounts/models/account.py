from __future__ import annotations

import hashlib
import uuid
from typing import Any

from django.db import models

from delivery.ids import uuid7
from whatsapp.infra.clock import now_ms


def new_id() -> uuid.UUID:
    return uuid.UUID(uuid7(now_ms()))


def phone_hash(phone: str) -> bytes:
    """What clients send of the numbers in their address books: SHA-256 of the number in E.164. It hides a number from nobody
    who can try them all; what holds off enumeration are the limits of ``services/address_book.py``."""
    return hashlib.sha256(phone.encode()).digest()


class PhoneHashField(models.BinaryField):
    """Follows ``phone``."""

    def pre_save(self, model_instance: Any, add: bool) -> bytes | None:
        phone = model_instance.phone
        value = phone_hash(phone) if phone else None
        setattr(model_instance, self.attname, value)
        return value


class Account(models.Model):
    """A person who chats; its id is the ``userId`` of the interface.

    Not Django's user model, and not called User: ``django.contrib.auth.User`` stays what it is, staff with passwords and
    permissions in the admin. People who chat have a phone number and devices, no password, and never enter the admin, so
    neither kind of account can be taken for the other.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    #: E.164: + and at most 15 digits. None: the number went to somebody else (``services/recycling.py``).
    phone = models.CharField(max_length=16, unique=True, null=True)
    phone_hash = PhoneHashField(max_length=32, unique=True, null=True, editable=False)
    name = models.CharField(max_length=100, blank=True, default="")
    about = models.CharField(max_length=500, blank=True, default="")
    language = models.CharField(max_length=35, blank=True, default="")  # BCP 47
    region = models.PositiveSmallIntegerField(default=0)  # home region, 0..1023 as in conversation ids
    banned_until = models.BigIntegerField(null=True, blank=True)
    #: Which class of accounts it is of for limits (``LimitOverride``); empty: none.
    limit_class = models.CharField(max_length=32, blank=True, default="", db_default="")
    #: The account's rows of ``LimitOverride`` as ``{name: [value, until or null]}``, so that whoever reads the account has them:
    #: written with the rows (``services/limit_overrides.py``). None: it has none.
    own_limits = models.JSONField(null=True, blank=True, editable=False)
    created_at = models.BigIntegerField(default=now_ms, editable=False)
    photo = models.ForeignKey(
        "Photo", on_delete=models.SET_NULL, null=True, blank=True, editable=False, related_name="shown_by"
    )
    #: Since when the account has no number, no devices and no profile, and is found by nobody.
    retired_at = models.BigIntegerField(null=True, blank=True, editable=False)

    class Meta:
        # Other apps look again and again for what is left of accounts that ended (``accounts/endings.py``).
        indexes = [
            models.Index(
                fields=["retired_at"],
                condition=models.Q(retired_at__isnull=False),
                name="accounts_account_retired",
            )
        ]

    #: What DRF's ``IsAuthenticated`` asks of ``request.user``: an account only gets there with a token of its own.
    is_authenticated = True

    def __str__(self) -> str:
        return str(self.id)  # never the number: this text reaches logs and the admin's history

    def is_banned(self, now: int) -> bool:
        return self.banned_until is not None and self.banned_until > now
