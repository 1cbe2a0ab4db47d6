"""One change to the ledger is let through: the app's own words on a transaction are emptied when its holder is anonymised.

Amounts, balances, kinds, numbers and times stay, in a transaction that says what it does; entries are never changed at all.
"""

from django.db import migrations

FORWARD = """
CREATE FUNCTION credit_refuse_change_but_redaction() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('payments.redacting', true) = 'on' THEN
        -- What may be redacted is made equal first; whatever differs then is refused.
        OLD.description := NEW.description;
        OLD.metadata := NEW.metadata;
        OLD.details := NEW.details;
        OLD.key := NEW.key;
        IF NEW IS NOT DISTINCT FROM OLD THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'the ledger of credits is append-only' USING ERRCODE = 'restrict_violation';
END
$$;
DROP TRIGGER credit_transaction_append_only ON entitlements_credittransaction;
CREATE TRIGGER credit_transaction_append_only BEFORE DELETE ON entitlements_credittransaction
    FOR EACH ROW EXECUTE FUNCTION credit_refuse_change();
CREATE TRIGGER credit_transaction_no_change BEFORE UPDATE ON entitlements_credittransaction
    FOR EACH ROW EXECUTE FUNCTION credit_refuse_change_but_redaction();
"""
BACKWARD = """
DROP TRIGGER credit_transaction_no_change ON entitlements_credittransaction;
DROP TRIGGER credit_transaction_append_only ON entitlements_credittransaction;
CREATE TRIGGER credit_transaction_append_only BEFORE UPDATE OR DELETE ON entitlements_credittransaction
    FOR EACH ROW EXECUTE FUNCTION credit_refuse_change();
DROP FUNCTION credit_refuse_change_but_redaction();
"""


class Migration(migrations.Migration):
    dependencies = [("entitlements", "0024_folded_usage")]

    operations = [migrations.RunSQL(FORWARD, BACKWARD)]
