"""Sums of credits per day, for the dashboard."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('entitlements', '0026_rights_of_roles'),
        ('projects', '0004_backoffice_reads'),
    ]

    operations = [
        migrations.CreateModel(
            name='CreditDay',
            fields=[
                ('id', models.BigAutoField(primary_key=True, serialize=False)),
                ('mode', models.CharField(choices=[('test', 'Test'), ('live', 'Live')], max_length=4)),
                ('day', models.DateField()),
                ('given', models.BigIntegerField(default=0)),
                ('used', models.BigIntegerField(default=0)),
                ('project', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='credit_days', to='projects.project')),
            ],
            options={
                'verbose_name': 'Day of credits',
                'verbose_name_plural': 'Days of credits',
                'constraints': [models.UniqueConstraint(fields=('project', 'mode', 'day'), name='credit_day_once')],
            },
        ),
    ]
