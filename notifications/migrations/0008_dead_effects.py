"""Dead letters of the outbox, for metrics and staff. Built while effects go on, so outside a transaction."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('notifications', '0007_rights_of_roles'),
        ('projects', '0004_backoffice_reads'),
    ]

    operations = [
        AddIndexConcurrently(
            model_name='outboxrow',
            index=models.Index(condition=models.Q(('status', 'dead')), fields=['kind', '-created_at'], name='outbox_dead'),
        ),
    ]
