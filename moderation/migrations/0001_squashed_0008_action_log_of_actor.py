"""The review queue and the action log, as 0001 to 0008 leave them. The log is append-only."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import common.ids
from common.migration_operations import CreateModels


APPEND_ONLY = """
CREATE FUNCTION moderation_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the action log is append-only' USING ERRCODE = 'restrict_violation';
END
$$;
-- One change is let through: taking the words that identify a person out of it, in a transaction that says so.
CREATE FUNCTION moderation_refuse_change_but_redaction() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF current_setting('payments.redacting', true) = 'on'
       AND (NEW.id, NEW.project_id, NEW.mode, NEW.actor_id, NEW.actor_label, NEW.action, NEW.at)
           IS NOT DISTINCT FROM (OLD.id, OLD.project_id, OLD.mode, OLD.actor_id, OLD.actor_label, OLD.action, OLD.at) THEN
        RETURN NEW;
    END IF;
    RAISE EXCEPTION 'the action log is append-only' USING ERRCODE = 'restrict_violation';
END
$$;
CREATE TRIGGER action_log_append_only BEFORE DELETE ON moderation_actionlog
    FOR EACH ROW EXECUTE FUNCTION moderation_refuse_change();
CREATE TRIGGER action_log_no_change BEFORE UPDATE ON moderation_actionlog
    FOR EACH ROW EXECUTE FUNCTION moderation_refuse_change_but_redaction();
CREATE TRIGGER action_log_no_truncate BEFORE TRUNCATE ON moderation_actionlog
    FOR EACH STATEMENT EXECUTE FUNCTION moderation_refuse_change();
"""
DROP_APPEND_ONLY = """
DROP TRIGGER action_log_no_truncate ON moderation_actionlog;
DROP TRIGGER action_log_no_change ON moderation_actionlog;
DROP TRIGGER action_log_append_only ON moderation_actionlog;
DROP FUNCTION moderation_refuse_change_but_redaction();
DROP FUNCTION moderation_refuse_change();
"""


class Migration(migrations.Migration):
    replaces = [
        ("moderation", "0001_initial"),
        ("moderation", "0002_action_log_is_append_only"),
        ("moderation", "0003_review_kinds_of_reconciliation"),
        ("moderation", "0004_webhook_endpoint_kind"),
        ("moderation", "0005_review_notes"),
        ("moderation", "0006_action_log_forgets_people"),
        ("moderation", "0007_rights_of_roles"),
        ("moderation", "0008_action_log_of_actor"),
    ]

    initial = True

    dependencies = [
        ("projects", "0001_squashed_0004_backoffice_reads"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        CreateModels(
            operations=[
                migrations.CreateModel(
                    name='ActionLog',
                    fields=[
                        ('id', models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                        ('mode', models.CharField(blank=True, choices=[('test', 'Test'), ('live', 'Live')], max_length=4)),
                        ('actor_label', models.CharField(max_length=255)),
                        ('action', models.CharField(max_length=64)),
                        ('subject', models.CharField(blank=True, max_length=255)),
                        ('reason', models.TextField(blank=True)),
                        ('details', models.JSONField(blank=True, default=dict)),
                        ('at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                        ('actor', models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='actions', to=settings.AUTH_USER_MODEL)),
                        ('project', models.ForeignKey(db_constraint=False, null=True, on_delete=django.db.models.deletion.DO_NOTHING, related_name='action_log', to='projects.project')),
                    ],
                    options={
                        'verbose_name': 'Action',
                        'verbose_name_plural': 'Action log',
                        'indexes': [
                            models.Index(fields=['project', '-at'], name='action_log_recent'),
                            models.Index(fields=['subject', '-at'], name='action_log_subject'),
                            models.Index(fields=['actor', 'action', '-at'], name='action_log_of_actor'),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name='ReviewItem',
                    fields=[
                        ('id', models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                        ('mode', models.CharField(choices=[('test', 'Test'), ('live', 'Live')], max_length=4)),
                        ('kind', models.CharField(choices=[('dispute', 'Dispute'), ('fraud_warning', 'Early fraud warning'), ('unknown_price', 'Unknown price'), ('price_drift', 'Price differs from Stripe'), ('failed_refund', 'Failed refund'), ('failed_provisioning', 'Failed provisioning'), ('stuck_license', 'Stuck licence'), ('odd_credit_use', 'Odd credit use'), ('failed_payments', 'Many failed payments'), ('dead_letter', 'Dead letter'), ('invoice_trouble', 'Invoice could not be finalized or collected'), ('drift', 'Differs from Stripe without an event'), ('invariant', 'A rule of the data is broken'), ('report', 'User report'), ('webhook_endpoint', "The app's webhook endpoint was disabled")], max_length=32)),
                        ('cause_key', models.CharField(max_length=255)),
                        ('subject', models.CharField(blank=True, max_length=255)),
                        ('title', models.CharField(max_length=255)),
                        ('details', models.JSONField(blank=True, default=dict)),
                        ('status', models.CharField(choices=[('pending', 'Pending'), ('approved', 'Approved'), ('dismissed', 'Dismissed')], default='pending', max_length=16)),
                        ('note', models.TextField(blank=True)),
                        ('resolved_at', models.DateTimeField(blank=True, null=True)),
                        ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                        ('assigned_to', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='assigned_items', to=settings.AUTH_USER_MODEL)),
                        ('end_user', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='review_items', to='projects.enduser')),
                        ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='review_items', to='projects.project')),
                    ],
                    options={
                        'verbose_name': 'Review item',
                        'indexes': [
                            models.Index(fields=['project', 'mode', '-created_at'], name='review_item_recent'),
                            models.Index(condition=models.Q(('status', 'pending')), fields=['-created_at'], name='review_item_pending'),
                            models.Index(fields=['project', 'mode', 'kind', 'subject'], name='review_item_subject'),
                        ],
                        'constraints': [
                            models.UniqueConstraint(fields=('project', 'mode', 'cause_key'), name='review_item_once'),
                            models.CheckConstraint(condition=models.Q(('mode__in', ['test', 'live'])), name='review_item_mode'),
                        ],
                        'permissions': [
                            ('decide_reviewitem', 'Can decide about review items'),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name='ReviewNote',
                    fields=[
                        ('id', models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                        ('author_label', models.CharField(max_length=255)),
                        ('text', models.TextField()),
                        ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                        ('author', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='review_notes', to=settings.AUTH_USER_MODEL)),
                        ('item', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='notes', to='moderation.reviewitem')),
                        ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='review_notes', to='projects.project')),
                    ],
                    options={
                        'verbose_name': 'Review note',
                        'indexes': [
                            models.Index(fields=['item', 'created_at'], name='review_note_of_item'),
                        ],
                    },
                ),
            ],
        ),
        migrations.RunSQL(APPEND_ONLY, DROP_APPEND_ONLY),
    ]
