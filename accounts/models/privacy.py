from __future__ import annotations

from django.db import models

from accounts.models.account import Account


class Audience(models.IntegerChoices):
    """To whom something is shown."""

    EVERYONE = 0
    CONTACTS = 1  # who is in the owner's address book
    NOBODY = 2


class Privacy(models.Model):
    """What an account shows to whom. No row: everything to everyone."""

    account = models.OneToOneField(
        Account, on_delete=models.CASCADE, primary_key=True, related_name="privacy"
    )
    last_seen = models.SmallIntegerField(choices=Audience, default=Audience.EVERYONE)
    online = models.SmallIntegerField(choices=Audience, default=Audience.EVERYONE)
    photo = models.SmallIntegerField(choices=Audience, default=Audience.EVERYONE)
    about = models.SmallIntegerField(choices=Audience, default=Audience.EVERYONE)
    read_receipts = models.SmallIntegerField(choices=Audience, default=Audience.EVERYONE)

    def __str__(self) -> str:
        return f"privacy of {self.pk}"
