"""An account carries the limits that are its own. Null for old rows and for what older processes write."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0014_ends_of_sanctions"),
    ]

    operations = [
        migrations.AddField(
            model_name="account",
            name="own_limits",
            field=models.JSONField(blank=True, editable=False, null=True),
        ),
    ]
