"""Celery tasks of the entitlements: they carry no data, and each may run twice at once or be left out."""

from celery import shared_task

from entitlements.services.credit_days import sum_credit_days
from entitlements.services.credit_rounds import end_overdue_reservations, give_months_of_given_plans
from entitlements.services.overage import close_ended_periods
from entitlements.services.provisioning_sweep import sweep_all
from entitlements.services.token_journal import prune_marks
from entitlements.services.usage_retention import fold_old_reports


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


@shared_task(name="entitlements.tasks.give_credit_months", acks_late=False, ignore_result=True)
def give_credit_months() -> None:
    """Give the next month's credits of plans that were given by hand."""
    give_months_of_given_plans()


@shared_task(name="entitlements.tasks.fold_old_usage", acks_late=False, ignore_result=True)
def fold_old_usage() -> None:
    """Fold reports of usage past their retention into their totals; what one run does not finish the next one does."""
    fold_old_reports()


@shared_task(name="entitlements.tasks.sum_credits", acks_late=False, ignore_result=True)
def sum_credits() -> None:
    """Sum what was given and used of credits, for the dashboard."""
    sum_credit_days()
