"""Rounds of the back office. Each may run twice at once and may be left out: what is done is in the database."""

from celery import shared_task

from backoffice.services import audit_retention, review_rules
from backoffice.services.exports import making
from backoffice.services.people import anonymising


@shared_task
def look_for_trouble() -> None:
    """Open review items for what the rules find."""
    review_rules.look_for_trouble()


@shared_task
def make_exports() -> None:
    """Make the files that wait, and let old ones go."""
    making.make_due_exports()
    making.expire_exports()


@shared_task
def keep_people_anonymised() -> None:
    """Empty what came in since about people who were anonymised."""
    anonymising.keep_people_anonymised()


@shared_task
def forget_old_audit_entries() -> None:
    """Let entries of the audit log go that are older than they are kept."""
    audit_retention.forget_old_entries()
