"""The ledger's guards, and what its operations are made of, as the migrations up to 0027 leave them.

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
