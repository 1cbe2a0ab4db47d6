"""Gauges count by price as well, for what subscriptions bring in a month; live mode is opened by checks that were green.

Who had a live key before this stays open: checks that nobody could make must not stop a running shop.
"""

from django.contrib.postgres.indexes import OpClass
from django.db import migrations, models
from django.db.models.functions import Upper

_ROWS = """
    SELECT project_id, mode, status, stripe_price_id, {sign} AS subscriptions, {sign} * quantity::bigint AS quantity FROM {source}
"""
_INTO = """
    INSERT INTO payments_subscriptiongaugedelta (project_id, mode, status, stripe_price_id, subscriptions, quantity)
    SELECT project_id, mode, status, stripe_price_id, sum(subscriptions), sum(quantity) FROM ({rows}) changed
    GROUP BY project_id, mode, status, stripe_price_id HAVING sum(subscriptions) <> 0 OR sum(quantity) <> 0
"""
_BEFORE = """
    INSERT INTO payments_subscriptiongaugedelta (project_id, mode, status, subscriptions)
    SELECT project_id, mode, status, sum(subscriptions) FROM ({rows}) changed
    GROUP BY project_id, mode, status HAVING sum(subscriptions) <> 0
"""
_SIDES = {
    "insert": [("1", "added")],
    "update": [("-1", "removed"), ("1", "added")],
    "delete": [("-1", "removed")],
}
# What was counted without a price is taken back, and counted again with its price.
_RECOUNTED = _INTO.format(
    rows=f"""
        {_ROWS.format(sign="1", source="payments_subscription")}
        UNION ALL SELECT project_id, mode, status, stripe_price_id, -subscriptions, -quantity FROM payments_subscriptiongauge
        UNION ALL SELECT project_id, mode, status, stripe_price_id, -subscriptions, -quantity FROM payments_subscriptiongaugedelta
    """
)
_SUMMED = """
    CREATE TEMPORARY TABLE summed ON COMMIT DROP AS
        SELECT project_id, mode, status, sum(subscriptions) AS subscriptions
        FROM payments_subscriptiongauge GROUP BY project_id, mode, status;
    DELETE FROM payments_subscriptiongauge;
    INSERT INTO payments_subscriptiongauge (project_id, mode, status, subscriptions)
        SELECT project_id, mode, status, subscriptions FROM summed;
    SET CONSTRAINTS ALL IMMEDIATE
"""
_OPENED = "UPDATE payments_stripecredentials SET opened_at = now() WHERE mode = 'live' AND secret_key <> ''"


def _functions(into: str) -> list[str]:
    return [
        f"CREATE OR REPLACE FUNCTION payments_subscription_rollup_{event}() RETURNS trigger LANGUAGE plpgsql AS $$\n"
        f"BEGIN {into.format(rows=' UNION ALL '.join(_ROWS.format(sign=sign, source=source) for sign, source in sides))}; "
        "RETURN NULL; END $$"
        for event, sides in _SIDES.items()
    ]


class Migration(migrations.Migration):

    dependencies = [
        ('entitlements', '0026_rights_of_roles'),
        ('payments', '0014_rights_of_roles'),
        ('projects', '0003_anonymised_end_users'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='subscriptiongauge',
            name='subscription_gauge_once',
        ),
        migrations.RunSQL(migrations.RunSQL.noop, _SUMMED),
        migrations.AddField(
            model_name='subscriptiongauge',
            name='quantity',
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name='subscriptiongauge',
            name='stripe_price_id',
            field=models.CharField(blank=True, db_default='', default='', max_length=255),
        ),
        migrations.AddField(
            model_name='subscriptiongaugedelta',
            name='quantity',
            field=models.BigIntegerField(db_default=0, default=0),
        ),
        migrations.AddField(
            model_name='subscriptiongaugedelta',
            name='stripe_price_id',
            field=models.CharField(blank=True, db_default='', default='', max_length=255),
        ),
        migrations.AddIndex(
            model_name='subscription',
            index=models.Index(condition=models.Q(('ended_at__isnull', False)), fields=['project', 'mode', 'ended_at'], name='subscription_ended'),
        ),
        migrations.AddIndex(
            model_name="stripecustomer",
            index=models.Index(
                OpClass(Upper("email"), name="text_pattern_ops"), name="stripe_customer_email_begins"
            ),
        ),
        migrations.AddConstraint(
            model_name='subscriptiongauge',
            constraint=models.UniqueConstraint(fields=('project', 'mode', 'status', 'stripe_price_id'), name='subscription_gauge_of_price_once'),
        ),
        migrations.RunSQL([*_functions(_INTO), _RECOUNTED], _functions(_BEFORE)),
        # Last, since every delivery reads this table: it is held for as long as these take, and not for the index above.
        migrations.AddField(
            model_name='stripecredentials',
            name='diagnosed_at',
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name='stripecredentials',
            name='diagnosis',
            field=models.JSONField(blank=True, db_default=models.Value([], output_field=models.JSONField()), default=list, editable=False),
        ),
        migrations.AddField(
            model_name='stripecredentials',
            name='opened_at',
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.AddField(
            model_name='stripecredentials',
            name='probed_at',
            field=models.DateTimeField(blank=True, editable=False, null=True),
        ),
        migrations.RunSQL(_OPENED, migrations.RunSQL.noop),
    ]
