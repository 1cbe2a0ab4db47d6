"""The right to decide about review items."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("moderation", "0006_action_log_forgets_people")]

    operations = [
        migrations.AlterModelOptions(
            name="reviewitem",
            options={
                "permissions": [("decide_reviewitem", "Can decide about review items")],
                "verbose_name": "Review item",
            },
        ),
    ]
