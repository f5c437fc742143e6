"""The audit log is found by object, person and action from an index, the newest first; built beside the traffic. Django's log of
the admin has none for objects, and one for people that is not in the order of the list."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("admin", "0003_logentry_add_action_flag_choices"),
        ("staff", "0005_moderation"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="auditrecord",
            index=models.Index(fields=["action", "-id"], name="staff_audit_action"),
        ),
        migrations.RunSQL(
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS staff_log_object ON django_admin_log (object_id, id DESC)",
            "DROP INDEX CONCURRENTLY IF EXISTS staff_log_object",
        ),
        migrations.RunSQL(
            "CREATE INDEX CONCURRENTLY IF NOT EXISTS staff_log_user ON django_admin_log (user_id, id DESC)",
            "DROP INDEX CONCURRENTLY IF EXISTS staff_log_user",
        ),
    ]
