"""Indexes for the search of staff over all projects."""

import django.contrib.postgres.indexes
import django.db.models.functions.text
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('licenses', '0010_rights_of_roles'),
        ('projects', '0004_backoffice_reads'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='license',
            index=models.Index(django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('email'), 'text_pattern_ops'), name='license_email_begins'),
        ),
        migrations.AddIndex(
            model_name='license',
            index=models.Index(django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('username'), 'text_pattern_ops'), name='license_username_begins'),
        ),
    ]
