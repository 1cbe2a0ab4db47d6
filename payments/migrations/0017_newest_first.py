"""The lists of staff over all projects, newest first. Built while payments go on, so outside a transaction."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ('entitlements', '0027_backoffice_reads'),
        ('payments', '0016_one_open_checkout_of_a_licence'),
        ('projects', '0004_backoffice_reads'),
    ]

    operations = [
        AddIndexConcurrently(
            model_name='dispute',
            index=models.Index(fields=['-created_at', '-id'], name='dispute_newest'),
        ),
        AddIndexConcurrently(
            model_name='invoice',
            index=models.Index(fields=['-created_at', '-id'], name='invoice_newest'),
        ),
        AddIndexConcurrently(
            model_name='refund',
            index=models.Index(fields=['-created_at', '-id'], name='refund_newest'),
        ),
        AddIndexConcurrently(
            model_name='stripecustomer',
            index=models.Index(fields=['-created_at', '-id'], name='stripe_customer_newest'),
        ),
        AddIndexConcurrently(
            model_name='subscription',
            index=models.Index(fields=['-created_at', '-id'], name='subscription_newest'),
        ),
        AddIndexConcurrently(
            model_name='transaction',
            index=models.Index(fields=['-created_at', '-id'], name='transaction_newest'),
        ),
    ]
