"""Where the mirror shows another status than our row: a crash came between the two writes."""

import uuid

from django.db import connection

# Compares by id, account and mode. Objects whose failure is on record already are left out: somebody is told of those.
LAGGING = """
    SELECT ours.project_id, ours.mode, ours.kind, ours.stripe_id, copy.stripe_data->>'status' AS mirrored, ours.status
    FROM (
        SELECT project_id, mode, stripe_subscription_id AS stripe_id, status, synced_at, 'subscriptions' AS kind
        FROM payments_subscription
        UNION ALL
        SELECT project_id, mode, stripe_invoice_id, status, synced_at, 'invoices' FROM payments_invoice
    ) ours
    JOIN payments_stripecredentials credentials ON credentials.project_id = ours.project_id AND credentials.mode = ours.mode
    JOIN djstripe_account account ON account.id = credentials.stripe_account_id
    JOIN (
        SELECT id, djstripe_owner_account_id, livemode, stripe_data, 'subscriptions' AS kind FROM djstripe_subscription
        UNION ALL SELECT id, djstripe_owner_account_id, livemode, stripe_data, 'invoices' FROM djstripe_invoice
    ) copy ON copy.id = ours.stripe_id AND copy.kind = ours.kind AND copy.livemode = (ours.mode = 'live')
        AND copy.djstripe_owner_account_id = account.djstripe_id
    WHERE copy.stripe_data->>'status' IS DISTINCT FROM ours.status AND copy.stripe_data ? 'status'
      AND ours.synced_at < now() - make_interval(mins => {minutes})
      AND NOT EXISTS (
          SELECT 1 FROM payments_mirrorfailure failure WHERE failure.project_id = ours.project_id
          AND failure.mode = ours.mode AND failure.stripe_object_id = ours.stripe_id
      )
"""
SETTLED_MINUTES = 10


def find_lagging_mirror(*, project_id: uuid.UUID, mode: str, limit: int) -> list[tuple[str, str]]:
    """Return kind (the path at Stripe) and id of objects whose copy has fallen behind. One query."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT kind, stripe_id FROM ({LAGGING.format(minutes=SETTLED_MINUTES)}) AS lagging "  # noqa: S608
            f"WHERE project_id = %s AND mode = %s ORDER BY 1, 2 LIMIT %s",
            [project_id, mode, limit],
        )
        return list(cursor.fetchall())
