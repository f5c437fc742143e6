from __future__ import annotations

from django.db import models

from accounts.models.account import Account


class Identity(models.Model):
    """The identity key of an account, which all its devices share: 33 bytes, 0x05 ‖ X25519 (``accounts/curve.py``).

    While ``changed_at`` is above ``told_at``, others are still to be told of the change; ``told_after`` is how far that got
    (``services/identities.py``).
    """

    account = models.OneToOneField(
        Account, on_delete=models.CASCADE, primary_key=True, related_name="identity"
    )
    key = models.BinaryField(max_length=33)
    #: When another key took the place of an earlier one; 0: this is the first.
    changed_at = models.BigIntegerField(default=0)
    told_at = models.BigIntegerField(default=0)
    #: Users are told in the order of their ids; the last one who was.
    told_after = models.UUIDField(null=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["changed_at"],
                condition=models.Q(changed_at__gt=models.F("told_at")),
                name="accounts_identity_untold",
            )
        ]

    def __str__(self) -> str:
        return f"identity of {self.pk}"


class IdentityNews(models.Model):
    """``user`` is to learn that the identity key of ``about`` has changed: told at once where it is online, and to each of its
    devices at its next connect."""

    # Without constraints: whoever writes a batch waits for no lock of an account.
    user = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+", db_constraint=False)
    about = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+", db_constraint=False)
    at = models.BigIntegerField(db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["user", "about"], name="accounts_identitynews_once")]
        indexes = [models.Index(fields=["user", "at"], name="accounts_identitynews_since")]

    def __str__(self) -> str:
        return f"news {self.pk}"
