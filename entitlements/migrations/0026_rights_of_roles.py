"""The rights to give plans by hand, and credits beyond the moderators' limits."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("entitlements", "0025_credit_texts_can_be_redacted")]

    operations = [
        migrations.AlterModelOptions(
            name="creditwallet",
            options={
                "permissions": [
                    ("adjust_creditwallet", "Can adjust credits"),
                    ("comp_without_limit", "Can give credits and free days beyond the moderators' limits"),
                ],
                "verbose_name": "Credit wallet",
            },
        ),
        migrations.AlterModelOptions(
            name="entitlement",
            options={"permissions": [("give_plan", "Can put end users on a plan by hand")]},
        ),
    ]
