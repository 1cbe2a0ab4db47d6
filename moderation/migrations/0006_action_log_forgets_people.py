"""One change to the log is let through: taking the words that identify a person out of it, in a transaction that says so.

Who acted, what they did, where and when stay as they are, and no line can be deleted.
"""

from django.db import migrations

FORWARD = """
CREATE FUNCTION moderation_refuse_change_but_redaction() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('payments.redacting', true) = 'on'
       AND (NEW.id, NEW.project_id, NEW.mode, NEW.actor_id, NEW.actor_label, NEW.action, NEW.at)
           IS NOT DISTINCT FROM (OLD.id, OLD.project_id, OLD.mode, OLD.actor_id, OLD.actor_label, OLD.action, OLD.at) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the action log is append-only' USING ERRCODE = 'restrict_violation';
END
$$;
DROP TRIGGER action_log_append_only ON moderation_actionlog;
CREATE TRIGGER action_log_append_only BEFORE DELETE ON moderation_actionlog
    FOR EACH ROW EXECUTE FUNCTION moderation_refuse_change();
CREATE TRIGGER action_log_no_change BEFORE UPDATE ON moderation_actionlog
    FOR EACH ROW EXECUTE FUNCTION moderation_refuse_change_but_redaction();
"""
BACKWARD = """
DROP TRIGGER action_log_no_change ON moderation_actionlog;
DROP TRIGGER action_log_append_only ON moderation_actionlog;
CREATE TRIGGER action_log_append_only BEFORE UPDATE OR DELETE ON moderation_actionlog
    FOR EACH ROW EXECUTE FUNCTION moderation_refuse_change();
DROP FUNCTION moderation_refuse_change_but_redaction();
"""


class Migration(migrations.Migration):
    dependencies = [("moderation", "0005_review_notes")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
