"""The ledger's operations, as the migrations up to 0027 leave them: balance, spend, reserve, grant, take back.

All of it runs inside the database, so that a spend is one round trip and holds its lock for as long as its own statements take.
Times come in from the caller: they are business time.
"""

# Each is one statement for the caller. It locks the wallet first and answers a key that it knows with the first answer. Refusals
# write nothing.
OPERATIONS = """
-- What a wallet's owner can spend at a moment, without writing: what is due by then counts as done.
CREATE FUNCTION credit_balance_of(w entitlements_creditwallet, p_at timestamptz) RETURNS jsonb LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_part record;
    v_held jsonb;
    v_daily bigint := credit_daily_due(w, p_at);
    v_back jsonb := jsonb_build_object('plan_daily', v_daily);
    v_reserved bigint;
    v_owed bigint := coalesce(credit_owed(w.id), 0);
    v_paid bigint;
BEGIN
    SELECT coalesce(jsonb_object_agg(kind, held), '{}') INTO v_held FROM (
        SELECT kind, sum(balance) AS held FROM entitlements_creditaccount
        WHERE wallet_id = w.id AND is_open AND (expires_at IS NULL OR expires_at > p_at) GROUP BY kind
    ) lots;
    SELECT coalesce(sum(amount), 0) INTO v_reserved FROM entitlements_creditreservation
    WHERE wallet_id = w.id AND state = 'open' AND expires_at > p_at;
    IF w.next_due_at <= p_at THEN
        FOR v_part IN
            SELECT p.part ->> 'kind' AS kind, (p.part ->> 'amount')::bigint AS amount,
                least((p.part ->> 'expires_at')::timestamptz, a.expires_at) AS ends
            FROM entitlements_creditreservation r, jsonb_array_elements(r.parts) WITH ORDINALITY p(part, place),
                entitlements_creditaccount a
            WHERE r.wallet_id = w.id AND r.state = 'open' AND r.expires_at <= p_at
                AND a.wallet_id = w.id AND a.kind = p.part ->> 'kind' AND a.lot = p.part ->> 'lot'
            ORDER BY r.expires_at, r.id, p.place
        LOOP
            CONTINUE WHEN v_part.ends <= p_at;
            v_paid := CASE WHEN v_part.kind IN ('bonus', 'purchased') THEN least(v_owed, v_part.amount) ELSE 0 END;
            v_owed := v_owed - v_paid;
            v_back := jsonb_set(
                v_back, ARRAY[v_part.kind], to_jsonb(coalesce((v_back ->> v_part.kind)::bigint, 0) + v_part.amount - v_paid)
            );
        END LOOP;
    END IF;
    RETURN (
        SELECT jsonb_build_object(
            'available', sum(b.held), 'reserved', v_reserved, 'debt', v_owed, 'buckets', jsonb_object_agg(b.kind, b.held)
        ) FROM (
            SELECT kind, coalesce((v_held ->> kind)::bigint, 0) + coalesce((v_back ->> kind)::bigint, 0) AS held
            FROM unnest(ARRAY['plan_daily', 'plan_periodic', 'bonus', 'purchased']) kind
        ) b
    );
END
$$;

-- The same by owner; somebody without a wallet has what a day gives.
CREATE FUNCTION credit_balance(p_project uuid, p_mode text, p_end_user uuid, p_at timestamptz) RETURNS jsonb
LANGUAGE plpgsql STABLE AS $$
DECLARE w entitlements_creditwallet;
BEGIN
    SELECT * INTO w FROM entitlements_creditwallet
    WHERE project_id = p_project AND mode = p_mode AND end_user_id = p_end_user;
    IF NOT FOUND THEN
        w.project_id := p_project;
        w.mode := p_mode;
        w.end_user_id := p_end_user;
    END IF;
    RETURN credit_balance_of(w, p_at);
END
$$;

CREATE FUNCTION credit_refusal(p_outcome text, p_required bigint, p_available bigint, p_details jsonb DEFAULT '{}')
RETURNS credit_answer LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN ROW(p_outcome, p_required, p_available, NULL, NULL, NULL, p_details, NULL, NULL)::credit_answer;
END
$$;

-- Make a wallet ready for taking an amount out: what is due is written down, unless even then there would be too little.
-- Returns what can be spent.
CREATE FUNCTION credit_prepare(w entitlements_creditwallet, p_required bigint, p_at timestamptz) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    v_daily bigint := credit_daily_due(w, p_at);
    v_available bigint;
BEGIN
    IF v_daily = 0 AND (w.next_due_at IS NULL OR w.next_due_at > p_at) THEN
        RETURN credit_held(w.id);
    END IF;
    v_available := (credit_balance_of(w, p_at) ->> 'available')::bigint;
    IF v_available >= p_required THEN
        PERFORM credit_settle(w, p_at, v_daily);
    END IF;
    RETURN v_available;
END
$$;

-- Whether taking this brings the credits that last below the project's threshold. Daily ones come back by themselves at midnight:
-- nobody is told of them.
CREATE FUNCTION credit_is_low(w entitlements_creditwallet, p_kinds text[], p_takes bigint[]) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_low_at bigint;
    v_before bigint;
    v_taken bigint := (
        SELECT coalesce(sum(t.amount), 0)::bigint FROM unnest(p_kinds, p_takes) t(kind, amount) WHERE t.kind <> 'plan_daily'
    );
BEGIN
    IF v_taken = 0 THEN
        RETURN false;
    END IF;
    v_low_at := coalesce((SELECT low_at FROM entitlements_creditpolicy WHERE project_id = w.project_id), 5);
    v_before := (
        SELECT coalesce(sum(balance), 0)::bigint FROM entitlements_creditaccount
        WHERE wallet_id = w.id AND is_open AND kind <> 'plan_daily'
    );
    RETURN v_before >= v_low_at AND v_before - v_taken < v_low_at;
END
$$;

-- Spend one or more amounts, all or none: [{"key", "amount", "description", "metadata"}]. One answer per amount.
CREATE FUNCTION credit_spend(
    p_project uuid, p_mode text, p_end_user uuid, p_items jsonb, p_fingerprint text, p_at timestamptz, p_actor text
) RETURNS SETOF credit_answer LANGUAGE plpgsql AS $$
DECLARE
    w entitlements_creditwallet := credit_lock_wallet(p_project, p_mode, p_end_user, p_at);
    v_first credit_answer := credit_replay(w, p_items -> 0 ->> 'key', p_fingerprint);
    v_required bigint;
    v_available bigint;
    v_amount bigint;
    v_item jsonb;
    v_take record;
BEGIN
    IF v_first.outcome = 'reused' THEN
        RETURN NEXT v_first;
        RETURN;
    ELSIF v_first.outcome = 'replayed' THEN
        RETURN QUERY SELECT a.* FROM jsonb_array_elements(p_items) i, credit_replay(w, i ->> 'key', p_fingerprint) a;
        RETURN;
    END IF;
    v_required := (SELECT sum((i ->> 'amount')::bigint) FROM jsonb_array_elements(p_items) i);
    v_available := credit_prepare(w, v_required, p_at);
    IF v_available < v_required THEN
        RETURN NEXT credit_refusal('insufficient', v_required, v_available);
        RETURN;
    END IF;
    FOR v_item IN SELECT i FROM jsonb_array_elements(p_items) i LOOP
        v_amount := (v_item ->> 'amount')::bigint;
        v_take := credit_take(w.id, v_amount, NULL, '');
        RETURN NEXT credit_post(
            w, 'spend', v_item ->> 'key', p_fingerprint, p_at, -v_amount, v_take.held - v_amount,
            v_take.kinds || 'spent'::text, v_take.lots || ''::text,
            ARRAY(SELECT -t FROM unnest(v_take.takes) t) || v_amount,
            '', p_actor, v_item ->> 'description', v_item -> 'metadata',
            jsonb_build_object('low', credit_is_low(w, v_take.kinds, v_take.takes))
        );
    END LOOP;
END
$$;

-- Set an amount aside until a moment.
CREATE FUNCTION credit_reserve(
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
CREATE FUNCTION credit_finish(
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

-- Give credits. Bonus and purchased ones settle what is owed first.
CREATE FUNCTION credit_grant(
    p_project uuid, p_mode text, p_end_user uuid, p_bucket text, p_amount bigint, p_key text, p_fingerprint text,
    p_expires timestamptz, p_source text, p_kind text, p_at timestamptz, p_actor text, p_description text
) RETURNS credit_answer LANGUAGE plpgsql AS $$
DECLARE
    w entitlements_creditwallet := credit_lock_wallet(p_project, p_mode, p_end_user, p_at);
    v_answer credit_answer := credit_replay(w, p_key, p_fingerprint);
    v_lot text := CASE WHEN p_source = '' THEN 'key:' || p_key ELSE 'from:' || p_source END
        || CASE WHEN p_expires IS NULL THEN '' ELSE '@' || extract(epoch FROM p_expires)::bigint END;
    v_settled bigint := 0;
BEGIN
    IF v_answer.outcome IS NOT NULL THEN
        RETURN v_answer;
    END IF;
    PERFORM credit_settle(w, p_at, 0);
    INSERT INTO entitlements_creditaccount
        (id, project_id, mode, wallet_id, kind, lot, source, expires_at, balance, entries_count, created_at)
    VALUES (credit_id(p_at, 0), w.project_id, w.mode, w.id, p_bucket, v_lot, p_source, p_expires, 0, 0, p_at)
    ON CONFLICT (wallet_id, kind, lot) DO NOTHING;
    IF p_bucket IN ('bonus', 'purchased') THEN
        v_settled := least(credit_owed(w.id), p_amount);
    END IF;
    UPDATE entitlements_creditwallet SET next_due_at = least(next_due_at, p_expires) WHERE id = w.id;
    RETURN credit_post(
        w, p_kind, p_key, p_fingerprint, p_at, p_amount - v_settled, credit_held(w.id) + p_amount - v_settled,
        ARRAY['issued', 'debt', p_bucket], ARRAY['', '', v_lot], ARRAY[-p_amount, v_settled, p_amount - v_settled],
        p_source, p_actor, p_description, '{}',
        jsonb_build_object('bucket', p_bucket, 'granted', p_amount, 'settled', v_settled, 'expires_at', p_expires)
    );
END
$$;

-- Take back what was given: what is left of its source first, then of its bucket. The rest is owed, or let go, as the project says.
CREATE FUNCTION credit_claw_back(
    p_project uuid, p_mode text, p_end_user uuid, p_bucket text, p_amount bigint, p_key text, p_fingerprint text,
    p_source text, p_at timestamptz, p_actor text, p_description text
) RETURNS credit_answer LANGUAGE plpgsql AS $$
DECLARE
    w entitlements_creditwallet := credit_lock_wallet(p_project, p_mode, p_end_user, p_at);
    v_answer credit_answer := credit_replay(w, p_key, p_fingerprint);
    v_take record;
    v_debt bigint := 0;
BEGIN
    IF v_answer.outcome IS NOT NULL THEN
        RETURN v_answer;
    END IF;
    PERFORM credit_settle(w, p_at, 0);
    v_take := credit_take(w.id, p_amount, p_bucket, p_source);
    IF coalesce((SELECT shortfall FROM entitlements_creditpolicy WHERE project_id = p_project), 'debt') = 'debt' THEN
        v_debt := p_amount - v_take.taken;
    END IF;
    RETURN credit_post(
        w, 'clawback', p_key, p_fingerprint, p_at, -v_take.taken, v_take.held - v_take.taken,
        v_take.kinds || ARRAY['debt', 'issued'], v_take.lots || ARRAY['', ''],
        ARRAY(SELECT -t FROM unnest(v_take.takes) t) || ARRAY[-v_debt, v_take.taken + v_debt],
        p_source, p_actor, p_description, '{}',
        jsonb_build_object('bucket', p_bucket, 'taken', v_take.taken, 'debt', v_debt,
            'let_go', p_amount - v_take.taken - v_debt)
    );
END
$$;

-- Take credits away by hand, in the order in which they would be spent; never more than there are.
CREATE FUNCTION credit_withdraw(
    p_project uuid, p_mode text, p_end_user uuid, p_amount bigint, p_key text, p_fingerprint text, p_at timestamptz,
    p_actor text, p_description text
) RETURNS credit_answer LANGUAGE plpgsql AS $$
DECLARE
    w entitlements_creditwallet := credit_lock_wallet(p_project, p_mode, p_end_user, p_at);
    v_answer credit_answer := credit_replay(w, p_key, p_fingerprint);
    v_available bigint;
    v_take record;
BEGIN
    IF v_answer.outcome IS NOT NULL THEN
        RETURN v_answer;
    END IF;
    v_available := credit_prepare(w, p_amount, p_at);
    IF v_available < p_amount THEN
        RETURN credit_refusal('insufficient', p_amount, v_available);
    END IF;
    v_take := credit_take(w.id, p_amount, NULL, '');
    RETURN credit_post(
        w, 'adjustment', p_key, p_fingerprint, p_at, -p_amount, v_take.held - p_amount,
        v_take.kinds || 'issued'::text, v_take.lots || ''::text,
        ARRAY(SELECT -t FROM unnest(v_take.takes) t) || p_amount, '', p_actor, p_description
    );
END
$$;

-- Let a bucket's credits expire now, also those that a reservation gives back later.
CREATE FUNCTION credit_end_bucket(p_project uuid, p_mode text, p_end_user uuid, p_bucket text, p_at timestamptz) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE w entitlements_creditwallet;
BEGIN
    SELECT * INTO w FROM entitlements_creditwallet
    WHERE project_id = p_project AND mode = p_mode AND end_user_id = p_end_user
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    UPDATE entitlements_creditaccount SET expires_at = p_at
    WHERE wallet_id = w.id AND kind = p_bucket AND (expires_at IS NULL OR expires_at > p_at);
    IF FOUND THEN
        w.next_due_at := p_at;
        PERFORM credit_settle(w, p_at, 0);
    END IF;
END
$$;

-- Write down what is due in one wallet.
CREATE FUNCTION credit_settle_wallet(p_wallet uuid, p_at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
DECLARE w entitlements_creditwallet;
BEGIN
    SELECT * INTO w FROM entitlements_creditwallet WHERE id = p_wallet FOR NO KEY UPDATE;
    IF FOUND THEN
        PERFORM credit_settle(w, p_at, 0);
    END IF;
END
$$;
"""
DROP_OPERATIONS = """
DROP FUNCTION credit_settle_wallet, credit_end_bucket, credit_withdraw, credit_claw_back, credit_grant, credit_finish,
    credit_reserve, credit_spend, credit_is_low, credit_prepare, credit_refusal, credit_balance, credit_balance_of;
"""
