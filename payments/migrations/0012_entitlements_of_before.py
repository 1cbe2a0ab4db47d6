"""Gives everybody who has bought something before this release the entitlement that their subscription stands for.

What a plan gives per period did not exist before, so that nothing has to be granted here. One statement; what is there is left.
"""

from django.db import migrations

BACKFILL = """
    INSERT INTO entitlements_entitlement (id, project_id, mode, end_user_id, plan_id, subscription_id, status, quantity, active,
        active_until, plan_expires, period_start, period_end, granted_period_start, epoch, changed_at, created_at)
    SELECT gen_random_uuid(), bought.project_id, bought.mode, bought.end_user_id, bought.plan_id, bought.stripe_subscription_id,
        bought.status, bought.quantity,
        bought.access_revoked_at IS NULL AND (entitled OR (bought.status = 'past_due' AND by_status IS NOT NULL)),
        CASE WHEN bought.access_revoked_at IS NULL AND NOT entitled AND bought.status = 'past_due' THEN by_status END,
        least(by_status, bought.access_revoked_at), bought.current_period_start, bought.current_period_end,
        coalesce(
            (SELECT least(max(paid.period_end), bought.current_period_start) FROM payments_invoice paid
             WHERE paid.subscription_id = bought.id AND paid.status = 'paid'
                AND paid.billing_reason IN ('subscription_create', 'subscription_cycle')),
            CASE WHEN bought.status = 'trialing' THEN bought.current_period_start END),
        0, now(), now()
    FROM (
        SELECT DISTINCT ON (project_id, mode, end_user_id) * FROM payments_subscription WHERE end_user_id IS NOT NULL
        ORDER BY project_id, mode, end_user_id, CASE
            WHEN access_revoked_at IS NOT NULL AND status NOT IN ('canceled', 'incomplete_expired') THEN 5
            ELSE coalesce(array_position(ARRAY['active', 'trialing', 'past_due', 'paused', 'unpaid', 'incomplete', 'canceled',
                'incomplete_expired']::varchar[], status), 9) - 1 END, created_at DESC, id DESC
    ) bought
    LEFT JOIN payments_billingpolicy policy ON policy.project_id = bought.project_id
    CROSS JOIN LATERAL (
        SELECT jsonb_exists(coalesce(policy.entitled_statuses, '["active", "trialing"]'), bought.status) AS entitled
    ) by_policy
    CROSS JOIN LATERAL (
        SELECT CASE WHEN entitled THEN least(bought.current_period_end, bought.cancel_at)
            WHEN bought.status IN ('past_due', 'unpaid') THEN coalesce(bought.past_due_since, bought.current_period_start)
                + make_interval(hours => coalesce(policy.grace_hours, 72))
            ELSE coalesce(bought.ended_at, bought.canceled_at) END AS by_status
    ) in_time
    ON CONFLICT (project_id, mode, end_user_id) DO NOTHING
"""


class Migration(migrations.Migration):
    dependencies = [
        ("payments", "0011_credit_purchases"),
        ("entitlements", "0006_entitlement_epochs"),
    ]

    operations = [migrations.RunSQL(BACKFILL, migrations.RunSQL.noop)]
