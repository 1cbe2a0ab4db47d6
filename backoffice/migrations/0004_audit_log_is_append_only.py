"""Entries of the audit log are neither changed nor, for ninety days, deleted: not by a superuser's session either."""

from django.db import migrations

CREATE = """
CREATE FUNCTION backoffice_keep_audit_log() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    -- An account that is deleted leaves what it did without the link to it; nothing else of the entry changes.
    IF TG_OP = 'UPDATE' AND NEW.actor_id IS NULL
       AND to_jsonb(NEW) - 'actor_id' = to_jsonb(OLD) - 'actor_id' THEN
        RETURN NEW;
    END IF;
    -- What is older may be let go: AUDIT_LOG_RETENTION_DAYS says after how long it is, and is never less.
    IF TG_OP = 'DELETE' AND OLD.timestamp < now() - interval '90 days' THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION 'the audit log is append-only' USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE ON auditlog_logentry
    FOR EACH ROW EXECUTE FUNCTION backoffice_keep_audit_log();
CREATE TRIGGER audit_log_no_truncate BEFORE TRUNCATE ON auditlog_logentry
    FOR EACH STATEMENT EXECUTE FUNCTION backoffice_keep_audit_log();
"""
DROP = """
DROP TRIGGER audit_log_no_truncate ON auditlog_logentry;
DROP TRIGGER audit_log_append_only ON auditlog_logentry;
DROP FUNCTION backoffice_keep_audit_log();
"""


class Migration(migrations.Migration):
    """A trigger takes a lock on a table that no request of a buyer touches."""

    dependencies = [
        ("backoffice", "0003_export_filters"),
        ("auditlog", "0017_add_actor_email"),
    ]

    operations = [migrations.RunSQL(CREATE, DROP)]
