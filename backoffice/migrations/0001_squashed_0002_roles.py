"""Exports, and what the roles Admin, Moderator and Support may do, as 0001 and 0002 leave them."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.conf import settings
from django.db import migrations, models

import common.ids
from common.migration_operations import CreateModels
from backoffice.roles import grant_roles


class Migration(migrations.Migration):
    replaces = [
        ("backoffice", "0001_exports"),
        ("backoffice", "0002_roles"),
    ]

    initial = True

    dependencies = [
        ("accounts", "0002_roles_and_first_party_client"),
        ("projects", "0001_squashed_0004_backoffice_reads"),
        ("notifications", "0001_squashed_0008_dead_effects"),
        ("moderation", "0001_squashed_0008_action_log_of_actor"),
        ("entitlements", "0001_squashed_0027_backoffice_reads"),
        ("licenses", "0001_squashed_0011_backoffice_reads"),
        ("payments", "0001_squashed_0017_newest_first"),
        ("hosted", "0001_hosted_pages"),
        ("account", "0001_initial"),
        ("allauth_idp_oidc", "0003_client_allow_uri_wildcards"),
        ("auditlog", "0001_initial"),
        ("djstripe", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("contenttypes", "0002_remove_content_type_name"),
        migrations.swappable_dependency(settings.AUTH_USER_MODEL),
    ]

    operations = [
        CreateModels(
            operations=[
                migrations.CreateModel(
                    name='Export',
                    fields=[
                        ('id', models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                        ('mode', models.CharField(blank=True, choices=[('test', 'Test'), ('live', 'Live')], max_length=4)),
                        ('what', models.CharField(max_length=32, verbose_name='list')),
                        ('since', models.DateField(blank=True, null=True)),
                        ('until', models.DateField(blank=True, null=True)),
                        ('format', models.CharField(choices=[('csv', 'CSV'), ('xlsx', 'Excel (XLSX)')], default='csv', max_length=4)),
                        ('status', models.CharField(choices=[('pending', 'Waiting'), ('running', 'Being made'), ('done', 'Ready'), ('failed', 'Failed'), ('expired', 'Expired')], db_default='pending', default='pending', max_length=8)),
                        ('rows_written', models.PositiveBigIntegerField(db_default=0, default=0)),
                        ('size_bytes', models.PositiveBigIntegerField(db_default=0, default=0)),
                        ('error', models.CharField(blank=True, db_default='', default='', max_length=500)),
                        ('lease_until', models.DateTimeField(blank=True, null=True)),
                        ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                        ('done_at', models.DateTimeField(blank=True, null=True)),
                        ('expires_at', models.DateTimeField(blank=True, null=True)),
                        ('made_by', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='exports', to=settings.AUTH_USER_MODEL)),
                        ('project', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='exports', to='projects.project')),
                    ],
                    options={
                        'verbose_name': 'Export',
                        'indexes': [
                            models.Index(fields=['made_by', '-created_at'], name='export_of_maker'),
                            models.Index(condition=models.Q(('status__in', ['pending', 'running'])), fields=['created_at'], name='export_due'),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name='ExportPart',
                    fields=[
                        ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                        ('number', models.PositiveIntegerField()),
                        ('content', models.BinaryField()),
                        ('export', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='parts', to='backoffice.export')),
                    ],
                    options={
                        'constraints': [
                            models.UniqueConstraint(fields=('export', 'number'), name='export_part_once'),
                        ],
                    },
                ),
            ],
        ),
        migrations.RunPython(grant_roles, migrations.RunPython.noop),
    ]
