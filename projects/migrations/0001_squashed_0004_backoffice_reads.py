"""Projects and what belongs to them, as 0001 to 0004 leave them."""

import django.contrib.postgres.indexes
import django.db.models.deletion
import django.db.models.functions.text
import django.utils.timezone
import uuid
from django.conf import settings
from django.db import migrations, models

import common.ids
from common.migration_operations import CreateModels


class Migration(migrations.Migration):
    replaces = [
        ("projects", "0001_initial"),
        ("projects", "0002_end_user_appearance"),
        ("projects", "0003_anonymised_end_users"),
        ("projects", "0004_backoffice_reads"),
    ]

    initial = True

    dependencies = [
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        CreateModels(
            operations=[
                migrations.CreateModel(
                    name='Project',
                    fields=[
                        ('id', models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                        ('name', models.CharField(max_length=255)),
                        ('slug', models.SlugField(max_length=63, unique=True)),
                        ('description', models.CharField(blank=True, max_length=1000, null=True)),
                        ('is_active', models.BooleanField(default=True)),
                        ('allowed_origins', models.JSONField(blank=True, default=list)),
                        ('default_success_url', models.CharField(blank=True, max_length=2048, null=True)),
                        ('default_cancel_url', models.CharField(blank=True, max_length=2048, null=True)),
                        ('default_return_url', models.CharField(blank=True, max_length=2048, null=True)),
                        ('shared_webhook', models.BooleanField(default=False, help_text='Take part in the shared webhook address.')),
                        ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('deleted_at', models.DateTimeField(blank=True, editable=False, null=True)),
                    ],
                    options={
                        'indexes': [
                            models.Index(fields=['-created_at', '-id'], name='project_newest'),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name='ApiKey',
                    fields=[
                        ('id', models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                        ('name', models.CharField(max_length=255)),
                        ('key_hash', models.CharField(editable=False, max_length=64, unique=True)),
                        ('key_prefix', models.CharField(editable=False, max_length=8)),
                        ('is_test_mode', models.BooleanField(default=True)),
                        ('is_active', models.BooleanField(default=True)),
                        ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                        ('last_used_at', models.DateTimeField(blank=True, editable=False, null=True)),
                        ('created_by', models.ForeignKey(blank=True, editable=False, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='+', to=settings.AUTH_USER_MODEL)),
                        ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='api_keys', to='projects.project')),
                    ],
                ),
                migrations.CreateModel(
                    name='Membership',
                    fields=[
                        ('id', models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                        ('role', models.CharField(choices=[('owner', 'Owner'), ('developer', 'Developer'), ('viewer', 'Viewer')], default='viewer', max_length=16)),
                        ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                        ('user', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to=settings.AUTH_USER_MODEL)),
                        ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='memberships', to='projects.project')),
                    ],
                    options={
                        'constraints': [
                            models.UniqueConstraint(fields=('project', 'user'), name='membership_once_per_user'),
                            models.CheckConstraint(condition=models.Q(('role__in', ['owner', 'developer', 'viewer'])), name='membership_role_known'),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name='IdentityProvider',
                    fields=[
                        ('id', models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                        ('kind', models.CharField(choices=[('jwks', 'Public keys at an address (JWKS)'), ('hs256', 'Shared secret (HS256)')], max_length=8)),
                        ('issuer', models.CharField(max_length=500)),
                        ('audience', models.CharField(max_length=500)),
                        ('jwks_url', models.CharField(blank=True, default='', max_length=2048)),
                        ('hs256_secret_encrypted', models.TextField(blank=True, default='', editable=False)),
                        ('user_id_claim', models.CharField(default='sub', max_length=100)),
                        ('email_claim', models.CharField(default='email', max_length=100)),
                        ('test_only', models.BooleanField(default=False, help_text='Its tokens never reach live mode.')),
                        ('is_active', models.BooleanField(default=True)),
                        ('jwks_document', models.JSONField(blank=True, editable=False, null=True)),
                        ('jwks_fetched_at', models.DateTimeField(blank=True, editable=False, null=True)),
                        ('jwks_attempted_at', models.DateTimeField(blank=True, editable=False, null=True)),
                        ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('project', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='identity_provider', to='projects.project')),
                    ],
                    options={
                        'constraints': [
                            models.CheckConstraint(condition=models.Q(('kind__in', ['jwks', 'hs256'])), name='identity_provider_kind_known'),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name='IdempotencyRecord',
                    fields=[
                        ('id', models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                        ('caller', models.CharField(help_text='Who asked: user:…, key:… or end_user:….', max_length=100)),
                        ('key', models.CharField(max_length=255)),
                        ('method', models.CharField(max_length=8)),
                        ('path', models.CharField(max_length=2048)),
                        ('request_hash', models.CharField(max_length=64)),
                        ('state', models.CharField(choices=[('in_flight', 'In flight'), ('done', 'Done')], default='in_flight', max_length=16)),
                        ('claim', models.UUIDField(default=uuid.uuid4, editable=False, help_text='Whose attempt this is; a late one may not answer.')),
                        ('lease_until', models.DateTimeField()),
                        ('status_code', models.PositiveSmallIntegerField(blank=True, null=True)),
                        ('response_body', models.JSONField(blank=True, null=True)),
                        ('holds_secret', models.BooleanField(default=False)),
                        ('created_at', models.DateTimeField(db_index=True, default=django.utils.timezone.now, editable=False)),
                        ('project', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='projects.project')),
                    ],
                    options={
                        'constraints': [
                            models.UniqueConstraint(fields=('project', 'caller', 'key'), name='idempotency_key_once_per_caller', nulls_distinct=False),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name='EndUser',
                    fields=[
                        ('id', models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                        ('external_id', models.CharField(max_length=255)),
                        ('email', models.EmailField(blank=True, max_length=254, null=True)),
                        ('is_active', models.BooleanField(default=True)),
                        ('banned_at', models.DateTimeField(blank=True, null=True)),
                        ('created_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                        ('last_seen_at', models.DateTimeField(blank=True, null=True)),
                        ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='end_users', to='projects.project')),
                        ('appeared_live_at', models.DateTimeField(blank=True, editable=False, null=True)),
                        ('appeared_test_at', models.DateTimeField(blank=True, editable=False, null=True)),
                        ('anonymised_at', models.DateTimeField(blank=True, editable=False, null=True)),
                    ],
                    options={
                        'indexes': [
                            models.Index(fields=['project', '-created_at', '-id'], name='end_user_newest'),
                            models.Index(django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('email'), 'text_pattern_ops'), name='end_user_email_begins'),
                            models.Index(django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('external_id'), 'text_pattern_ops'), name='end_user_id_begins'),
                        ],
                        'constraints': [
                            models.UniqueConstraint(fields=('project', 'external_id'), name='end_user_once_per_project'),
                        ],
                        'permissions': [
                            ('ban_enduser', 'Can ban end users and let them in again'),
                            ('anonymise_enduser', 'Can hand out and erase what is kept about an end user'),
                        ],
                    },
                ),
            ],
        ),
    ]
