"""A reconciliation that somebody asks for: planned at once, carried out by the next worker that looks.

Invariant: what is planned is a row, so that a worker that dies or a broker that forgets only delays it to the next hour.
"""

from django.db import transaction

from accounts.models import User
from common.rate_limits import RateLimit, count_call
from moderation.services.action_log import log_action
from payments.services.reconcile.accounts import follow_account
from payments.services.reconcile.reconciling import Wish, plan_run
from payments.services.reconcile.runs import EVENTS, OBJECTS, RunInProgress
from projects.models import Project

# Each one reads all of an account at Stripe.
ASKED = RateLimit("reconciliations-asked", 20, 3600)


def ask_for_reconciliation(*, project: Project, mode: str, actor: User, reason: str) -> list[str]:
    """Plan the search for events that never arrived and the comparison of every object, and log it; returns what was planned.

    Raises: StripeNotConfigured (404), RunInProgress (409) when all of it is under way, TooManyRequests (429).
    """
    count_call(ASKED, f"user:{actor.pk}")
    follow_account(project_id=project.pk, mode=mode)
    planned = []
    with transaction.atomic():
        for kind in (EVENTS, OBJECTS):
            try:
                plan_run(project_id=project.pk, mode=mode, wish=Wish(kind, heals=True))
            except RunInProgress:
                continue
            planned.append(kind)
        if not planned:
            raise RunInProgress()
        log_action(
            action="reconcile.ask",
            subject=str(project.pk),
            actor=actor,
            reason=reason,
            project_id=project.pk,
            mode=mode,
            details={"planned": planned},
        )
    return planned
