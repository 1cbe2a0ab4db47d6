from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    """Built beside the traffic: the inbox may be large, and taking events must go on meanwhile."""

    atomic = False
    dependencies = [("payments", "0006_endpoints_and_dead_letters")]

    operations = [
        migrations.RunSQL("SET statement_timeout = 0", "SET statement_timeout = 0"),
        AddIndexConcurrently(
            model_name="webhookevent",
            index=models.Index(
                condition=models.Q(("status", "dead")),
                fields=["project", "mode", "-received_at"],
                name="webhook_event_dead",
            ),
        ),
        AddIndexConcurrently(
            model_name="webhookevent",
            index=models.Index(
                condition=models.Q(("failed_at__isnull", False)),
                fields=["project", "mode", "-failed_at"],
                name="webhook_event_failed",
            ),
        ),
        AddIndexConcurrently(
            model_name="webhookevent",
            index=models.Index(
                condition=models.Q(("emptied_at__isnull", True), ("status__in", ["processed", "ignored", "dead"])),
                fields=["received_at"],
                name="webhook_event_body_kept",
            ),
        ),
        migrations.RunSQL("RESET statement_timeout", "RESET statement_timeout"),
    ]
