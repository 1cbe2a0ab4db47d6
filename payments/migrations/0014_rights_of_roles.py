"""The rights to refund without limit, cancel, comp, read from Stripe and replay."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("payments", "0013_license_purchases")]

    operations = [
        migrations.AlterModelOptions(
            name="subscription",
            options={
                "permissions": [
                    ("cancel_subscription", "Can cancel subscriptions"),
                    ("comp_subscription", "Can give subscribers free days"),
                    ("read_from_stripe", "Can have Stripe's state read now"),
                ]
            },
        ),
        migrations.AlterModelOptions(
            name="transaction",
            options={
                "permissions": [
                    ("refund_transaction", "Can refund payments"),
                    ("refund_without_limit", "Can refund beyond the moderators' limits"),
                ]
            },
        ),
        migrations.AlterModelOptions(
            name="webhookevent",
            options={
                "permissions": [("replay_webhookevent", "Can have Stripe's events processed again")],
                "verbose_name": "Webhook event",
            },
        ),
    ]
