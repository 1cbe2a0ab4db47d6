from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """Built beside the traffic: the inbox may be large, and taking events must go on meanwhile."""

    atomic = False
    dependencies = [("payments", "0008_payment_method_and_refund_right")]

    operations = [
        migrations.RunSQL("SET statement_timeout = 0", "SET statement_timeout = 0"),
        AddIndexConcurrently(
            model_name="webhookevent",
            index=models.Index(
                condition=models.Q(("error", "Nothing here follows events of this type."), ("status", "ignored")),
                fields=["type", "received_at"],
                name="webhook_event_not_followed",
            ),
        ),
        migrations.RunSQL("RESET statement_timeout", "RESET statement_timeout"),
    ]
