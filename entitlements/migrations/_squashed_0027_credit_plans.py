"""What plans give and end of credits, as the migrations up to 0027 leave them.

All of it runs inside the database, so that a spend is one round trip and holds its lock for as long as its own statements take.
Times come in from the caller: they are business time.
"""

# A period's credits that ended before their time come back when the same period holds again: as many as the ending took.
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

# A smaller plan within a day ends what it does not give of the day's credits; with the larger one what was ended comes back.
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
DROP_FOLLOW_DAILY = "DROP FUNCTION credit_follow_daily;"

# Another plan within a paid period: a larger one gives the difference once, a smaller one ends what it does not give.
FOLLOW_PERIOD = """
-- How much of a lot has gone without being spent and can come back: what expired out of it, and what reservations would have given
-- back to it meanwhile, less what was given back before. Nothing has to be remembered for it.
CREATE FUNCTION credit_gone(a entitlements_creditaccount) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_gone bigint;
    v_unspent bigint;
BEGIN
    SELECT coalesce(-sum(e.amount) FILTER (WHERE t.kind = 'expire' OR t.details ? 'gives_back'), 0)
            - coalesce(sum(e.amount) FILTER (WHERE t.kind IN ('commit', 'release', 'reservation_expired')), 0)
    INTO v_gone
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
    RETURN v_gone + v_unspent;
END
$$;

-- Put credits into a lot of the plan's period, out of `p_from` ('issued', or 'expired' for what had gone).
CREATE FUNCTION credit_put_in_lot(
    w entitlements_creditwallet, a entitlements_creditaccount, p_from text, p_amount bigint, p_key text, p_fingerprint text,
    p_at timestamptz, p_description text, p_details jsonb
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE entitlements_creditwallet SET next_due_at = least(next_due_at, a.expires_at) WHERE id = w.id;
    PERFORM credit_post(
        w, 'grant', p_key, p_fingerprint, p_at, p_amount, credit_held(w.id) + p_amount,
        ARRAY[p_from, a.kind::text], ARRAY['', a.lot::text], ARRAY[-p_amount, p_amount], a.source, 'system', p_description, '{}',
        jsonb_build_object('bucket', a.kind, 'granted', p_amount, 'settled', 0, 'expires_at', a.expires_at) || p_details
    );
END
$$;

-- Bring the credits of one period in line with the plan that holds in it. The period is known by its key; '' = none is paid for.
-- The first grant stands, as each plan's share does: what is given altogether is what the largest plan gave that held in it.
CREATE FUNCTION credit_follow_period(
    p_project uuid, p_mode text, p_end_user uuid, p_plan uuid, p_amount bigint, p_key text, p_fingerprint text,
    p_expires timestamptz, p_source text, p_at timestamptz, p_description text
) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    w entitlements_creditwallet;
    a entitlements_creditaccount;
    t entitlements_credittransaction;
    v_first entitlements_credittransaction;
    v_lot text := 'from:' || p_source || CASE WHEN p_expires IS NULL THEN '' ELSE '@' || extract(epoch FROM p_expires)::bigint END;
    v_number bigint := 1;
    v_granted bigint;
    v_share bigint;
    v_more bigint;
    v_follow text;
BEGIN
    IF p_key <> '' AND p_amount > 0 AND coalesce(p_expires > p_at, true) THEN
        w := credit_lock_wallet(p_project, p_mode, p_end_user, p_at);
    ELSE
        SELECT * INTO w FROM entitlements_creditwallet
        WHERE project_id = p_project AND mode = p_mode AND end_user_id = p_end_user
        FOR NO KEY UPDATE;
        IF NOT FOUND THEN
            RETURN;
        END IF;
    END IF;
    -- A plan that was given by hand and taken back leaves nothing.
    UPDATE entitlements_creditaccount SET expires_at = p_at
    WHERE wallet_id = w.id AND kind = 'plan_periodic' AND source = 'hand' AND p_source <> 'hand' AND expires_at > p_at;
    IF FOUND THEN
        w.next_due_at := p_at;
    END IF;
    PERFORM credit_settle(w, p_at, 0);
    IF p_key = '' OR p_expires <= p_at THEN
        RETURN;
    END IF;
    SELECT * INTO v_first FROM entitlements_credittransaction
    WHERE project_id = w.project_id AND mode = w.mode AND key = p_key;
    IF NOT FOUND THEN
        IF p_amount > 0 THEN
            INSERT INTO entitlements_creditaccount
                (id, project_id, mode, wallet_id, kind, lot, source, expires_at, balance, entries_count, created_at)
            VALUES (
                credit_id(p_at, 0), w.project_id, w.mode, w.id, 'plan_periodic', v_lot, p_source, p_expires, 0, 0, p_at
            ) ON CONFLICT (wallet_id, kind, lot) DO NOTHING;
            SELECT * INTO a FROM entitlements_creditaccount WHERE wallet_id = w.id AND kind = 'plan_periodic' AND lot = v_lot;
            PERFORM credit_put_in_lot(
                w, a, 'issued', p_amount, p_key, p_fingerprint, p_at, p_description, jsonb_build_object('plan', p_plan)
            );
        END IF;
        RETURN;
    END IF;
    IF p_amount > 0 THEN
        PERFORM credit_give_back(
            w, v_first.id, 'plan_periodic', p_key, (v_first.details ->> 'expires_at')::timestamptz, p_at, 'system', p_description
        );
    END IF;
    SELECT lot.* INTO a FROM entitlements_creditentry e JOIN entitlements_creditaccount lot ON lot.id = e.account_id
    WHERE e.transaction_id = v_first.id AND lot.kind = 'plan_periodic' AND lot.wallet_id = w.id;
    -- A price that is on no plan takes nothing and gives nothing.
    IF NOT FOUND OR a.expires_at <= p_at OR p_plan IS NULL THEN
        RETURN;
    END IF;
    v_granted := (v_first.details ->> 'granted')::bigint;
    -- Grants of before tell the plan's name only.
    IF coalesce(v_first.details ->> 'plan' = p_plan::text, v_first.description = p_description) THEN
        v_share := v_granted;
    END IF;
    LOOP
        SELECT * INTO t FROM entitlements_credittransaction
        WHERE project_id = w.project_id AND mode = w.mode AND key = p_key || ':more:' || v_number;
        EXIT WHEN NOT FOUND;
        v_granted := v_granted + (t.details ->> 'granted')::bigint;
        IF t.details ->> 'plan' = p_plan::text THEN
            v_share := v_granted;
        END IF;
        v_number := v_number + 1;
    END LOOP;
    v_share := coalesce(v_share, p_amount);
    v_more := least(v_share, v_granted) - (v_granted - credit_gone(a));
    SELECT 'period:' || w.id || ':followed:' || transactions_count INTO v_follow FROM entitlements_creditwallet WHERE id = w.id;
    IF v_more > 0 THEN
        PERFORM credit_put_in_lot(
            w, a, 'expired', v_more, v_follow, '', p_at, p_description, jsonb_build_object('gives_back', v_first.id)
        );
    ELSIF v_more < 0 THEN
        -- Only what is unspent can end.
        SELECT least(balance, -v_more) INTO v_more FROM entitlements_creditaccount WHERE id = a.id;
        IF v_more > 0 THEN
            PERFORM credit_post(
                w, 'expire', v_follow, '', p_at, -v_more, credit_held(w.id) - v_more,
                ARRAY[a.kind::text, 'expired'], ARRAY[a.lot::text, ''], ARRAY[-v_more, v_more]
            );
        END IF;
    END IF;
    IF v_share > v_granted THEN
        PERFORM credit_put_in_lot(
            w, a, 'issued', v_share - v_granted, p_key || ':more:' || v_number, p_fingerprint, p_at, p_description,
            jsonb_build_object('plan', p_plan)
        );
    END IF;
END
$$;
"""
DROP_FOLLOW_PERIOD = "DROP FUNCTION credit_follow_period, credit_put_in_lot, credit_gone;"
