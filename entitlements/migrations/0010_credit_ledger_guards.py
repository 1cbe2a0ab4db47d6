"""The ledger of credits cannot be changed afterwards, and no transaction in it fails to sum to zero, whoever writes."""

from django.db import migrations

FORWARD = """
CREATE FUNCTION credit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger of credits is append-only' USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER credit_entry_append_only BEFORE UPDATE OR DELETE ON entitlements_creditentry
    FOR EACH ROW EXECUTE FUNCTION credit_refuse_change();
CREATE TRIGGER credit_entry_no_truncate BEFORE TRUNCATE ON entitlements_creditentry
    FOR EACH STATEMENT EXECUTE FUNCTION credit_refuse_change();
CREATE TRIGGER credit_transaction_append_only BEFORE UPDATE OR DELETE ON entitlements_credittransaction
    FOR EACH ROW EXECUTE FUNCTION credit_refuse_change();
CREATE TRIGGER credit_transaction_no_truncate BEFORE TRUNCATE ON entitlements_credittransaction
    FOR EACH STATEMENT EXECUTE FUNCTION credit_refuse_change();

CREATE FUNCTION credit_check_zero_sum() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT sum(amount) FROM entitlements_creditentry WHERE transaction_id = NEW.transaction_id) <> 0 THEN
        RAISE EXCEPTION 'credit transaction % does not sum to zero', NEW.transaction_id USING ERRCODE = 'check_violation';
    END IF;
    RETURN NULL;
END
$$;
CREATE CONSTRAINT TRIGGER credit_entry_zero_sum AFTER INSERT ON entitlements_creditentry
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION credit_check_zero_sum();
"""
BACKWARD = """
DROP TRIGGER credit_entry_zero_sum ON entitlements_creditentry;
DROP FUNCTION credit_check_zero_sum();
DROP TRIGGER credit_transaction_no_truncate ON entitlements_credittransaction;
DROP TRIGGER credit_transaction_append_only ON entitlements_credittransaction;
DROP TRIGGER credit_entry_no_truncate ON entitlements_creditentry;
DROP TRIGGER credit_entry_append_only ON entitlements_creditentry;
DROP FUNCTION credit_refuse_change();
"""


class Migration(migrations.Migration):
    dependencies = [("entitlements", "0009_credit_ledger")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
