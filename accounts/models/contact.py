from __future__ import annotations

from django.db import models

from accounts.models.account import Account


class Contact(models.Model):
    """``user`` is in the address book of ``owner``; says nothing about the other direction."""

    owner = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="contacts")
    user = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+", db_index=False)
    nickname = models.CharField(max_length=100, blank=True, default="")
    updated_at = models.BigIntegerField()
    #: It is gone, since ``updated_at``; kept for a while so that the owner's other devices learn of it.
    removed = models.BooleanField(default=False)
    #: ``phone_hash`` of the number under which the owner knows the user. None: added by id, so none is known.
    number_hash = models.BinaryField(max_length=32, null=True)
    #: When the user changed the number while being a contact.
    number_changed_at = models.BigIntegerField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["owner", "updated_at"], name="accounts_contact_changed"),
            # Who has a user as a contact, in batches (``services.identities``).
            models.Index(fields=["user", "owner"], name="accounts_contact_of"),
        ]
        constraints = [models.UniqueConstraint(fields=["owner", "user"], name="accounts_contact_once")]

    def __str__(self) -> str:
        return f"contact {self.pk}"

    @property
    def known_number(self) -> str | None:
        """The user's number, if the owner knows it."""
        known, now = self.number_hash, self.user.phone_hash
        return self.user.phone if known and now and bytes(known) == bytes(now) else None
