"""The ledger's guards and functions, as the migrations up to 0027 leave them.

All of it runs inside the database, so that a spend is one round trip and holds its lock for as long as its own statements take.
Times come in from the caller: they are business time.
"""

# Nothing in the ledger is changed afterwards, and no transaction in it fails to sum to zero, whoever writes.
GUARDS = """
CREATE FUNCTION credit_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger of credits is append-only' USING ERRCODE = 'restrict_violation';
END
$$;
-- One change is let through: the app's own words on a transaction are emptied when its holder is anonymised.
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
CREATE TRIGGER credit_entry_append_only BEFORE UPDATE OR DELETE ON entitlements_creditentry
    FOR EACH ROW EXECUTE FUNCTION credit_refuse_change();
CREATE TRIGGER credit_entry_no_truncate BEFORE TRUNCATE ON entitlements_creditentry
    FOR EACH STATEMENT EXECUTE FUNCTION credit_refuse_change();
CREATE TRIGGER credit_transaction_append_only BEFORE DELETE ON entitlements_credittransaction
    FOR EACH ROW EXECUTE FUNCTION credit_refuse_change();
CREATE TRIGGER credit_transaction_no_change BEFORE UPDATE ON entitlements_credittransaction
    FOR EACH ROW EXECUTE FUNCTION credit_refuse_change_but_redaction();
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
DROP_GUARDS = """
DROP TRIGGER credit_entry_zero_sum ON entitlements_creditentry;
DROP FUNCTION credit_check_zero_sum();
DROP TRIGGER credit_transaction_no_truncate ON entitlements_credittransaction;
DROP TRIGGER credit_transaction_no_change ON entitlements_credittransaction;
DROP TRIGGER credit_transaction_append_only ON entitlements_credittransaction;
DROP TRIGGER credit_entry_no_truncate ON entitlements_creditentry;
DROP TRIGGER credit_entry_append_only ON entitlements_creditentry;
DROP FUNCTION credit_refuse_change_but_redaction();
DROP FUNCTION credit_refuse_change();
"""

# What operations are made of: the wallet's lock, posting, choosing lots, what expires, and the daily credits.
BASIS = """
CREATE TYPE credit_answer AS (
    outcome text, required bigint, available bigint, transaction_id uuid, key text, amount bigint, details jsonb,
    created_at timestamptz, number bigint
);

-- A time-ordered id (UUID version 7); transactions of the same millisecond are in the order of their numbers.
CREATE FUNCTION credit_id(p_at timestamptz, p_number bigint) RETURNS uuid LANGUAGE sql AS $$
    SELECT (lpad(to_hex((extract(epoch FROM p_at) * 1000)::bigint), 12, '0') || '7' || lpad(to_hex(p_number & 4095), 3, '0')
        || substr(replace(gen_random_uuid()::text, '-', ''), 17))::uuid
$$;

-- What somebody's plan gives per day: the plan that holds, else the project's free plan, also for a price that is on no plan.
CREATE FUNCTION credit_daily_amount(p_project uuid, p_mode text, p_end_user uuid, p_at timestamptz) RETURNS bigint
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

-- What is still to be given for the day: all of it once, and after a change to a better plan the difference.
CREATE FUNCTION credit_daily_due(w entitlements_creditwallet, p_at timestamptz) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_day date := (p_at AT TIME ZONE 'UTC')::date;
    v_amount bigint := credit_daily_amount(w.project_id, w.mode, w.end_user_id, p_at);
BEGIN
    IF w.daily_on IS NULL OR w.daily_on < v_day THEN
        RETURN v_amount;
    END IF;
    RETURN CASE WHEN w.daily_on = v_day THEN greatest(v_amount - w.daily_granted, 0) ELSE 0 END;
END
$$;

-- Return the wallet, locked; the first caller makes it with its accounts.
CREATE FUNCTION credit_lock_wallet(p_project uuid, p_mode text, p_end_user uuid, p_at timestamptz)
RETURNS entitlements_creditwallet LANGUAGE plpgsql AS $$
DECLARE w entitlements_creditwallet;
BEGIN
    SELECT * INTO w FROM entitlements_creditwallet
    WHERE project_id = p_project AND mode = p_mode AND end_user_id = p_end_user
    FOR NO KEY UPDATE;
    IF FOUND THEN
        RETURN w;
    END IF;
    INSERT INTO entitlements_creditwallet (id, project_id, mode, end_user_id, transactions_count, daily_granted, created_at)
    SELECT credit_id(p_at, 0), u.project_id, p_mode, u.id, 0, 0, p_at FROM projects_enduser u
    WHERE u.id = p_end_user AND u.project_id = p_project
    ON CONFLICT DO NOTHING;
    SELECT * INTO w FROM entitlements_creditwallet
    WHERE project_id = p_project AND mode = p_mode AND end_user_id = p_end_user
    FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'no such end user in this project' USING ERRCODE = 'foreign_key_violation';
    END IF;
    INSERT INTO entitlements_creditaccount
        (id, project_id, mode, wallet_id, kind, lot, source, balance, entries_count, created_at)
    SELECT credit_id(p_at, 0), w.project_id, w.mode, w.id, kind, '', '', 0, 0, p_at
    FROM unnest(ARRAY['reserved', 'issued', 'spent', 'expired', 'debt']) kind
    ON CONFLICT DO NOTHING;
    RETURN w;
END
$$;

CREATE FUNCTION credit_answer_of(t entitlements_credittransaction, p_outcome text) RETURNS credit_answer
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN ROW(
        p_outcome, abs(t.amount), t.available_after, t.id, t.key, t.amount, t.details, t.created_at, t.number
    )::credit_answer;
END
$$;

-- Return the first answer to a key, or nothing when the key is new. Another request with it is told so.
CREATE FUNCTION credit_replay(w entitlements_creditwallet, p_key text, p_fingerprint text) RETURNS credit_answer
LANGUAGE plpgsql STABLE AS $$
DECLARE t entitlements_credittransaction;
BEGIN
    SELECT * INTO t FROM entitlements_credittransaction WHERE project_id = w.project_id AND mode = w.mode AND key = p_key;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    RETURN credit_answer_of(
        t, CASE WHEN t.wallet_id = w.id AND t.fingerprint = p_fingerprint THEN 'replayed' ELSE 'reused' END
    );
END
$$;

-- Write one transaction and its entries, and move the accounts' balances by them.
CREATE FUNCTION credit_post(
    w entitlements_creditwallet, p_kind text, p_key text, p_fingerprint text, p_at timestamptz, p_amount bigint,
    p_available bigint, p_kinds text[], p_lots text[], p_deltas bigint[], p_source text DEFAULT '', p_actor text DEFAULT '',
    p_description text DEFAULT '', p_metadata jsonb DEFAULT '{}', p_details jsonb DEFAULT '{}'
) RETURNS credit_answer LANGUAGE plpgsql AS $$
DECLARE
    v_number bigint;
    t entitlements_credittransaction;
BEGIN
    UPDATE entitlements_creditwallet SET transactions_count = transactions_count + 1 WHERE id = w.id
    RETURNING transactions_count INTO v_number;
    INSERT INTO entitlements_credittransaction (
        id, project_id, mode, wallet_id, number, kind, key, fingerprint, amount, available_after, source, actor, description,
        metadata, details, created_at
    ) VALUES (
        credit_id(p_at, v_number), w.project_id, w.mode, w.id, v_number, p_kind, p_key, p_fingerprint, p_amount,
        p_available, p_source, p_actor, p_description, p_metadata, p_details, p_at
    ) RETURNING * INTO t;
    WITH delta AS (
        SELECT d.kind, d.lot, sum(d.amount)::bigint AS amount FROM unnest(p_kinds, p_lots, p_deltas) d(kind, lot, amount)
        GROUP BY d.kind, d.lot HAVING sum(d.amount) <> 0
    ), moved AS (
        UPDATE entitlements_creditaccount a
        SET balance = a.balance + d.amount, entries_count = a.entries_count + 1
        FROM delta d WHERE a.wallet_id = w.id AND a.kind = d.kind AND a.lot = d.lot
        RETURNING a.id, a.entries_count, a.balance, d.amount
    )
    INSERT INTO entitlements_creditentry (project_id, mode, transaction_id, account_id, number, amount, balance_after)
    SELECT w.project_id, w.mode, t.id, m.id, m.entries_count, m.amount, m.balance FROM moved m;
    RETURN credit_answer_of(t, 'done');
END
$$;

-- What a wallet's lots hold together.
CREATE FUNCTION credit_held(p_wallet uuid) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT coalesce(sum(balance), 0)::bigint FROM entitlements_creditaccount WHERE wallet_id = p_wallet AND is_open);
END
$$;

CREATE FUNCTION credit_owed(p_wallet uuid) RETURNS bigint LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN (SELECT -balance FROM entitlements_creditaccount WHERE wallet_id = p_wallet AND kind = 'debt' AND lot = '');
END
$$;

-- Choose the lots that an amount comes from: what brought `p_source` first, then what expires soonest, then by bucket and age.
-- With a bucket nothing else is touched. `held` is what all lots hold together.
CREATE FUNCTION credit_take(
    p_wallet uuid, p_amount bigint, p_bucket text, p_source text,
    OUT kinds text[], OUT lots text[], OUT takes bigint[], OUT ends timestamptz[], OUT held bigint, OUT taken bigint
) LANGUAGE plpgsql STABLE AS $$
BEGIN
    SELECT array_agg(c.kind::text ORDER BY c.place) FILTER (WHERE c.take > 0),
        array_agg(c.lot::text ORDER BY c.place) FILTER (WHERE c.take > 0),
        array_agg(c.take ORDER BY c.place) FILTER (WHERE c.take > 0),
        array_agg(c.expires_at ORDER BY c.place) FILTER (WHERE c.take > 0),
        coalesce(sum(c.balance), 0)::bigint, coalesce(sum(c.take) FILTER (WHERE c.take > 0), 0)::bigint
    INTO kinds, lots, takes, ends, held, taken
    FROM (
        SELECT a.kind, a.lot, a.balance, a.expires_at, row_number() OVER spend AS place,
            CASE WHEN p_bucket IS NULL OR a.kind = p_bucket
                THEN least(a.balance, p_amount - (sum(a.balance) OVER spend)::bigint + a.balance) ELSE 0 END AS take
        FROM entitlements_creditaccount a WHERE a.wallet_id = p_wallet AND a.is_open
        WINDOW spend AS (
            PARTITION BY p_bucket IS NULL OR a.kind = p_bucket
            ORDER BY p_source <> '' AND a.source = p_source DESC, a.expires_at NULLS LAST,
                array_position(ARRAY['plan_daily', 'plan_periodic', 'bonus', 'purchased'], a.kind::text), a.created_at, a.id
        )
    ) c;
END
$$;

-- End a reservation: so much of it is spent, and the rest goes back to where it came from, unless that has expired meanwhile.
-- Bonus and purchased credits that come back settle what is owed first.
CREATE FUNCTION credit_close(
    w entitlements_creditwallet, r entitlements_creditreservation, p_used bigint, p_state text, p_kind text, p_key text,
    p_fingerprint text, p_at timestamptz, p_actor text DEFAULT '', p_description text DEFAULT '', p_metadata jsonb DEFAULT '{}'
) RETURNS credit_answer LANGUAGE plpgsql AS $$
DECLARE
    v_part record;
    v_left bigint := p_used;
    v_rest bigint;
    v_paid bigint;
    v_owed bigint := credit_owed(w.id);
    v_settled bigint := 0;
    v_expired bigint := 0;
    v_back bigint := 0;
    v_soonest timestamptz;
    v_kinds text[] := ARRAY['reserved', 'spent'];
    v_lots text[] := ARRAY['', ''];
    v_deltas bigint[] := ARRAY[-r.amount, p_used];
BEGIN
    FOR v_part IN
        SELECT p.part ->> 'kind' AS kind, p.part ->> 'lot' AS lot, (p.part ->> 'amount')::bigint AS amount,
            least((p.part ->> 'expires_at')::timestamptz, a.expires_at) AS ends
        FROM jsonb_array_elements(r.parts) WITH ORDINALITY p(part, place) JOIN entitlements_creditaccount a
            ON a.wallet_id = w.id AND a.kind = p.part ->> 'kind' AND a.lot = p.part ->> 'lot'
        ORDER BY p.place
    LOOP
        v_rest := v_part.amount - least(v_part.amount, v_left);
        v_left := v_left - least(v_part.amount, v_left);
        IF v_part.ends <= p_at THEN
            v_expired := v_expired + v_rest;
            CONTINUE;
        END IF;
        IF v_part.kind IN ('bonus', 'purchased') AND v_owed > v_settled THEN
            v_paid := least(v_owed - v_settled, v_rest);
            v_rest := v_rest - v_paid;
            v_settled := v_settled + v_paid;
        END IF;
        v_back := v_back + v_rest;
        v_kinds := v_kinds || v_part.kind;
        v_lots := v_lots || v_part.lot;
        v_deltas := v_deltas || v_rest;
        v_soonest := least(v_soonest, v_part.ends);
    END LOOP;
    UPDATE entitlements_creditreservation SET state = p_state, committed = p_used, closed_at = p_at WHERE id = r.id;
    UPDATE entitlements_creditwallet SET next_due_at = least(next_due_at, v_soonest) WHERE id = w.id;
    RETURN credit_post(
        w, p_kind, p_key, p_fingerprint, p_at, v_back, credit_held(w.id) + v_back,
        v_kinds || ARRAY['expired', 'debt'], v_lots || ARRAY['', ''], v_deltas || ARRAY[v_expired, v_settled],
        '', p_actor, p_description, p_metadata,
        jsonb_build_object('reservation_id', r.id, 'state', p_state, 'reserved', r.amount, 'spent', p_used,
            'returned', v_back, 'expired', v_expired, 'settled', v_settled)
    );
END
$$;

-- Write down what is due at a moment: reservations whose time is over, lots that expire, and the daily credits when they are given.
CREATE FUNCTION credit_settle(w entitlements_creditwallet, p_at timestamptz, p_daily bigint) RETURNS void
LANGUAGE plpgsql AS $$
DECLARE
    r entitlements_creditreservation;
    v_lots text[];
    v_kinds text[];
    v_deltas bigint[];
    v_sum bigint;
    v_day date := (p_at AT TIME ZONE 'UTC')::date;
    v_midnight timestamptz := (v_day + 1)::timestamp AT TIME ZONE 'UTC';
    v_granted bigint;
BEGIN
    IF w.next_due_at <= p_at THEN
        FOR r IN
            SELECT * FROM entitlements_creditreservation
            WHERE wallet_id = w.id AND state = 'open' AND expires_at <= p_at ORDER BY expires_at, id
        LOOP
            PERFORM credit_close(
                w, r, 0, 'expired', 'reservation_expired', 'reservation:' || r.id || ':expired', '', p_at
            );
        END LOOP;
        SELECT array_agg(kind::text), array_agg(lot::text), array_agg(-balance), coalesce(sum(balance), 0)::bigint
        INTO v_kinds, v_lots, v_deltas, v_sum FROM entitlements_creditaccount
        WHERE wallet_id = w.id AND is_open AND expires_at <= p_at;
        IF v_sum > 0 THEN
            PERFORM credit_post(
                w, 'expire', 'expire:' || w.id || ':' || (SELECT transactions_count FROM entitlements_creditwallet WHERE id = w.id),
                '', p_at, -v_sum, credit_held(w.id) - v_sum, v_kinds || 'expired'::text, v_lots || ''::text, v_deltas || v_sum
            );
        END IF;
        UPDATE entitlements_creditwallet SET next_due_at = least(
            (SELECT min(expires_at) FROM entitlements_creditaccount WHERE wallet_id = w.id AND is_open),
            (SELECT min(expires_at) FROM entitlements_creditreservation WHERE wallet_id = w.id AND state = 'open')
        ) WHERE id = w.id;
    END IF;
    IF p_daily > 0 THEN
        v_granted := CASE WHEN w.daily_on = v_day THEN w.daily_granted ELSE 0 END;
        INSERT INTO entitlements_creditaccount
            (id, project_id, mode, wallet_id, kind, lot, source, expires_at, balance, entries_count, created_at)
        VALUES (credit_id(p_at, 0), w.project_id, w.mode, w.id, 'plan_daily', '', '', v_midnight, 0, 0, p_at)
        ON CONFLICT (wallet_id, kind, lot) DO UPDATE SET expires_at = excluded.expires_at;
        PERFORM credit_post(
            w, 'daily',
            'daily:' || w.end_user_id || ':' || v_day || CASE WHEN v_granted > 0 THEN ':after:' || v_granted ELSE '' END,
            '', p_at, p_daily, credit_held(w.id) + p_daily,
            ARRAY['issued', 'plan_daily'], ARRAY['', ''], ARRAY[-p_daily, p_daily]
        );
        UPDATE entitlements_creditwallet
        SET daily_on = v_day, daily_granted = v_granted + p_daily, next_due_at = least(next_due_at, v_midnight) WHERE id = w.id;
    END IF;
END
$$;
"""
DROP_BASIS = """
DROP FUNCTION credit_settle, credit_close, credit_take, credit_owed, credit_held, credit_post, credit_replay, credit_answer_of,
    credit_lock_wallet, credit_daily_due, credit_daily_amount, credit_id;
DROP TYPE credit_answer;
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
