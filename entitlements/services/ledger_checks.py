"""What must hold of the ledger of credits at every moment, as one query: project, mode and a text per violation (I4)."""

_BUCKETS = "('plan_daily', 'plan_periodic', 'bonus', 'purchased')"
GUARDS = {
    "entitlements_creditentry": ("credit_entry_append_only", "credit_entry_no_truncate", "credit_entry_zero_sum"),
    "entitlements_credittransaction": ("credit_transaction_append_only", "credit_transaction_no_truncate"),
}
_GUARDS = ", ".join(f"('{table}', '{name}')" for table, names in GUARDS.items() for name in names)

LEDGER = f"""
    SELECT a.project_id, a.mode, 'credit account ' || a.id || ' caches ' || a.balance || ' and its ' || count(e.id)
        || ' entries sum to ' || coalesce(sum(e.amount), 0)
    FROM entitlements_creditaccount a LEFT JOIN entitlements_creditentry e ON e.account_id = a.id
    GROUP BY a.id HAVING coalesce(sum(e.amount), 0) <> a.balance OR count(e.id) <> a.entries_count
    UNION ALL
    SELECT project_id, mode, 'credit account ' || account_id || ' has a gap before its entry ' || number
    FROM (
        SELECT project_id, mode, account_id, number, amount, balance_after,
            lag(balance_after, 1, 0::bigint) OVER entry AS balance_before, lag(number, 1, 0::bigint) OVER entry AS number_before
        FROM entitlements_creditentry WINDOW entry AS (PARTITION BY account_id ORDER BY number)
    ) chain
    WHERE balance_after <> balance_before + amount OR number <> number_before + 1
    UNION ALL
    SELECT t.project_id, t.mode, 'credit transaction ' || t.id || ' sums to ' || sum(e.amount)
    FROM entitlements_credittransaction t JOIN entitlements_creditentry e ON e.transaction_id = t.id
    GROUP BY t.id HAVING sum(e.amount) <> 0
    UNION ALL
    SELECT t.project_id, t.mode, 'credit transaction ' || t.id || ' says ' || t.amount || ' and its entries '
        || coalesce(sum(e.amount) FILTER (WHERE a.kind IN {_BUCKETS}), 0)
    FROM entitlements_credittransaction t LEFT JOIN entitlements_creditentry e ON e.transaction_id = t.id
        LEFT JOIN entitlements_creditaccount a ON a.id = e.account_id
    GROUP BY t.id HAVING coalesce(sum(e.amount) FILTER (WHERE a.kind IN {_BUCKETS}), 0) <> t.amount
        OR bool_or(a.wallet_id <> t.wallet_id)
    UNION ALL
    SELECT project_id, mode, 'credit wallet ' || wallet_id || ' has a gap before its transaction ' || number
    FROM (
        SELECT project_id, mode, wallet_id, number, amount, available_after,
            lag(available_after, 1, 0::bigint) OVER done AS before, lag(number, 1, 0::bigint) OVER done AS number_before
        FROM entitlements_credittransaction WINDOW done AS (PARTITION BY wallet_id ORDER BY number)
    ) chain
    WHERE available_after <> before + amount OR number <> number_before + 1
    UNION ALL
    SELECT w.project_id, w.mode, 'credit wallet ' || w.id || ' counts ' || w.transactions_count || ' transactions and has '
        || count(t.id)
    FROM entitlements_creditwallet w LEFT JOIN entitlements_credittransaction t ON t.wallet_id = w.id
    GROUP BY w.id HAVING count(t.id) <> w.transactions_count
    UNION ALL
    SELECT project_id, mode, 'credit account ' || id || ' (' || kind || ') stands at ' || balance
    FROM entitlements_creditaccount WHERE kind <> 'issued' AND (kind = 'debt') <> (balance < 0) AND balance <> 0
    UNION ALL
    SELECT a.project_id, a.mode, 'credit wallet ' || a.wallet_id || ' holds ' || a.balance || ' for reservations of '
        || coalesce(sum(r.amount), 0)
    FROM entitlements_creditaccount a
        LEFT JOIN entitlements_creditreservation r ON r.wallet_id = a.wallet_id AND r.state = 'open'
    WHERE a.kind = 'reserved' GROUP BY a.id HAVING coalesce(sum(r.amount), 0) <> a.balance
    UNION ALL
    SELECT w.project_id, w.mode, 'credit wallet ' || w.id || ' would look for what expires only at '
        || coalesce(w.next_due_at::text, 'never')
    FROM entitlements_creditwallet w JOIN entitlements_creditaccount a ON a.wallet_id = w.id AND a.is_open
    WHERE a.expires_at < coalesce(w.next_due_at, 'infinity') GROUP BY w.id
    UNION ALL
    SELECT NULL::uuid, '', 'the ledger of credits can be changed: its trigger ' || wanted.name || ' is missing or off'
    FROM (VALUES {_GUARDS}) wanted(tbl, name)
    WHERE NOT EXISTS (
        SELECT 1 FROM pg_trigger WHERE tgname = wanted.name AND tgrelid = wanted.tbl::regclass AND tgenabled <> 'D'
    )
"""  # noqa: S608 - names of our own only
