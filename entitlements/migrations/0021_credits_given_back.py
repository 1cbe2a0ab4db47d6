"""A period's credits that ended before their time come back when the same period holds again: as many as the ending took.

What the ending took follows from the ledger itself: what expired out of the period's lot, and what reservations would have given
back to it meanwhile, less what was given back before. Nothing more has to be remembered, also for what ended before this migration.
"""

from django.db import migrations

GIVE_BACK = """
-- Reopen the lot of a grant that was ended before its time, and give back what has expired out of it since.
CREATE FUNCTION credit_give_back(
    w entitlements_creditwallet, p_grant uuid, p_bucket text, p_key text, p_end timestamptz, p_at timestamptz, p_actor text,
    p_description text
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    a entitlements_creditaccount;
    v_gone bigint;
    v_times bigint;
    v_unspent bigint;
BEGIN
    SELECT lot.* INTO a FROM entitlements_creditentry e JOIN entitlements_creditaccount lot ON lot.id = e.account_id
    WHERE e.transaction_id = p_grant AND lot.kind = p_bucket;
    IF NOT FOUND OR p_end <= p_at OR coalesce(a.expires_at, 'infinity') >= coalesce(p_end, 'infinity') THEN
        RETURN;
    END IF;
    PERFORM credit_settle(w, p_at, 0);
    SELECT coalesce(-sum(e.amount) FILTER (WHERE t.kind = 'expire' OR t.details ? 'gives_back'), 0)
            - coalesce(sum(e.amount) FILTER (WHERE t.kind IN ('commit', 'release', 'reservation_expired')), 0),
        count(*) FILTER (WHERE t.details ? 'gives_back')
    INTO v_gone, v_times
    FROM entitlements_creditentry e JOIN entitlements_credittransaction t ON t.id = e.transaction_id
    WHERE e.account_id = a.id;
    -- What the closed reservations did not spend of this lot. Those that are open give theirs back by themselves.
    SELECT coalesce(sum(p.amount - least(p.amount, greatest(p.committed - p.before, 0))), 0) INTO v_unspent
    FROM (
        SELECT r.committed, (part.one ->> 'amount')::bigint AS amount,
            part.one ->> 'kind' = a.kind AND part.one ->> 'lot' = a.lot AS is_ours,
            coalesce(sum((part.one ->> 'amount')::bigint) OVER (
                PARTITION BY r.id ORDER BY part.place ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ), 0) AS before
        FROM entitlements_creditentry e
            JOIN entitlements_credittransaction t ON t.id = e.transaction_id AND t.kind = 'reserve'
            JOIN entitlements_creditreservation r
                ON r.id = (t.details ->> 'reservation_id')::uuid AND r.state <> 'open',
            jsonb_array_elements(r.parts) WITH ORDINALITY part(one, place)
        WHERE e.account_id = a.id
    ) p WHERE p.is_ours;
    v_gone := v_gone + v_unspent;
    UPDATE entitlements_creditaccount SET expires_at = p_end WHERE id = a.id;
    UPDATE entitlements_creditwallet SET next_due_at = least(next_due_at, p_end) WHERE id = w.id;
    IF v_gone > 0 THEN
        PERFORM credit_post(
            w, 'grant', p_key || ':back:' || v_times + 1, '', p_at, v_gone, credit_held(w.id) + v_gone,
            ARRAY['expired', p_bucket], ARRAY['', a.lot], ARRAY[-v_gone, v_gone], a.source, p_actor, p_description, '{}',
            jsonb_build_object('bucket', p_bucket, 'granted', v_gone, 'settled', 0, 'expires_at', p_end, 'gives_back', p_grant)
        );
    END IF;
END
$$;

-- Give a period's credits, or, when they were given before and ended since, give back what the ending took.
CREATE FUNCTION credit_grant_period(
    p_project uuid, p_mode text, p_end_user uuid, p_bucket text, p_amount bigint, p_key text, p_fingerprint text,
    p_expires timestamptz, p_source text, p_kind text, p_at timestamptz, p_actor text, p_description text
) RETURNS credit_answer LANGUAGE plpgsql AS $$
DECLARE
    v_answer credit_answer := credit_grant(
        p_project, p_mode, p_end_user, p_bucket, p_amount, p_key, p_fingerprint, p_expires, p_source, p_kind, p_at, p_actor,
        p_description
    );
BEGIN
    IF v_answer.outcome = 'replayed' THEN
        PERFORM credit_give_back(
            credit_lock_wallet(p_project, p_mode, p_end_user, p_at), v_answer.transaction_id, p_bucket, p_key,
            (v_answer.details ->> 'expires_at')::timestamptz, p_at, p_actor, p_description
        );
    END IF;
    RETURN v_answer;
END
$$;
"""
DROP_GIVE_BACK = "DROP FUNCTION credit_grant_period, credit_give_back;"


class Migration(migrations.Migration):
    dependencies = [("entitlements", "0020_smaller_plans_and_pack_codes")]

    operations = [migrations.RunSQL(GIVE_BACK, DROP_GIVE_BACK)]
