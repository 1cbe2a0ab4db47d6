"""Celery tasks of the entitlements: they carry no data, and each may run twice at once or be left out."""

from celery import shared_task

from entitlements.services.credit_rounds import end_overdue_reservations
from entitlements.services.overage import close_ended_periods
from entitlements.services.provisioning_sweep import sweep_all
from entitlements.services.token_journal import prune_marks


@shared_task(name="entitlements.tasks.sweep_provisioning", acks_late=False, ignore_result=True)
def sweep_provisioning() -> None:
    """Compare what users are to have at LiteLLM with what they have."""
    sweep_all()


@shared_task(name="entitlements.tasks.close_usage_periods", acks_late=False, ignore_result=True)
def close_usage_periods() -> None:
    """Turn what was used beyond the plans into charges, where a period is over: while the renewal's invoice is a draft."""
    close_ended_periods()


@shared_task(name="entitlements.tasks.prune_token_marks", acks_late=False, ignore_result=True)
def prune_token_marks() -> None:
    """Delete idempotency keys and reservations of token budgets that have expired."""
    prune_marks()


@shared_task(name="entitlements.tasks.end_credit_reservations", acks_late=False, ignore_result=True)
def end_credit_reservations() -> None:
    """Give credits back whose reservation is over."""
    end_overdue_reservations()
