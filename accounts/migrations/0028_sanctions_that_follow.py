"""Sanctions that have still to go to other numbers, and what is kept of one, are found by indexes; built beside the traffic."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("accounts", "0027_left_numbers"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="carriedsanction",
            index=models.Index(fields=["sanction"], name="accounts_carried_sanction"),
        ),
        AddIndexConcurrently(
            model_name="sanction",
            index=models.Index(
                condition=models.Q(("follows", True)), fields=["id"], name="accounts_sanction_follows"
            ),
        ),
    ]
