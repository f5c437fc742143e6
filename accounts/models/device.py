from __future__ import annotations

from django.db import models
from django.db.models import Q

from accounts.models.account import Account, new_id
from whatsapp.infra.clock import now_ms


class Device(models.Model):
    """One installed client. The row stays after unlinking, so that its tokens are told ``unlinked`` and not ``unknown``.

    The engine keeps a row of its own for each living device (``delivery``); both are written in one transaction.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="devices")
    name = models.CharField(max_length=100, blank=True, default="")
    primary = models.BooleanField(default=False)
    registration_id = models.PositiveIntegerField(
        null=True, blank=True
    )  # Signal registration id, chosen by the client
    linked_at = models.BigIntegerField(default=now_ms, editable=False)
    #: Moved by sign-in, refresh and by gateways, at most once an hour (``accounts/last_seen.py``).
    last_seen_at = models.BigIntegerField(default=now_ms)
    unlinked_at = models.BigIntegerField(null=True, blank=True)
    #: The device that let it in by a code on its screen. None: its number was verified on it.
    linked_by = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    #: Why it was unlinked (``services.devices.Reason``), "" while it is not.
    unlinked_for = models.CharField(max_length=8, blank=True, default="")
    #: When its user was last told that it will be unlinked for being idle.
    idle_told_at = models.BigIntegerField(null=True, blank=True)
    #: Access tokens issued before are void; moved by a new verification.
    session_from = models.BigIntegerField(default=0)
    #: Set while the session has been revoked and the number was not verified again on this device.
    revoked_at = models.BigIntegerField(null=True, blank=True)

    #: Keyed hash of the client's own installation id (``accounts/installations.py``), if it gave one.
    installation = models.BinaryField(max_length=32, null=True, db_index=True)
    banned_until = models.BigIntegerField(null=True, blank=True)
    #: What is told at connect (``models/identity.py``) has reached the device up to here.
    news_at = models.BigIntegerField(db_default=0, editable=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["user"],
                condition=Q(primary=True, unlinked_at=None),
                name="accounts_device_one_primary",
            )
        ]
        indexes = [
            models.Index(fields=["user"], condition=Q(unlinked_at=None), name="accounts_device_linked"),
            # What ``services.idle`` looks for.
            models.Index(
                fields=["last_seen_at"],
                condition=Q(unlinked_at=None, primary=False),
                name="accounts_device_idle",
            ),
        ]

    def __str__(self) -> str:
        return str(self.id)

    def is_banned(self, now: int) -> bool:
        """Whether this device alone is banned; its account may be so besides."""
        return self.banned_until is not None and self.banned_until > now
