"""Lists of the staff that are filtered begin in an index of just those rows in their order; built beside the traffic."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("accounts", "0023_sms_slots"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="sanction",
            index=models.Index(fields=["kind", "-id"], name="accounts_sanction_kind"),
        ),
        AddIndexConcurrently(
            model_name="sanction",
            index=models.Index(
                condition=models.Q(("appeal", ""), _negated=True),
                fields=["appeal", "-id"],
                name="accounts_sanction_by_appeal",
            ),
        ),
        AddIndexConcurrently(
            model_name="erasure",
            index=models.Index(fields=["state", "-id"], name="accounts_erasure_state"),
        ),
    ]
