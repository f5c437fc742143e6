"""What the pages of moderation keep of the people who work with them. Cases, reports and sanctions are accounts'."""

from __future__ import annotations

from django.conf import settings
from django.db import models


class Moderation(models.Model):
    """No table: permissions of the pages of moderation."""

    class Meta:
        managed = False
        default_permissions = ()
        permissions = [
            ("moderate", "Can claim and decide cases"),
            ("approve_ban", "Can be the second person of a permanent ban"),
            ("view_moderation", "Can view cases without their evidence, and figures of moderation"),
        ]


class Reviewer(models.Model):
    """How one moderator wants to see evidence, and what they have seen lately. Nobody else sees these rows."""

    user = models.OneToOneField(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, primary_key=True, related_name="+"
    )
    blur = models.BooleanField(default=True, help_text="pictures are blurred until they are held")
    grayscale = models.BooleanField(default=True, help_text="pictures have no colours")
    spare = models.BooleanField(default=False, help_text="“Take the next one” leaves out grave cases")
    go_on = models.BooleanField(default=True, help_text="the next case is taken when one is decided")
    break_after = models.PositiveSmallIntegerField(default=5, help_text="grave cases in a row; 0: never")
    #: Grave cases whose evidence was looked at, without another one or a pause between them.
    in_a_row = models.PositiveIntegerField(default=0)
    last_case = models.UUIDField(null=True, help_text="whose evidence was looked at last")
    last_at = models.BigIntegerField(default=0)

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"reviewer {self.pk}"


class ReviewerDay(models.Model):
    """What one moderator has seen and decided on one day (UTC)."""

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    day = models.DateField()
    seen = models.PositiveIntegerField(default=0, help_text="cases whose evidence was looked at")
    grave = models.PositiveIntegerField(default=0, help_text="of these the grave ones")
    decided = models.PositiveIntegerField(default=0)

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["user", "day"], name="staff_reviewer_day_once")]
        indexes = [models.Index(fields=["day"], name="staff_reviewer_day_old")]

    def __str__(self) -> str:
        return f"{self.day} of reviewer {self.user_id}"
