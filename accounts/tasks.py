"""Clearing out what no sign-in needs any more."""

from celery import shared_task

from accounts.services.tokens import prune_tokens


@shared_task
def prune_expired_tokens() -> int:
    """Delete expired tokens and ended sign-ins."""
    return prune_tokens()
