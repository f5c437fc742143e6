"""Each list of the moderation queue has an index of just its rows in its order; built beside the traffic."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("accounts", "0017_exports"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="case",
            index=models.Index(
                condition=models.Q(("state", "closed"), _negated=True),
                fields=["category", "-priority", "due_at", "id"],
                name="accounts_case_category",
            ),
        ),
        AddIndexConcurrently(
            model_name="case",
            index=models.Index(
                condition=models.Q(("state", "closed"), _negated=True),
                fields=["subject_kind", "-priority", "due_at", "id"],
                name="accounts_case_kind",
            ),
        ),
        AddIndexConcurrently(
            model_name="case",
            index=models.Index(
                condition=models.Q(("state", "closed"), _negated=True),
                fields=["due_at", "id"],
                name="accounts_case_due",
            ),
        ),
        AddIndexConcurrently(
            model_name="case",
            index=models.Index(
                condition=models.Q(
                    models.Q(("state", "closed"), _negated=True), ("flagged_at__isnull", False)
                ),
                fields=["-priority", "due_at", "id"],
                name="accounts_case_flagged",
            ),
        ),
        AddIndexConcurrently(
            model_name="case",
            index=models.Index(
                condition=models.Q(("state", "waiting")),
                fields=["-priority", "due_at", "id"],
                name="accounts_case_waiting",
            ),
        ),
        AddIndexConcurrently(
            model_name="case",
            index=models.Index(
                condition=models.Q(("state", "claimed")), fields=["claimed_by"], name="accounts_case_claimed"
            ),
        ),
        AddIndexConcurrently(
            model_name="report",
            index=models.Index(fields=["case", "-created_at", "-id"], name="accounts_report_case"),
        ),
        AddIndexConcurrently(
            model_name="sanction",
            index=models.Index(
                condition=models.Q(("appeal_at__isnull", False)),
                fields=["-appeal_at"],
                name="accounts_sanction_appealed",
            ),
        ),
    ]
