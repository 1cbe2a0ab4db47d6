"""Clearing out answers that are past their 24 hours."""

from celery import shared_task

from projects.idempotency import prune_idempotency_records


@shared_task
def prune_idempotency() -> int:
    """Delete old idempotency records."""
    return prune_idempotency_records()
