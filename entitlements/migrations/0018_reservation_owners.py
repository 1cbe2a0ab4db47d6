"""An end user finishes the reservations that were made with their own token; a server finishes all."""

from django.db import migrations, models

# Those that are open know it from the transaction that made them.
OWNERS = """
UPDATE entitlements_creditreservation r SET actor = t.actor FROM entitlements_credittransaction t
WHERE r.state = 'open' AND t.wallet_id = r.wallet_id AND t.kind = 'reserve' AND t.created_at = r.created_at
    AND t.details ->> 'reservation_id' = r.id::text;
"""
OPERATIONS = """
-- Set an amount aside until a moment.
CREATE OR REPLACE FUNCTION credit_reserve(
    p_project uuid, p_mode text, p_end_user uuid, p_amount bigint, p_key text, p_fingerprint text, p_until timestamptz,
    p_at timestamptz, p_actor text, p_description text, p_metadata jsonb
) RETURNS credit_answer LANGUAGE plpgsql AS $$
DECLARE
    w entitlements_creditwallet := credit_lock_wallet(p_project, p_mode, p_end_user, p_at);
    v_answer credit_answer := credit_replay(w, p_key, p_fingerprint);
    v_available bigint;
    v_take record;
    v_reservation uuid;
BEGIN
    IF v_answer.outcome IS NOT NULL THEN
        RETURN v_answer;
    END IF;
    v_available := credit_prepare(w, p_amount, p_at);
    IF v_available < p_amount THEN
        RETURN credit_refusal('insufficient', p_amount, v_available);
    END IF;
    v_take := credit_take(w.id, p_amount, NULL, '');
    v_reservation := credit_id(p_at, 0);
    INSERT INTO entitlements_creditreservation
        (id, project_id, mode, wallet_id, actor, parts, amount, committed, state, expires_at, created_at)
    SELECT v_reservation, w.project_id, w.mode, w.id, p_actor, jsonb_agg(
            jsonb_build_object('kind', kind, 'lot', lot, 'amount', amount, 'expires_at', ends) ORDER BY place
        ), p_amount, 0, 'open', p_until, p_at
    FROM unnest(v_take.kinds, v_take.lots, v_take.takes, v_take.ends) WITH ORDINALITY p(kind, lot, amount, ends, place);
    UPDATE entitlements_creditwallet SET next_due_at = least(next_due_at, p_until) WHERE id = w.id;
    RETURN credit_post(
        w, 'reserve', p_key, p_fingerprint, p_at, -p_amount, v_take.held - p_amount,
        v_take.kinds || 'reserved'::text, v_take.lots || ''::text,
        ARRAY(SELECT -t FROM unnest(v_take.takes) t) || p_amount, '', p_actor, p_description, p_metadata,
        jsonb_build_object('reservation_id', v_reservation, 'expires_at', p_until, 'reserved', p_amount,
            'low', credit_is_low(w, v_take.kinds, v_take.takes))
    );
END
$$;

-- Spend a reservation or a part of it (null = all of it), or with 0 give it back. For an end user, what somebody else set aside is
-- not there.
CREATE OR REPLACE FUNCTION credit_finish(
    p_project uuid, p_mode text, p_end_user uuid, p_reservation uuid, p_amount bigint, p_key text, p_fingerprint text,
    p_at timestamptz, p_actor text, p_description text, p_metadata jsonb
) RETURNS credit_answer LANGUAGE plpgsql AS $$
DECLARE
    w entitlements_creditwallet := credit_lock_wallet(p_project, p_mode, p_end_user, p_at);
    v_answer credit_answer := credit_replay(w, p_key, p_fingerprint);
    r entitlements_creditreservation;
    v_used bigint;
BEGIN
    IF v_answer.outcome IS NOT NULL THEN
        RETURN v_answer;
    END IF;
    SELECT * INTO r FROM entitlements_creditreservation
    WHERE id = p_reservation AND wallet_id = w.id AND (p_actor <> 'end_user' OR actor = 'end_user');
    IF NOT FOUND THEN
        RETURN credit_refusal('not_found', NULL, NULL);
    END IF;
    IF r.state = 'open' AND r.expires_at <= p_at THEN
        PERFORM credit_settle(w, p_at, 0);
        RETURN credit_refusal('closed', r.amount, NULL, jsonb_build_object('state', 'expired'));
    ELSIF r.state <> 'open' THEN
        RETURN credit_refusal('closed', r.amount, NULL, jsonb_build_object('state', r.state));
    END IF;
    v_used := coalesce(p_amount, r.amount);
    IF v_used > r.amount THEN
        RETURN credit_refusal('too_much', v_used, r.amount);
    END IF;
    PERFORM credit_settle(w, p_at, 0);
    RETURN credit_close(
        w, r, v_used, CASE WHEN v_used > 0 THEN 'committed' ELSE 'released' END,
        CASE WHEN v_used > 0 THEN 'commit' ELSE 'release' END, p_key, p_fingerprint, p_at, p_actor, p_description, p_metadata
    );
END
$$;
"""
# What the functions were before, for going back.
OPERATIONS_BEFORE = (
    OPERATIONS.replace("wallet_id, actor, parts", "wallet_id, parts")
    .replace("w.id, p_actor, jsonb_agg", "w.id, jsonb_agg")
    .replace(" AND (p_actor <> 'end_user' OR actor = 'end_user')", "")
)


class Migration(migrations.Migration):
    dependencies = [("entitlements", "0017_usage_settled")]

    operations = [
        migrations.AddField(
            model_name="creditreservation",
            name="actor",
            field=models.CharField(blank=True, db_default="", default="", max_length=255),
        ),
        migrations.RunSQL(OPERATIONS, OPERATIONS_BEFORE),
        migrations.RunSQL(OWNERS, migrations.RunSQL.noop),
    ]
