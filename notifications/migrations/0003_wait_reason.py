from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("notifications", "0002_lanes")]

    operations = [
        migrations.AddField(
            model_name="outboxrow",
            name="wait_reason",
            field=models.CharField(blank=True, db_default="", default="", max_length=32),
        ),
    ]
