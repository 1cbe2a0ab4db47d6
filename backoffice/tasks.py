"""Rounds of the back office. Each may run twice at once and may be left out: what is done is in the database."""

from celery import shared_task

from backoffice.services import review_rules


@shared_task
def look_for_trouble() -> None:
    """Open review items for what the rules find."""
    review_rules.look_for_trouble()
