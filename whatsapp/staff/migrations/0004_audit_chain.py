from __future__ import annotations

from django.db import migrations, models

_LINK = """
CREATE FUNCTION staff_audit_link() RETURNS trigger LANGUAGE plpgsql AS $$
-- Gives a record its place in the chain, when its transaction commits.
DECLARE
    last_seq bigint;
    last_hash bytea;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtextextended('staff_audit', 0));
    SELECT seq, hash INTO last_seq, last_hash FROM staff_auditrecord WHERE seq IS NOT NULL ORDER BY seq DESC LIMIT 1;
    IF last_seq IS NULL THEN
        SELECT seq, hash INTO last_seq, last_hash FROM staff_auditanchor WHERE kind = 'checkpoint' ORDER BY seq DESC LIMIT 1;
    END IF;
    last_seq := coalesce(last_seq, 0) + 1;
    last_hash := coalesce(last_hash, decode(repeat('00', 32), 'hex'));
    UPDATE staff_auditrecord
    SET seq = last_seq, previous = last_hash, hash = sha256(last_hash || int8send(last_seq) || NEW.mac)
    WHERE id = NEW.id;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER staff_audit_link AFTER INSERT ON staff_auditrecord
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION staff_audit_link();
"""

_GUARD = """
CREATE FUNCTION staff_audit_guard() RETURNS trigger LANGUAGE plpgsql AS $$
-- Refuses every change of a record but three: its link, once, by the trigger above; that its object and message are forgotten;
-- and its deletion when it is older than a year and behind a checkpoint.
DECLARE
    linking text[] := ARRAY['seq', 'previous', 'hash'];
    forgetting text[] := ARRAY['object_id', 'message', 'salt'];
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF OLD.seq IS NULL AND NEW.seq IS NOT NULL AND pg_trigger_depth() > 1
            AND to_jsonb(NEW) - linking = to_jsonb(OLD) - linking THEN
            RETURN NEW;
        END IF;
        IF NEW.salt = ''::bytea AND NEW.object_id = '' AND NEW.message = '' AND OLD.salt <> ''::bytea
            AND to_jsonb(NEW) - forgetting = to_jsonb(OLD) - forgetting THEN
            RETURN NEW;
        END IF;
    ELSIF TG_OP = 'DELETE' THEN
        IF OLD.at < (extract(epoch FROM clock_timestamp()) - 31536000) * 1000
            AND EXISTS (SELECT FROM staff_auditanchor WHERE kind = 'checkpoint' AND seq >= OLD.seq) THEN
            RETURN OLD;
        END IF;
    ELSIF TG_OP = 'INSERT' THEN
        IF NEW.seq IS NULL AND NEW.hash IS NULL AND NEW.previous IS NULL THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'the audit log cannot be changed' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER staff_audit_guard BEFORE INSERT OR UPDATE OR DELETE ON staff_auditrecord
    FOR EACH ROW EXECUTE FUNCTION staff_audit_guard();

CREATE FUNCTION staff_audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log cannot be changed' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER staff_audit_no_truncate BEFORE TRUNCATE ON staff_auditrecord
    FOR EACH STATEMENT EXECUTE FUNCTION staff_audit_refuse();
CREATE TRIGGER staff_audit_anchor_guard BEFORE UPDATE OR DELETE ON staff_auditanchor
    FOR EACH ROW EXECUTE FUNCTION staff_audit_refuse();
CREATE TRIGGER staff_audit_anchor_no_truncate BEFORE TRUNCATE ON staff_auditanchor
    FOR EACH STATEMENT EXECUTE FUNCTION staff_audit_refuse();
"""

_UNDO = """
DROP TRIGGER staff_audit_link ON staff_auditrecord;
DROP TRIGGER staff_audit_guard ON staff_auditrecord;
DROP TRIGGER staff_audit_no_truncate ON staff_auditrecord;
DROP TRIGGER staff_audit_anchor_guard ON staff_auditanchor;
DROP TRIGGER staff_audit_anchor_no_truncate ON staff_auditanchor;
DROP FUNCTION staff_audit_link();
DROP FUNCTION staff_audit_guard();
DROP FUNCTION staff_audit_refuse();
"""


class Migration(migrations.Migration):
    dependencies = [
        ("staff", "0003_approvals"),
    ]

    operations = [
        migrations.CreateModel(
            name="AuditCheck",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("at", models.BigIntegerField()),
                ("duration_ms", models.BigIntegerField()),
                ("first", models.BigIntegerField(help_text="the first record that was looked at")),
                ("last", models.BigIntegerField(help_text="the last one")),
                ("whole", models.BooleanField(help_text="from the first record on")),
                (
                    "finding",
                    models.CharField(
                        blank=True, default="", help_text="empty: the chain is whole", max_length=500
                    ),
                ),
            ],
            options={
                "default_permissions": ("view",),
            },
        ),
        migrations.CreateModel(
            name="AuditAnchor",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[("head", "Head"), ("checkpoint", "Checkpoint")],
                        default="head",
                        max_length=16,
                    ),
                ),
                ("seq", models.BigIntegerField()),
                ("hash", models.BinaryField(max_length=32)),
                ("at", models.BigIntegerField()),
                ("mac", models.BinaryField(max_length=32)),
            ],
            options={
                "default_permissions": (),
                "indexes": [models.Index(fields=["kind", "-seq"], name="staff_audit_anchor_newest")],
            },
        ),
        migrations.CreateModel(
            name="AuditRecord",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("seq", models.BigIntegerField(null=True, unique=True)),
                ("at", models.BigIntegerField()),
                ("by", models.CharField(help_text="who of the staff, or 'automatic'", max_length=150)),
                ("by_id", models.IntegerField(null=True)),
                ("action", models.CharField(max_length=64)),
                ("object_type", models.CharField(max_length=100)),
                ("object_id", models.CharField(max_length=200)),
                ("message", models.CharField(max_length=2000)),
                (
                    "salt",
                    models.BinaryField(
                        help_text="empty: the object and the message were forgotten", max_length=16
                    ),
                ),
                ("details", models.BinaryField(max_length=32)),
                ("mac", models.BinaryField(max_length=32)),
                ("previous", models.BinaryField(max_length=32, null=True)),
                ("hash", models.BinaryField(max_length=32, null=True)),
            ],
            options={
                "verbose_name": "audit record",
                "default_permissions": ("view",),
                "indexes": [models.Index(fields=["object_id", "-id"], name="staff_audit_object")],
            },
        ),
        migrations.RunSQL(_LINK + _GUARD, reverse_sql=_UNDO),
    ]
