"""Rows of calls to Stripe that somebody waits for: who may send one, and what became of it.

Invariant: a row with its Stripe idempotency key is committed before Stripe is called, and while its outcome is open the
same call is only ever repeated with that key.
"""

import datetime as dt
import time
from collections.abc import Callable
from typing import Any, Protocol

from django.db import IntegrityError, models, transaction
from django.db.models import Q
from django.db.models.functions import Now

from common.errors import ApiError
from common.ids import uuid7
from payments.models import StripeIntent
from payments.stripe_api import StripeFailure, StripeUnavailable
from projects.models import EndUser, Project

# A lease only keeps two processes from sending the same call at once; were it too short, Stripe's idempotency key would
# still make the two one. It ends early in every case but a killed process.
LEASE_SECONDS = 15
PATIENCE_SECONDS = 20.0
POLL_SECONDS = 0.1
ERROR_CHARS = 500

StripeObject = dict[str, Any]


class CallInProgress(ApiError):
    """503: the same call is being made right now. Not 409, which an idempotency key would keep as its answer."""

    status_code = 503
    code = "in_progress"
    detail = "The same request is being carried out right now. Try again in a moment."
    retryable = True

    def __init__(self) -> None:
        super().__init__(retry_after_seconds=2)


def lease_end() -> models.Expression:
    """Say until when a row is held, by the database's clock."""
    return Now() + dt.timedelta(seconds=LEASE_SECONDS)


def is_free() -> Q:
    """Match rows that nobody holds."""
    return Q(lease_until__isnull=True) | Q(lease_until__lt=Now())


def claim_intent(
    *,
    project: Project,
    mode: str,
    end_user: EndUser | None,
    operation: str,
    target: str,
    params: dict[str, Any],
    keep_open_params: bool = False,
) -> StripeIntent:
    """Commit a row for a call and hold it, or take over the open row of the same call.

    An open row that asks for something else is given up (its outcome stays unknown, the next read of the object shows
    it), unless `keep_open_params`: then the caller must send what that row says. Raises: CallInProgress (503).
    """
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < give_up_at:
        intent = _insert(project, mode, end_user, operation, target, params)
        if intent is not None:
            return intent
        same = StripeIntent.objects.for_project(project).filter(mode=mode, operation=operation, target=target)
        waiting = same.filter(status=StripeIntent.Status.OPEN).first()
        if waiting is None:
            continue
        if not take_intent(waiting):
            time.sleep(POLL_SECONDS)
            continue
        if keep_open_params or waiting.params == params:
            return waiting
        settle_intent(waiting, status=StripeIntent.Status.UNKNOWN, error="given up for a later request")
    raise CallInProgress()


def is_intent_open(*, project: Project, mode: str, operation: str, target: str) -> bool:
    """Say whether the outcome of such a call is still owed to somebody."""
    rows = StripeIntent.objects.for_project(project).filter(mode=mode, operation=operation, target=target)
    return rows.filter(status=StripeIntent.Status.OPEN).exists()


def take_intent(intent: StripeIntent) -> bool:
    """Hold an open row that nobody holds; False when somebody does or it is settled."""
    rows = StripeIntent.objects.for_project(intent.project_id).filter(pk=intent.pk, status=StripeIntent.Status.OPEN)
    return rows.filter(is_free()).update(lease_until=lease_end()) == 1


def settle_intent(intent: StripeIntent, *, status: str, result_id: str = "", error: str = "") -> None:
    """Commit what became of a call."""
    StripeIntent.objects.for_project(intent.project_id).filter(pk=intent.pk, status=StripeIntent.Status.OPEN).update(
        status=status, result_id=result_id, error=error[:ERROR_CHARS], lease_until=None, updated_at=Now()
    )


def release_intent(intent: StripeIntent, *, error: str) -> None:
    """Let somebody else try the same call with the same key; its outcome is open."""
    StripeIntent.objects.for_project(intent.project_id).filter(pk=intent.pk, status=StripeIntent.Status.OPEN).update(
        error=error[:ERROR_CHARS], lease_until=None, updated_at=Now()
    )


class Outcome(Protocol):
    """Where a held row's result is committed."""

    def succeeded(self, answer: StripeObject) -> None:
        """The call took effect; `answer` is the object."""

    def failed(self, error: str) -> None:
        """The call had no effect; the next one is a new call."""

    def released(self, error: str) -> None:
        """Nobody can tell yet; the next try is the same call with the same key."""


class IntentOutcome:
    """Commits to a StripeIntent."""

    def __init__(self, intent: StripeIntent) -> None:
        self.intent = intent

    def succeeded(self, answer: StripeObject) -> None:
        settle_intent(self.intent, status=StripeIntent.Status.SUCCEEDED, result_id=str(answer.get("id", "")))

    def failed(self, error: str) -> None:
        settle_intent(self.intent, status=StripeIntent.Status.FAILED, error=error)

    def released(self, error: str) -> None:
        release_intent(self.intent, error=error)


def carry_out(
    outcome: Outcome, *, send: Callable[[], StripeObject], find_effect: Callable[[], StripeObject | None]
) -> StripeObject:
    """Send a held call and commit what became of it. `find_effect` reads whether it happened all the same.

    Raises: StripeFailure (402, 502, 503).
    """
    try:
        answer = send()
    except StripeUnavailable as error:
        found = _effect_after(error, outcome, find_effect)
        if found is None:
            raise
        answer = found
    except StripeFailure as error:
        outcome.failed(str(error))
        raise
    except BaseException as error:
        outcome.released(type(error).__name__)
        raise
    outcome.succeeded(answer)
    return answer


def _effect_after(
    error: StripeUnavailable, outcome: Outcome, find_effect: Callable[[], StripeObject | None]
) -> StripeObject | None:
    """Look for the effect of a call that Stripe answered with a 5xx; None when there is none or nobody can tell yet.

    Stripe keeps even a 500 under the idempotency key, so the same key would fail for a day: reading is the way out. A 429
    is kept under no key and says nothing about an attempt before it whose answer was lost: the library repeats by itself.
    Source: https://docs.stripe.com/api/idempotent_requests, https://docs.stripe.com/error-low-level
    """
    if (error.http_status or 0) < 500:
        outcome.released(str(error))
        return None
    try:
        found = find_effect()
    except StripeFailure:
        outcome.released(str(error))
        return None
    if found is None:
        outcome.failed(f"{error}; read again: it had no effect")
    return found


def _insert(
    project: Project, mode: str, end_user: EndUser | None, operation: str, target: str, params: dict[str, Any]
) -> StripeIntent | None:
    intent_id = uuid7()
    try:
        with transaction.atomic():
            return StripeIntent.objects.create(
                id=intent_id,
                project=project,
                mode=mode,
                end_user=end_user,
                operation=operation,
                target=target,
                params=params,
                stripe_idempotency_key=f"{operation}-{intent_id}",
                lease_until=lease_end(),
            )
    except IntegrityError:
        return None
