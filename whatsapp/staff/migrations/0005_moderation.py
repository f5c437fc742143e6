"""Permissions of the pages of moderation, and what each moderator wants to see and has seen."""

import django.db.models.deletion
from django.conf import settings
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("auth", "0012_alter_user_first_name_max_length"),
        ("staff", "0004_audit_chain"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        migrations.CreateModel(
            name="Moderation",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
            ],
            options={
                "permissions": [
                    ("moderate", "Can claim and decide cases"),
                    ("approve_ban", "Can be the second person of a permanent ban"),
                    ("view_moderation", "Can view cases without their evidence, and figures of moderation"),
                ],
                "managed": False,
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="Reviewer",
            fields=[
                (
                    "user",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="+",
                        serialize=False,
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
                (
                    "blur",
                    models.BooleanField(default=True, help_text="pictures are blurred until they are held"),
                ),
                ("grayscale", models.BooleanField(default=True, help_text="pictures have no colours")),
                (
                    "spare",
                    models.BooleanField(
                        default=False, help_text="“Take the next one” leaves out grave cases"
                    ),
                ),
                (
                    "go_on",
                    models.BooleanField(default=True, help_text="the next case is taken when one is decided"),
                ),
                (
                    "break_after",
                    models.PositiveSmallIntegerField(default=5, help_text="grave cases in a row; 0: never"),
                ),
                ("in_a_row", models.PositiveIntegerField(default=0)),
                ("last_case", models.UUIDField(help_text="whose evidence was looked at last", null=True)),
                ("last_at", models.BigIntegerField(default=0)),
            ],
            options={
                "default_permissions": (),
            },
        ),
        migrations.CreateModel(
            name="ReviewerDay",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("day", models.DateField()),
                (
                    "seen",
                    models.PositiveIntegerField(default=0, help_text="cases whose evidence was looked at"),
                ),
                ("grave", models.PositiveIntegerField(default=0, help_text="of these the grave ones")),
                ("decided", models.PositiveIntegerField(default=0)),
                (
                    "user",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="+",
                        to=settings.AUTH_USER_MODEL,
                    ),
                ),
            ],
            options={
                "default_permissions": (),
                "indexes": [models.Index(fields=["day"], name="staff_reviewer_day_old")],
                "constraints": [
                    models.UniqueConstraint(fields=("user", "day"), name="staff_reviewer_day_once")
                ],
            },
        ),
    ]
