"""Where devices are reached, and what they were told. Times are milliseconds since the epoch."""

from __future__ import annotations

from django.db import models

from accounts.models import Device


class PushTarget(models.Model):
    """How one device is reached. It goes with the device's link, and at once when its provider says that the token is dead."""

    device = models.OneToOneField(
        Device, primary_key=True, on_delete=models.CASCADE, related_name="push_target"
    )
    app = models.CharField(max_length=32)  # a name in ``settings.PUSH_APPS``
    token = models.CharField(max_length=4096)  # an endpoint, with Web Push
    #: Of APNs alone, the token of PushKit, which calls ring with; "": none.
    call_token = models.CharField(max_length=200, blank=True, default="", db_default="")
    #: SHA-256 of the token: who installs the app anew may bring the same token with another device.
    token_hash = models.BinaryField(max_length=32)
    p256dh = models.BinaryField(max_length=65, null=True)
    auth = models.BinaryField(max_length=16, null=True)
    #: Whether what was written goes along, encrypted with the keys.
    preview = models.BooleanField(default=True)
    #: Minutes of the day in ``time_zone`` between which nothing is shown; None: no quiet hours.
    quiet_from = models.PositiveSmallIntegerField(null=True)
    quiet_until = models.PositiveSmallIntegerField(null=True)
    time_zone = models.CharField(max_length=64, default="UTC")
    #: What the app's icon was last told to show.
    badge = models.PositiveIntegerField(default=0)
    set_at = models.BigIntegerField()  # by the device
    success_at = models.BigIntegerField(null=True)
    error_at = models.BigIntegerField(null=True)
    error = models.CharField(max_length=64, default="")  # the reason of the last result that was not accepted

    class Meta:
        verbose_name = "device notified"
        verbose_name_plural = "devices notified"
        constraints = [
            models.UniqueConstraint(fields=["app", "token_hash"], name="notifications_target_token")
        ]
        permissions = [("test_pushtarget", "Can send a test notification")]

    def __str__(self) -> str:
        return f"{self.app} of {self.device_id}"


class PushState(models.Model):
    """Up to where a device was told of a conversation (:class:`notifications.plans.Told`). Written after its provider has
    accepted."""

    pk = models.CompositePrimaryKey("target", "conversation")
    target = models.ForeignKey(PushTarget, on_delete=models.CASCADE, related_name="states")
    conversation = models.UUIDField()
    seq = models.BigIntegerField()
    #: The message that the device shows a notification of, 0: none any more. What it was told counts all the same.
    shown = models.BigIntegerField(default=0, db_default=0)
    #: When that message vanishes, ms; 0: never.
    until = models.BigIntegerField(default=0, db_default=0)
    told_at = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.conversation} to {self.seq}"
