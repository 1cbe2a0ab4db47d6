"""A smaller plan within a day ends what it does not give of the day's credits; with the larger one what was ended comes back."""

from django.db import migrations

FOLLOW_DAILY = """
-- Bring what is left of the day's credits in line with the plan that holds now. What was given for the day stays noted as given, so
-- that nothing is given twice; what was ended is what these transactions of the day come to.
CREATE FUNCTION credit_follow_daily(p_project uuid, p_mode text, p_end_user uuid, p_at timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    w entitlements_creditwallet;
    v_day date := (p_at AT TIME ZONE 'UTC')::date;
    v_midnight timestamptz := (v_day + 1)::timestamp AT TIME ZONE 'UTC';
    v_key text;
    v_number bigint := 1;
    v_step bigint;
    v_ended bigint := 0;
    v_more bigint;
BEGIN
    SELECT * INTO w FROM entitlements_creditwallet
    WHERE project_id = p_project AND mode = p_mode AND end_user_id = p_end_user
    FOR NO KEY UPDATE;
    IF NOT FOUND OR w.daily_on IS DISTINCT FROM v_day THEN
        RETURN;
    END IF;
    v_key := 'daily:' || w.end_user_id || ':' || v_day || ':followed:';
    LOOP
        SELECT amount INTO v_step FROM entitlements_credittransaction
        WHERE project_id = w.project_id AND mode = w.mode AND key = v_key || v_number;
        EXIT WHEN NOT FOUND;
        v_ended := v_ended - v_step;
        v_number := v_number + 1;
    END LOOP;
    v_more := least(w.daily_granted, credit_daily_amount(w.project_id, w.mode, w.end_user_id, p_at))
        - (w.daily_granted - v_ended);
    IF v_more > 0 THEN
        PERFORM credit_post(
            w, 'grant', v_key || v_number, '', p_at, v_more, credit_held(w.id) + v_more,
            ARRAY['expired', 'plan_daily'], ARRAY['', ''], ARRAY[-v_more, v_more], '', '', '', '{}',
            jsonb_build_object('bucket', 'plan_daily', 'granted', v_more, 'settled', 0, 'expires_at', v_midnight)
        );
        UPDATE entitlements_creditwallet SET next_due_at = least(next_due_at, v_midnight) WHERE id = w.id;
        RETURN;
    END IF;
    -- Only what is unspent can end.
    SELECT least(balance, -v_more) INTO v_step FROM entitlements_creditaccount
    WHERE wallet_id = w.id AND kind = 'plan_daily' AND lot = '' AND expires_at > p_at;
    IF v_step > 0 THEN
        PERFORM credit_post(
            w, 'expire', v_key || v_number, '', p_at, -v_step, credit_held(w.id) - v_step,
            ARRAY['plan_daily', 'expired'], ARRAY['', ''], ARRAY[-v_step, v_step]
        );
        UPDATE entitlements_creditwallet SET next_due_at = least(
            (SELECT min(expires_at) FROM entitlements_creditaccount WHERE wallet_id = w.id AND is_open),
            (SELECT min(expires_at) FROM entitlements_creditreservation WHERE wallet_id = w.id AND state = 'open')
        ) WHERE id = w.id;
    END IF;
END
$$;
"""


class Migration(migrations.Migration):
    dependencies = [("entitlements", "0021_credits_given_back")]

    operations = [migrations.RunSQL(FOLLOW_DAILY, "DROP FUNCTION credit_follow_daily")]
