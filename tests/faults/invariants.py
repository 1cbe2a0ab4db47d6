"""What must hold after every fault, whatever happened: one SQL query each, over everything in the database."""

from django.db import connection

# Each finds the rows that break its rule; the names are those of docs/faults.md.
QUERIES = {
    "I1: an event has one row": """
        SELECT project_id, mode, event_id FROM payments_webhookevent
        GROUP BY project_id, mode, event_id HAVING count(*) > 1
    """,
    "I3: one payment per PaymentIntent": """
        SELECT project_id, mode, payment_intent_id FROM payments_transaction
        WHERE payment_intent_id IS NOT NULL AND payment_intent_id <> ''
        GROUP BY project_id, mode, payment_intent_id HAVING count(*) > 1
    """,
    "I5: a refund is no larger than its payment": """
        SELECT id FROM payments_transaction WHERE refunded_amount_cents > amount_cents
    """,
    "I7: a payment is its subscription's project's and mode's": """
        SELECT payment.id FROM payments_transaction payment JOIN payments_subscription s ON s.id = payment.subscription_id
        WHERE (payment.project_id, payment.mode) <> (s.project_id, s.mode)
    """,
    "I7: an end user is of the same project": """
        SELECT row.id FROM (
            SELECT id, project_id, end_user_id FROM payments_transaction
            UNION ALL SELECT id, project_id, end_user_id FROM payments_subscription
            UNION ALL SELECT id, project_id, end_user_id FROM payments_stripecustomer
            UNION ALL SELECT id, project_id, end_user_id FROM payments_checkoutsession
        ) row JOIN projects_enduser u ON u.id = row.end_user_id WHERE row.project_id <> u.project_id
    """,
    "a processed event has left its lease": """
        SELECT id FROM payments_webhookevent
        WHERE status NOT IN ('pending', 'processing') AND (lease_token IS NOT NULL OR handled_at IS NULL)
    """,
}


def check_everything() -> None:
    """Fail with the rows that break a rule."""
    broken = {}
    with connection.cursor() as cursor:
        for name, query in QUERIES.items():
            cursor.execute(query)
            if rows := cursor.fetchmany(5):
                broken[name] = rows
    assert broken == {}
