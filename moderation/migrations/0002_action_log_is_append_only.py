"""Nothing in the action log is ever changed: not by a bug, an admin page or a query by hand."""

from django.db import migrations

FORWARD = """
CREATE FUNCTION moderation_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the action log is append-only' USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER action_log_append_only BEFORE UPDATE OR DELETE ON moderation_actionlog
    FOR EACH ROW EXECUTE FUNCTION moderation_refuse_change();
CREATE TRIGGER action_log_no_truncate BEFORE TRUNCATE ON moderation_actionlog
    FOR EACH STATEMENT EXECUTE FUNCTION moderation_refuse_change();
"""
BACKWARD = """
DROP TRIGGER action_log_no_truncate ON moderation_actionlog;
DROP TRIGGER action_log_append_only ON moderation_actionlog;
DROP FUNCTION moderation_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [("moderation", "0001_initial")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
