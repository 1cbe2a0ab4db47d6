"""Indexes for the search of staff over all projects."""

import django.contrib.postgres.indexes
import django.db.models.functions.text
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('projects', '0003_anonymised_end_users'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='enduser',
            index=models.Index(django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('email'), 'text_pattern_ops'), name='end_user_email_begins'),
        ),
        migrations.AddIndex(
            model_name='enduser',
            index=models.Index(django.contrib.postgres.indexes.OpClass(django.db.models.functions.text.Upper('external_id'), 'text_pattern_ops'), name='end_user_id_begins'),
        ),
    ]
