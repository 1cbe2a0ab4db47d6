"""Triggers that append what every write adds to or takes from the roll-ups, as the migrations up to 0017 leave them.

Once per statement however many rows it touches: statement-level, with transition tables. COPY of a million rows appends one delta per
day and currency, and an update that changes no summed column appends none. `INSERT … ON CONFLICT DO UPDATE` fires both the insert's
and the update's trigger, each with its own rows.
"""

_REVENUE = """
    INSERT INTO payments_revenuedelta
        (project_id, mode, currency, day, payments, succeeded, failed, gross_cents, refunds, refunded_cents)
    SELECT project_id, mode, currency, day, sum(payments) payments, sum(succeeded) succeeded, sum(failed) failed,
           sum(gross_cents) gross_cents, sum(refunds) refunds, sum(refunded_cents) refunded_cents
    FROM ({rows}) changed GROUP BY project_id, mode, currency, day
    HAVING sum(payments) <> 0 OR sum(succeeded) <> 0 OR sum(failed) <> 0 OR sum(gross_cents) <> 0 OR sum(refunds) <> 0
        OR sum(refunded_cents) <> 0
"""
_TRANSACTION = """
    SELECT project_id, mode, currency, (created_at AT TIME ZONE 'UTC')::date AS day, {sign} AS payments,
           {sign} * (status IN ('succeeded', 'partially_refunded', 'refunded'))::int AS succeeded,
           {sign} * (status = 'failed')::int AS failed,
           CASE WHEN status IN ('succeeded', 'partially_refunded', 'refunded') THEN {sign} * amount_cents ELSE 0 END AS gross_cents,
           0 AS refunds, 0::bigint AS refunded_cents
    FROM {source}
"""
_REFUND = """
    SELECT project_id, mode, currency, (created_at AT TIME ZONE 'UTC')::date AS day, 0 AS payments, 0 AS succeeded, 0 AS failed,
           0::bigint AS gross_cents, {sign} AS refunds, {sign} * amount_cents AS refunded_cents
    FROM {source} WHERE status IN ('succeeded', 'pending', 'requires_action')
"""
# By price as well, for what subscriptions bring in a month.
_GAUGE = """
    INSERT INTO payments_subscriptiongaugedelta (project_id, mode, status, stripe_price_id, subscriptions, quantity)
    SELECT project_id, mode, status, stripe_price_id, sum(subscriptions), sum(quantity) FROM ({rows}) changed
    GROUP BY project_id, mode, status, stripe_price_id HAVING sum(subscriptions) <> 0 OR sum(quantity) <> 0
"""
_SUBSCRIPTION = """
    SELECT project_id, mode, status, stripe_price_id, {sign} AS subscriptions, {sign} * quantity::bigint AS quantity FROM {source}
"""
_TABLES = {
    "payments_transaction": (_TRANSACTION, _REVENUE),
    "payments_refund": (_REFUND, _REVENUE),
    "payments_subscription": (_SUBSCRIPTION, _GAUGE),
}
# Which side of a statement's rows each event of a trigger has: what was, and what is.
_EVENTS = {
    "insert": ("REFERENCING NEW TABLE AS added", [("1", "added")]),
    "update": ("REFERENCING OLD TABLE AS removed NEW TABLE AS added", [("-1", "removed"), ("1", "added")]),
    "delete": ("REFERENCING OLD TABLE AS removed", [("-1", "removed")]),
}


def create() -> list[str]:
    """Return the statements that make the triggers of all tables."""
    statements = []
    for table, (rows, into) in _TABLES.items():
        for event, (referencing, sides) in _EVENTS.items():
            changed = " UNION ALL ".join(rows.format(sign=sign, source=source) for sign, source in sides)
            name = f"{table}_rollup_{event}"
            statements.append(
                f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$\n"
                f"BEGIN {into.format(rows=changed)}; RETURN NULL; END $$"
            )
            statements.append(
                f"CREATE TRIGGER {name} AFTER {event.upper()} ON {table} {referencing} "
                f"FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
            )
    return statements


def drop() -> list[str]:
    """Return the statements that drop them."""
    names = [(table, f"{table}_rollup_{event}") for table in _TABLES for event in _EVENTS]
    return [sql for table, name in names for sql in (f"DROP TRIGGER {name} ON {table}", f"DROP FUNCTION {name}()")]
