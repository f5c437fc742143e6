from __future__ import annotations

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("staff", "0001_initial"), ("delivery", "0021_parked")]

    operations = [
        migrations.CreateModel(
            name="PendingChange",
            fields=[],
            options={
                "verbose_name": "pending change",
                "permissions": [("retry_pendingchange", "Can have a parked change tried again")],
                "proxy": True,
                "default_permissions": ("view",),
                "indexes": [],
                "constraints": [],
            },
            bases=("delivery.pending",),
        ),
    ]
