from __future__ import annotations

import uuid

from django.db import models

from accounts.models.account import Account


class Picture(models.Model):
    """A picture that stands for somebody, in two files. The row is older than the files and lives longer: what nobody shows is
    found by it. Whatever shows one points to it by a key whose ``related_name`` is ``shown_by``."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    #: Of the larger file's content, hexadecimal: clients see it as the picture's version.
    digest = models.CharField(max_length=32)
    created_at = models.BigIntegerField()

    class Meta:
        abstract = True

    @property
    def folder(self) -> str:
        """Where its files are; the subclass says it."""
        raise NotImplementedError

    @property
    def names(self) -> dict[str, str]:
        """size → name of its file. No name is ever used again, not even for the same picture: so whoever deletes a file takes
        it from nobody who has just put the same one there."""
        stem = f"{self.folder}/{self.digest}-{self.pk.hex}"
        return {"full": f"{stem}.jpg", "thumb": f"{stem}-thumb.jpg"}


class Photo(Picture):
    """An account's."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="photos")

    def __str__(self) -> str:
        return f"photo {self.pk}"

    @property
    def folder(self) -> str:
        return f"photos/{self.account_id}"
