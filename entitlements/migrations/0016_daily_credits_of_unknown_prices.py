"""Somebody whose price is on no plan has at least what everybody has: the free plan's daily credits, as its other limits."""

from django.db import migrations

DAILY_AMOUNT = """
-- What somebody's plan gives per day: the plan that holds, else the project's free plan, also for a price that is on no plan.
CREATE OR REPLACE FUNCTION credit_daily_amount(p_project uuid, p_mode text, p_end_user uuid, p_at timestamptz) RETURNS bigint
LANGUAGE plpgsql STABLE AS $$
DECLARE v_amount bigint;
BEGIN
    SELECT p.credits_per_day INTO v_amount
    FROM entitlements_entitlement e JOIN entitlements_plan p ON p.id = e.plan_id
    WHERE e.project_id = p_project AND e.mode = p_mode AND e.end_user_id = p_end_user
        AND e.active AND (e.active_until IS NULL OR p_at < e.active_until);
    IF NOT FOUND THEN
        SELECT credits_per_day INTO v_amount FROM entitlements_plan
        WHERE project_id = p_project AND free AND NOT archived ORDER BY rank, code LIMIT 1;
    END IF;
    RETURN coalesce(v_amount, 0);
END
$$;
"""


class Migration(migrations.Migration):
    dependencies = [("entitlements", "0015_credit_account_sign")]

    operations = [migrations.RunSQL(DAILY_AMOUNT, migrations.RunSQL.noop)]
