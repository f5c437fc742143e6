"""Of which account's sanction another one is the continuation; the index is built beside the traffic."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    # Adding an index concurrently cannot be done in a transaction.
    atomic = False

    dependencies = [
        ("accounts", "0021_carried_sanctions"),
    ]

    operations = [
        migrations.AddField(
            model_name="sanction",
            name="carried_from",
            field=models.UUIDField(blank=True, editable=False, null=True),
        ),
        AddIndexConcurrently(
            model_name="sanction",
            index=models.Index(
                condition=models.Q(("carried_from__isnull", False)),
                fields=["carried_from"],
                name="accounts_sanction_carried",
            ),
        ),
    ]
