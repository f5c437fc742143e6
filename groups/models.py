"""Groups as people see them. Who is owed which event is the engine's (``delivery_member``); both change in one transaction,
under the lock of the group's row. Times are milliseconds since the epoch."""

from __future__ import annotations

from django.db import models

from accounts.models import Account, Picture


class Role(models.TextChoices):
    CREATOR = "creator"  # one a group
    ADMIN = "admin"
    MEMBER = "member"


class Who(models.TextChoices):
    ALL = "all"
    ADMINS = "admins"  # the creator is one


class Group(models.Model):
    """Its row lock orders everything that changes members, roles or settings."""

    id = models.UUIDField(primary_key=True, help_text="the conversation's")
    name = models.CharField(max_length=256)
    description = models.CharField(max_length=512, blank=True, default="")
    who_sends = models.CharField(max_length=8, choices=Who.choices, default=Who.ALL)
    who_edits = models.CharField(max_length=8, choices=Who.choices, default=Who.ALL)
    who_adds = models.CharField(max_length=8, choices=Who.choices, default=Who.ALL)
    member_count = models.PositiveIntegerField(default=0)
    created_at = models.BigIntegerField()
    icon = models.ForeignKey(
        "Icon", on_delete=models.SET_NULL, null=True, blank=True, related_name="shown_by"
    )
    #: Since when it has no members and is found by nobody.
    dissolved_at = models.BigIntegerField(null=True, blank=True)

    def __str__(self) -> str:
        return str(self.pk)  # never the name: this text reaches logs


class Membership(models.Model):
    """A member, or one who was: the row outlives the membership, so that who was removed does not come back by a link."""

    group = models.ForeignKey(Group, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="+")
    role = models.CharField(max_length=8, choices=Role.choices, default=Role.MEMBER)
    joined_at = models.BigIntegerField()
    left_at = models.BigIntegerField(null=True, blank=True, help_text="null: a member")
    removed = models.BooleanField(default=False, help_text="left because an admin wanted it")
    #: What the group was called when the user left: its later names are not theirs to know.
    last_name = models.CharField(max_length=256, blank=True, default="")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["group", "user"], name="groups_membership_once"),
            models.UniqueConstraint(
                fields=["group"], condition=models.Q(role="creator", left_at=None), name="groups_one_creator"
            ),
        ]

    def __str__(self) -> str:
        return f"membership {self.pk}"

    @property
    def is_admin(self) -> bool:
        return self.role in (Role.CREATOR, Role.ADMIN)


class Invite(models.Model):
    """A link into a group. Who has the code may use it."""

    code = models.CharField(primary_key=True, max_length=22, help_text="128 random bits, base64url")
    group = models.ForeignKey(Group, on_delete=models.CASCADE, related_name="invites")
    created_by = models.ForeignKey(Account, on_delete=models.PROTECT, related_name="+")
    created_at = models.BigIntegerField()
    expires_at = models.BigIntegerField(null=True, blank=True)
    max_uses = models.PositiveIntegerField(null=True, blank=True)
    uses = models.PositiveIntegerField(default=0)
    approval = models.BooleanField(default=False, help_text="who uses it asks, and an admin decides")
    revoked_at = models.BigIntegerField(null=True, blank=True)

    def __str__(self) -> str:
        return f"invite into {self.group_id}"  # never the code: it is a secret

    def is_open(self, now: int) -> bool:
        return (
            self.revoked_at is None
            and (self.expires_at is None or now < self.expires_at)
            and (self.max_uses is None or self.uses < self.max_uses)
        )


class JoinRequest(models.Model):
    """Somebody who used a link with approval, until an admin decides."""

    group = models.ForeignKey(Group, on_delete=models.CASCADE, related_name="requests")
    user = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+")
    requested_at = models.BigIntegerField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["group", "user"], name="groups_request_once")]

    def __str__(self) -> str:
        return f"request {self.pk}"


class Icon(Picture):
    """A group's picture."""

    group = models.ForeignKey(Group, on_delete=models.CASCADE, related_name="icons")

    def __str__(self) -> str:
        return f"icon {self.pk}"

    @property
    def folder(self) -> str:
        return f"groups/{self.group_id}"
