"""Licences and their GitHub teams, as 0001 to 0011 leave them."""

import django.contrib.postgres.fields
import django.contrib.postgres.indexes
import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
import django.db.models.functions.text
import django_fsm
from django.db import migrations, models

import common.ids
from common.migration_operations import CreateModels


class Migration(migrations.Migration):
    replaces = [
        ("licenses", "0001_github_connection"),
        ("licenses", "0002_licenses"),
        ("licenses", "0003_license_rights"),
        ("licenses", "0004_seats_of_members"),
        ("licenses", "0005_base_permission"),
        ("licenses", "0006_seats_by_person"),
        ("licenses", "0007_what_staff_overruled"),
        ("licenses", "0008_stuck_submitted"),
        ("licenses", "0009_checks_asked_for"),
        ("licenses", "0010_rights_of_roles"),
        ("licenses", "0011_backoffice_reads"),
    ]

    initial = True

    dependencies = [
        ("projects", "0001_squashed_0004_backoffice_reads"),
    ]

    operations = [
        CreateModels(
            operations=[
                migrations.CreateModel(
                    name='GitHubConnection',
                    fields=[
                        ('id', models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                        ('mode', models.CharField(choices=[('test', 'Test'), ('live', 'Live')], max_length=4)),
                        ('organization', models.CharField(max_length=100)),
                        ('team_slug', models.CharField(max_length=255)),
                        ('token', models.TextField(blank=True, editable=False)),
                        ('token_masked', models.CharField(blank=True, editable=False, max_length=64)),
                        ('token_login', models.CharField(blank=True, default='', max_length=100)),
                        ('token_expires_at', models.DateTimeField(blank=True, null=True)),
                        ('is_active', models.BooleanField(default=True)),
                        ('problem', models.CharField(blank=True, choices=[('token_rejected', 'The token is refused'), ('token_unreadable', 'The stored token cannot be read'), ('not_permitted', 'The token may not manage members'), ('not_owner', "The token's user does not own the organisation"), ('single_sign_on', 'The token is not authorised for single sign-on'), ('organization_missing', 'The organisation is not there'), ('team_missing', 'The team is not there'), ('base_permission', 'Every member of the organisation may see every repository'), ('unreachable', 'No answer'), ('unexpected', "The answer is not GitHub's")], default='', max_length=32)),
                        ('problem_since', models.DateTimeField(blank=True, null=True)),
                        ('answered_at', models.DateTimeField(blank=True, null=True)),
                        ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                        ('updated_at', models.DateTimeField(auto_now=True)),
                        ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='github_connections', to='projects.project')),
                    ],
                    options={
                        'verbose_name': 'GitHub connection',
                        'constraints': [
                            models.UniqueConstraint(fields=('project', 'mode'), name='github_connection_once_per_mode'),
                            models.CheckConstraint(condition=models.Q(('mode__in', ['test', 'live'])), name='github_connection_mode'),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name='LicenseProduct',
                    fields=[
                        ('id', models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                        ('code', models.SlugField(max_length=64)),
                        ('name', models.CharField(max_length=255)),
                        ('team_slug', models.CharField(blank=True, default='', max_length=255)),
                        ('repository', models.CharField(blank=True, default='', max_length=255)),
                        ('instructions', models.TextField(blank=True, default='', max_length=4000)),
                        ('activation_limit', models.PositiveIntegerField(blank=True, null=True, validators=[django.core.validators.MinValueValidator(1), django.core.validators.MaxValueValidator(1000)])),
                        ('allow_promotion_codes', models.BooleanField(default=True)),
                        ('active', models.BooleanField(default=True)),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='license_products', to='projects.project')),
                    ],
                    options={
                        'verbose_name': 'Licence product',
                        'ordering': ['project', 'code'],
                        'constraints': [
                            models.UniqueConstraint(fields=('project', 'code'), name='license_product_code_once_per_project'),
                            models.CheckConstraint(condition=models.Q(('activation_limit__isnull', True), ('activation_limit__gt', 0), _connector='OR'), name='license_product_activations'),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name='License',
                    fields=[
                        ('id', models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                        ('mode', models.CharField(choices=[('test', 'Test'), ('live', 'Live')], max_length=4)),
                        ('email', models.CharField(blank=True, max_length=512)),
                        ('stripe_session_id', models.CharField(max_length=255)),
                        ('payment_intent_id', models.CharField(blank=True, default='', max_length=255)),
                        ('amount_cents', models.PositiveBigIntegerField()),
                        ('currency', models.CharField(max_length=3)),
                        ('state', django_fsm.FSMField(choices=[('pending', 'Waits for a GitHub username'), ('username_submitted', 'Is being invited'), ('invited', 'Invitation sent'), ('active', 'Access granted'), ('revoked', 'Revoked')], default='pending', max_length=32, protected=True)),
                        ('revision', models.PositiveIntegerField(default=0)),
                        ('username', models.CharField(blank=True, default='', max_length=100)),
                        ('github_user_id', models.BigIntegerField(blank=True, null=True)),
                        ('username_problem', models.CharField(blank=True, default='', max_length=64)),
                        ('delayed_until', models.DateTimeField(blank=True, null=True)),
                        ('invitation_ended_as', models.CharField(blank=True, choices=[('expired', 'Expired'), ('declined', 'Declined or withdrawn')], default='', max_length=16)),
                        ('invitation_ended_at', models.DateTimeField(blank=True, null=True)),
                        ('purchased_at', models.DateTimeField()),
                        ('username_submitted_at', models.DateTimeField(blank=True, null=True)),
                        ('username_submitted_by', models.CharField(blank=True, default='', max_length=255)),
                        ('first_invited_at', models.DateTimeField(blank=True, null=True)),
                        ('invited_at', models.DateTimeField(blank=True, null=True)),
                        ('invited_by', models.CharField(blank=True, default='', max_length=255)),
                        ('activated_at', models.DateTimeField(blank=True, null=True)),
                        ('activated_by', models.CharField(blank=True, default='', max_length=255)),
                        ('revoked_at', models.DateTimeField(blank=True, null=True)),
                        ('revoked_by', models.CharField(blank=True, default='', max_length=255)),
                        ('revoked_because', models.CharField(blank=True, default='', max_length=255)),
                        ('welcome_sent_at', models.DateTimeField(blank=True, null=True)),
                        ('invitation_mail_sent_at', models.DateTimeField(blank=True, null=True)),
                        ('access_mail_sent_at', models.DateTimeField(blank=True, null=True)),
                        ('key_hash', models.CharField(blank=True, default='', editable=False, max_length=64)),
                        ('key_ending', models.CharField(blank=True, default='', editable=False, max_length=8)),
                        ('key_made_at', models.DateTimeField(blank=True, null=True)),
                        ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                        ('end_user', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.SET_NULL, related_name='licenses', to='projects.enduser')),
                        ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='licenses', to='projects.project')),
                        ('product', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='licenses', to='licenses.licenseproduct')),
                        ('overruled', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=255), blank=True, db_default=[], default=list, editable=False, size=None)),
                        ('taken_by', django.contrib.postgres.fields.ArrayField(base_field=models.CharField(max_length=255), blank=True, db_default=[], default=list, editable=False, size=None)),
                    ],
                    options={
                        'verbose_name': 'Licence',
                        'permissions': [
                            ('act_on_license', 'Can revoke licences, give them back and change who they let in'),
                            ('reinvite_license', 'Can invite the holders of licences again'),
                            ('resend_license_mail', 'Can send the mails of a licence again'),
                        ],
                        'indexes': [
                            models.Index(fields=['project', 'mode', '-purchased_at', '-id'], name='license_list'),
                            models.Index(fields=['project', 'mode', 'github_user_id'], name='license_of_github_user'),
                            models.Index(fields=['end_user', '-purchased_at'], name='license_of_end_user'),
                            models.Index(condition=models.Q(('state__in', ['pending', 'invited'])), fields=['state', 'purchased_at'], name='license_stuck'),
                            models.Index(condition=models.Q(('state', 'username_submitted')), fields=['username_submitted_at'], name='license_stuck_submitted'),
                            models.Index(django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('email'), 'text_pattern_ops'), name='license_email_begins'),
                            models.Index(django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('username'), 'text_pattern_ops'), name='license_username_begins'),
                        ],
                        'constraints': [
                            models.UniqueConstraint(fields=('project', 'mode', 'stripe_session_id'), name='license_once_per_session'),
                            models.UniqueConstraint(condition=models.Q(('payment_intent_id', ''), _negated=True), fields=('project', 'mode', 'payment_intent_id'), name='license_once_per_payment'),
                            models.UniqueConstraint(condition=models.Q(('key_hash', ''), _negated=True), fields=('key_hash',), name='license_key_once'),
                            models.CheckConstraint(condition=models.Q(('mode__in', ['test', 'live'])), name='license_mode'),
                            models.CheckConstraint(condition=models.Q(('state__in', ['pending', 'username_submitted', 'invited', 'active', 'revoked'])), name='license_state_known'),
                            models.CheckConstraint(condition=models.Q(models.Q(('state', 'username_submitted'), _negated=True), models.Q(models.Q(('username', ''), _negated=True), ('username_submitted_at__isnull', False)), _connector='OR'), name='license_submitted_stamped'),
                            models.CheckConstraint(condition=models.Q(models.Q(('state', 'invited'), _negated=True), models.Q(('github_user_id__isnull', False), ('invited_at__isnull', False)), _connector='OR'), name='license_invited_stamped'),
                            models.CheckConstraint(condition=models.Q(models.Q(('state', 'active'), _negated=True), models.Q(('activated_at__isnull', False), ('github_user_id__isnull', False)), _connector='OR'), name='license_active_stamped'),
                            models.CheckConstraint(condition=models.Q(models.Q(('revoked_at__isnull', False), ('state', 'revoked'), models.Q(('revoked_because', ''), _negated=True)), models.Q(models.Q(('state', 'revoked'), _negated=True), ('revoked_at__isnull', True)), _connector='OR'), name='license_revoked_stamped'),
                        ],
                    },
                    bases=(django_fsm.ConcurrentTransitionMixin, models.Model),
                ),
                migrations.CreateModel(
                    name='LicenseProductPrice',
                    fields=[
                        ('id', models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                        ('mode', models.CharField(choices=[('test', 'Test'), ('live', 'Live')], max_length=4)),
                        ('amount_cents', models.PositiveBigIntegerField(validators=[django.core.validators.MinValueValidator(1)])),
                        ('currency', models.CharField(default='usd', max_length=3)),
                        ('stripe_price_id', models.CharField(blank=True, default='', max_length=255)),
                        ('lookup_key', models.CharField(blank=True, default='', max_length=200)),
                        ('active', models.BooleanField(default=True)),
                        ('created_at', models.DateTimeField(auto_now_add=True)),
                        ('product', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='prices', to='licenses.licenseproduct')),
                        ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='license_product_prices', to='projects.project')),
                    ],
                    options={
                        'verbose_name': 'Licence price',
                        'ordering': ['product', 'mode'],
                        'constraints': [
                            models.UniqueConstraint(fields=('product', 'mode'), name='license_price_once_per_mode'),
                            models.UniqueConstraint(condition=models.Q(('stripe_price_id', ''), _negated=True), fields=('project', 'mode', 'stripe_price_id'), name='license_price_stripe_id_once'),
                            models.UniqueConstraint(condition=models.Q(('lookup_key', ''), _negated=True), fields=('project', 'mode', 'lookup_key'), name='license_price_lookup_key_once'),
                            models.CheckConstraint(condition=models.Q(('mode__in', ['test', 'live'])), name='license_price_mode'),
                            models.CheckConstraint(condition=models.Q(('amount_cents__gt', 0)), name='license_price_costs_something'),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name='LicenseSeat',
                    fields=[
                        ('id', models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                        ('mode', models.CharField(choices=[('test', 'Test'), ('live', 'Live')], max_length=4)),
                        ('revision', models.PositiveIntegerField()),
                        ('github_user_id', models.BigIntegerField()),
                        ('login', models.CharField(max_length=100)),
                        ('organization', models.CharField(max_length=100)),
                        ('team_slug', models.CharField(max_length=255)),
                        ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                        ('next_check_at', models.DateTimeField(blank=True, null=True)),
                        ('removed_at', models.DateTimeField(blank=True, null=True)),
                        ('removal_note', models.CharField(blank=True, default='', max_length=255)),
                        ('license', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='seats', to='licenses.license')),
                        ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='license_seats', to='projects.project')),
                        ('was_member', models.BooleanField(db_default=False, default=False)),
                        ('asked_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                        ('outcome', models.CharField(blank=True, choices=[('joined', 'Let in'), ('ended', 'Came to nothing')], db_default='', default='', max_length=8)),
                        ('was_in_team', models.BooleanField(db_default=False, default=False)),
                        ('check_asked_at', models.DateTimeField(blank=True, null=True)),
                        ('checked_at', models.DateTimeField(blank=True, null=True)),
                    ],
                    options={
                        'verbose_name': 'Licence seat',
                        'indexes': [
                            models.Index(condition=models.Q(('next_check_at__isnull', False), ('removed_at__isnull', True)), fields=['next_check_at'], name='license_seat_due'),
                            models.Index(fields=['github_user_id'], name='license_seat_of_user'),
                        ],
                        'constraints': [
                            models.UniqueConstraint(fields=('license', 'revision'), name='license_seat_once_per_revision'),
                            models.CheckConstraint(condition=models.Q(('mode__in', ['test', 'live'])), name='license_seat_mode'),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name='LicenseActivation',
                    fields=[
                        ('id', models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                        ('mode', models.CharField(choices=[('test', 'Test'), ('live', 'Live')], max_length=4)),
                        ('device_hash', models.CharField(max_length=64)),
                        ('device_name', models.CharField(blank=True, default='', max_length=255)),
                        ('activated_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                        ('license', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='activations', to='licenses.license')),
                        ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='license_activations', to='projects.project')),
                    ],
                    options={
                        'verbose_name': 'Licence activation',
                        'constraints': [
                            models.UniqueConstraint(fields=('license', 'device_hash'), name='license_activation_once_per_device'),
                            models.CheckConstraint(condition=models.Q(('mode__in', ['test', 'live'])), name='license_activation_mode'),
                        ],
                    },
                ),
                migrations.CreateModel(
                    name='LicenseChange',
                    fields=[
                        ('id', models.UUIDField(default=common.ids.uuid7, editable=False, primary_key=True, serialize=False)),
                        ('mode', models.CharField(choices=[('test', 'Test'), ('live', 'Live')], max_length=4)),
                        ('change', models.CharField(max_length=32)),
                        ('before', models.CharField(blank=True, max_length=32)),
                        ('after', models.CharField(max_length=32)),
                        ('by', models.CharField(max_length=255)),
                        ('note', models.CharField(blank=True, default='', max_length=1000)),
                        ('at', models.DateTimeField()),
                        ('license', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='changes', to='licenses.license')),
                        ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='license_changes', to='projects.project')),
                    ],
                    options={
                        'verbose_name': 'Licence history',
                        'verbose_name_plural': 'Licence history',
                        'indexes': [
                            models.Index(fields=['license', 'at', 'id'], name='license_change_of_license'),
                        ],
                        'constraints': [
                            models.CheckConstraint(condition=models.Q(('mode__in', ['test', 'live'])), name='license_change_mode'),
                        ],
                    },
                ),
            ],
        ),
    ]
