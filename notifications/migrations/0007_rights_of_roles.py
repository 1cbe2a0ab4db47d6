"""The rights to replay effects and webhooks, to switch endpoints, and to send mails again."""

from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("notifications", "0006_staff_senders")]

    operations = [
        migrations.AlterModelOptions(
            name="outboxrow",
            options={
                "permissions": [
                    ("replay_outboxrow", "Can carry dead letters out again"),
                    ("resend_mail", "Can send mails again"),
                ],
                "verbose_name": "Outbox row",
            },
        ),
        migrations.AlterModelOptions(
            name="webhookdelivery",
            options={
                "permissions": [("replay_webhookdelivery", "Can send webhooks again")],
                "verbose_name": "Webhook delivery",
                "verbose_name_plural": "Webhook deliveries",
            },
        ),
        migrations.AlterModelOptions(
            name="webhookendpoint",
            options={
                "permissions": [("switch_webhookendpoint", "Can switch webhook endpoints on and off")],
                "verbose_name": "Webhook endpoint",
            },
        ),
    ]
