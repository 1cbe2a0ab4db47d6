"""The outbox, mails, alerts and webhooks to apps, as 0001 to 0008 leave them."""

import django.contrib.postgres.fields
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

import common.ids
from common.migration_operations import CreateModels


class Migration(migrations.Migration):
    replaces = [
        ("notifications", "0001_initial"),
        ("notifications", "0002_lanes"),
        ("notifications", "0003_wait_reason"),
        ("notifications", "0004_brands_and_alerts"),
        ("notifications", "0005_webhooks"),
        ("notifications", "0006_staff_senders"),
        ("notifications", "0007_rights_of_roles"),
        ("notifications", "0008_dead_effects"),
    ]

    initial = True

    dependencies = [
        ("projects", "0001_squashed_0004_backoffice_reads"),
    ]

    operations = [
        CreateModels(
            operations=[
                migrations.CreateModel(
                    name='OutboxRow',
                    fields=[
                        ('id', models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                        ('mode', models.CharField(choices=[('test', 'Test'), ('live', 'Live')], max_length=4)),
                        ('kind', models.CharField(max_length=64)),
                        ('effect_key', models.CharField(max_length=255)),
                        ('payload', models.JSONField(default=dict)),
                        ('cause', models.CharField(blank=True, max_length=255)),
                        ('lane', models.CharField(blank=True, max_length=255)),
                        ('status', models.CharField(choices=[('pending', 'Pending'), ('processing', 'Processing'), ('done', 'Done'), ('dead', 'Dead letter'), ('skipped', 'Skipped')], default='pending', max_length=16)),
                        ('attempts', models.PositiveIntegerField(default=0)),
                        ('next_attempt_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                        ('lease_token', models.UUIDField(blank=True, null=True)),
                        ('lease_until', models.DateTimeField(blank=True, null=True)),
                        ('result', models.JSONField(blank=True, null=True)),
                        ('error', models.TextField(blank=True)),
                        ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                        ('done_at', models.DateTimeField(blank=True, null=True)),
                        ('end_user', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='outbox_rows', to='projects.enduser')),
                        ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='outbox_rows', to='projects.project')),
                        ('wait_reason', models.CharField(blank=True, db_default='', default='', max_length=32)),
                    ],
                    options={
                        'verbose_name': 'Outbox row',
                        'indexes': [
                            models.Index(condition=models.Q(('status__in', ['pending', 'processing'])), fields=['next_attempt_at'], name='outbox_due'),
                            models.Index(condition=models.Q(('status__in', ['pending', 'processing'])), fields=['project', 'mode', 'kind', 'next_attempt_at'], name='outbox_due_of_account'),
                            models.Index(fields=['project', 'mode', '-created_at'], name='outbox_recent'),
                            models.Index(fields=['end_user', '-created_at'], name='outbox_of_user'),
                            models.Index(condition=models.Q(('status__in', ['pending', 'processing'])), fields=['project', 'mode', 'kind', 'lane', 'created_at', 'id'], name='outbox_lane'),
                            models.Index(condition=models.Q(('status', 'dead')), fields=['kind', '-created_at'], name='outbox_dead'),
                        ],
                        'constraints': [
                            models.UniqueConstraint(fields=('project', 'mode', 'effect_key'), name='outbox_effect_once'),
                            models.CheckConstraint(condition=models.Q(('mode__in', ['test', 'live'])), name='outbox_mode'),
                        ],
                        'permissions': [
                            ('replay_outboxrow', 'Can carry dead letters out again'),
                            ('resend_mail', 'Can send mails again'),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name='Brand',
                    fields=[
                        ('id', models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                        ('from_name', models.CharField(blank=True, max_length=100, verbose_name="sender's name")),
                        ('from_address', models.CharField(blank=True, max_length=254, verbose_name="sender's address")),
                        ('reply_to', models.CharField(blank=True, max_length=254, verbose_name='answers go to')),
                        ('color', models.CharField(blank=True, max_length=7, verbose_name='colour of buttons')),
                        ('logo_url', models.CharField(blank=True, max_length=2048, verbose_name='logo')),
                        ('footer_text', models.TextField(blank=True, verbose_name='footer')),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('project', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='brand', to='projects.project')),
                        ('staff_from_address', models.CharField(blank=True, db_default='', default='', editable=False, max_length=254)),
                    ],
                    options={
                        'verbose_name': 'Mail brand',
                        'verbose_name_plural': 'Mail brands',
                    },
                ),
                migrations.CreateModel(
                    name='AlertIncident',
                    fields=[
                        ('id', models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                        ('mode', models.CharField(choices=[('test', 'Test'), ('live', 'Live')], max_length=4)),
                        ('kind', models.CharField(choices=[('inbound_failures', 'Stripe events that fail'), ('outbound_failures', 'Webhooks to the app that fail'), ('oldest_event', 'Stripe events that wait'), ('failed_payments', 'Payments that fail'), ('odd_credit_use', 'Odd use of credits'), ('review_backlog', 'Review items that wait'), ('reports_spike', 'Many reports by users')], max_length=32)),
                        ('threshold', models.PositiveIntegerField()),
                        ('peak', models.BigIntegerField()),
                        ('value', models.BigIntegerField()),
                        ('calm_since', models.DateTimeField(blank=True, null=True)),
                        ('opened_at', models.DateTimeField()),
                        ('resolved_at', models.DateTimeField(blank=True, null=True)),
                        ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                        ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='alert_incidents', to='projects.project')),
                    ],
                    options={
                        'verbose_name': 'Incident',
                        'indexes': [
                            models.Index(fields=['project', '-opened_at'], name='alert_incident_recent'),
                        ],
                        'constraints': [
                            models.UniqueConstraint(condition=models.Q(('resolved_at', None)), fields=('project', 'mode', 'kind'), name='alert_incident_open_once'),
                            models.CheckConstraint(condition=models.Q(('mode__in', ['test', 'live'])), name='alert_incident_mode'),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name='AlertRule',
                    fields=[
                        ('id', models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                        ('kind', models.CharField(choices=[('inbound_failures', 'Stripe events that fail'), ('outbound_failures', 'Webhooks to the app that fail'), ('oldest_event', 'Stripe events that wait'), ('failed_payments', 'Payments that fail'), ('odd_credit_use', 'Odd use of credits'), ('review_backlog', 'Review items that wait'), ('reports_spike', 'Many reports by users')], max_length=32)),
                        ('is_enabled', models.BooleanField(default=True)),
                        ('threshold', models.PositiveIntegerField()),
                        ('recovers_at', models.PositiveIntegerField()),
                        ('window_minutes', models.PositiveIntegerField()),
                        ('calm_minutes', models.PositiveIntegerField(default=10)),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('project', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='alert_rules', to='projects.project')),
                    ],
                    options={
                        'verbose_name': 'Alert rule',
                        'constraints': [
                            models.UniqueConstraint(fields=('project', 'kind'), name='alert_rule_once', nulls_distinct=False),
                            models.CheckConstraint(condition=models.Q(('recovers_at__lt', models.F('threshold'))), name='alert_rule_recovers_below'),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name='AlertTarget',
                    fields=[
                        ('id', models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                        ('mail_to', models.JSONField(blank=True, default=list)),
                        ('webhook_url', models.CharField(blank=True, max_length=2048)),
                        ('webhook_secret', models.TextField(blank=True, editable=False)),
                        ('webhook_secret_masked', models.CharField(blank=True, editable=False, max_length=64)),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('project', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='alert_targets', to='projects.project')),
                    ],
                    options={
                        'verbose_name': 'Alert recipient',
                        'constraints': [
                            models.UniqueConstraint(fields=('project',), name='alert_target_once', nulls_distinct=False),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name='MailOptOut',
                    fields=[
                        ('id', models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                        ('mode', models.CharField(choices=[('test', 'Test'), ('live', 'Live')], max_length=4)),
                        ('address_digest', models.CharField(max_length=64)),
                        ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                        ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='mail_opt_outs', to='projects.project')),
                    ],
                    options={
                        'verbose_name': 'Unsubscribed address',
                        'verbose_name_plural': 'Unsubscribed addresses',
                        'constraints': [
                            models.UniqueConstraint(fields=('project', 'mode', 'address_digest'), name='mail_opt_out_once'),
                            models.CheckConstraint(condition=models.Q(('mode__in', ['test', 'live'])), name='mail_opt_out_mode'),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name='WebhookEndpoint',
                    fields=[
                        ('id', models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                        ('mode', models.CharField(choices=[('test', 'Test'), ('live', 'Live')], max_length=4)),
                        ('url', models.CharField(max_length=2048)),
                        ('description', models.CharField(blank=True, max_length=255)),
                        ('event_types', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=64), size=None)),
                        ('secret', models.TextField(editable=False)),
                        ('secret_masked', models.CharField(editable=False, max_length=64)),
                        ('previous_secret', models.TextField(blank=True, editable=False)),
                        ('previous_secret_until', models.DateTimeField(blank=True, null=True)),
                        ('disabled_at', models.DateTimeField(blank=True, null=True)),
                        ('disabled_reason', models.CharField(blank=True, choices=[('switched_off', 'Switched off'), ('gone', 'It answered 410 Gone'), ('failing', 'It failed for days')], max_length=16)),
                        ('failures_in_row', models.PositiveIntegerField(db_default=0, default=0)),
                        ('failing_since', models.DateTimeField(blank=True, null=True)),
                        ('held_until', models.DateTimeField(blank=True, null=True)),
                        ('answered_at', models.DateTimeField(blank=True, null=True)),
                        ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='webhook_endpoints', to='projects.project')),
                    ],
                    options={
                        'verbose_name': 'Webhook endpoint',
                        'indexes': [
                            models.Index(fields=['project', 'mode', 'created_at'], name='webhook_endpoint_of'),
                        ],
                        'constraints': [
                            models.CheckConstraint(condition=models.Q(('mode__in', ['test', 'live'])), name='webhook_endpoint_mode'),
                            models.CheckConstraint(condition=models.Q(models.Q(('disabled_at', None), ('disabled_reason', '')), models.Q(('disabled_at__isnull', False), models.Q(('disabled_reason', ''), _negated=True)), _connector='OR'), name='webhook_endpoint_disabled_why'),
                        ],
                        'permissions': [
                            ('switch_webhookendpoint', 'Can switch webhook endpoints on and off'),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name='WebhookDelivery',
                    fields=[
                        ('id', models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                        ('mode', models.CharField(choices=[('test', 'Test'), ('live', 'Live')], max_length=4)),
                        ('event_type', models.CharField(max_length=64)),
                        ('is_test', models.BooleanField(db_default=False, default=False)),
                        ('status', models.CharField(choices=[('pending', 'Pending'), ('processing', 'Processing'), ('delivered', 'Delivered'), ('failed', 'Failed')], db_default='pending', default='pending', max_length=16)),
                        ('attempts', models.PositiveIntegerField(db_default=0, default=0)),
                        ('next_attempt_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                        ('give_up_at', models.DateTimeField()),
                        ('lease_token', models.UUIDField(blank=True, null=True)),
                        ('lease_until', models.DateTimeField(blank=True, null=True)),
                        ('status_code', models.PositiveIntegerField(blank=True, null=True)),
                        ('error', models.CharField(blank=True, db_default='', default='', max_length=1000)),
                        ('log', models.JSONField(db_default=models.Value([], output_field=models.JSONField()), default=list)),
                        ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                        ('done_at', models.DateTimeField(blank=True, null=True)),
                        ('event', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='deliveries', to='notifications.outboxrow')),
                        ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='webhook_deliveries', to='projects.project')),
                        ('endpoint', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='deliveries', to='notifications.webhookendpoint')),
                    ],
                    options={
                        'verbose_name': 'Webhook delivery',
                        'verbose_name_plural': 'Webhook deliveries',
                        'indexes': [
                            models.Index(condition=models.Q(('status__in', ['pending', 'processing'])), fields=['endpoint', 'next_attempt_at', 'id'], name='webhook_delivery_due'),
                            models.Index(condition=models.Q(('status', 'processing')), fields=['project', 'mode', 'endpoint'], name='webhook_delivery_held'),
                            models.Index(condition=models.Q(('status__in', ['pending', 'processing'])), fields=['give_up_at'], name='webhook_delivery_late'),
                            models.Index(fields=['endpoint', '-created_at', '-id'], name='webhook_delivery_recent'),
                            models.Index(fields=['created_at'], name='webhook_delivery_age'),
                        ],
                        'constraints': [
                            models.UniqueConstraint(fields=('project', 'mode', 'event', 'endpoint'), name='webhook_delivery_once'),
                            models.CheckConstraint(condition=models.Q(('mode__in', ['test', 'live'])), name='webhook_delivery_mode'),
                        ],
                        'permissions': [
                            ('replay_webhookdelivery', 'Can send webhooks again'),
                        ],
                    },
                ),
            ],
        ),
    ]
