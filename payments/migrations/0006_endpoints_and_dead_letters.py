from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("payments", "0005_rollup_triggers")]

    operations = [
        migrations.AddField(
            model_name="stripecredentials",
            name="previous_webhook_endpoint_id",
            field=models.CharField(blank=True, db_default="", default="", max_length=255),
        ),
        migrations.AddField(
            model_name="webhookevent",
            name="failed_at",
            field=models.DateTimeField(blank=True, null=True),
        ),
    ]
