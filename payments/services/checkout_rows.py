"""The row of one checkout session: held while Stripe is called, settled by what Stripe says.

Invariant: while a row's outcome is open, its session is only ever asked for with the row's own idempotency key; the
row's id is the session's client_reference_id, so that a session whose answer was lost is found again.
"""

from contextlib import suppress
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models.functions import Now

from common.clock import from_unix
from common.ids import uuid7
from common.metrics import CHECKOUTS_OPENED
from entitlements.services.packs import PackOrder
from payments.models import CheckoutSession, CreditPurchase
from payments.services.checkout_effects import REPLACED, forgo_retry_mail
from payments.services.intent_rows import ERROR_CHARS, CallInProgress, StripeObject, carry_out, is_free, lease_end
from payments.services.trials import TrialUsed, free_trial, reserve_trial
from payments.stripe_api import StripeAccount, StripeObjectMissing, StripeRefused
from projects.models import EndUser, Project

SESSIONS = "checkout/sessions"
UNFINISHED = (CheckoutSession.Status.CREATING, CheckoutSession.Status.OPEN)
GIVEN_UP = (CheckoutSession.Status.FAILED, CheckoutSession.Status.UNKNOWN)
LOOKUP_LIMIT = 100
TRIAL_DAYS = "trial_period_days"


class SessionOutcome:
    """Commits what became of the creation of a session."""

    def __init__(self, row: CheckoutSession) -> None:
        self._row = row
        self._rows = CheckoutSession.objects.for_project(row.project_id).filter(pk=row.pk)
        self._creating = self._rows.filter(status=CheckoutSession.Status.CREATING)

    def succeeded(self, answer: StripeObject) -> None:
        made = {
            "status": answer["status"],
            "stripe_session_id": answer["id"],
            "url": answer.get("url") or "",
            "payment_status": answer.get("payment_status") or "",
            "expires_at": from_unix(answer.get("expires_at")),
            "error": "",
            "lease_until": None,
            "updated_at": Now(),
        }
        if self._creating.update(**made):
            return
        # Another process took this row over and gave it up: what Stripe made is true all the same, unless the user has
        # a newer checkout of the same purchase by now. Then nobody is given this one.
        given_up = self._rows.filter(status__in=GIVEN_UP, stripe_session_id="")
        with suppress(IntegrityError, TrialUsed), transaction.atomic():
            if given_up.update(**made) and has_trial(self._row.request):
                reserve_trial(self._row)

    def failed(self, error: str) -> None:
        self._settle(CheckoutSession.Status.FAILED, error)

    def released(self, error: str) -> None:
        self._settle(CheckoutSession.Status.CREATING, error)

    def unknown(self, error: str) -> None:
        """Nobody will ever tell: stop asking, without a second try."""
        self._settle(CheckoutSession.Status.UNKNOWN, error)

    def _settle(self, status: str, error: str) -> None:
        with transaction.atomic():
            settled = self._creating.update(
                status=status, error=error[:ERROR_CHARS], lease_until=None, updated_at=Now()
            )
            if settled and status in GIVEN_UP and has_trial(self._row.request):
                free_trial(project_id=self._row.project_id, session_id=self._row.pk)


def has_trial(request: dict[str, Any]) -> bool:
    """Say whether a session's request asks for a trial."""
    return bool((request.get("subscription_data") or {}).get(TRIAL_DAYS))


def insert_session(
    *,
    project: Project,
    mode: str,
    end_user: EndUser,
    purchase_key: str,
    request: dict[str, Any],
    order: PackOrder | None = None,
) -> CheckoutSession | None:
    """Commit a held row for a new session with its trial or credits; None when one of this purchase is open already.

    Raises: TrialUsed (400).
    """
    row_id = uuid7()
    try:
        with transaction.atomic():
            row = CheckoutSession.objects.create(
                id=row_id,
                project=project,
                mode=mode,
                end_user=end_user,
                purchase_key=purchase_key,
                stripe_idempotency_key=f"checkout-{row_id}",
                request=request,
                lease_until=lease_end(),
            )
            if has_trial(request):
                reserve_trial(row)
            if order is not None:
                note_purchase(row, order)
            return row
    except IntegrityError:
        return None


def note_purchase(row: CheckoutSession, order: PackOrder) -> CreditPurchase:
    """Write down what a checkout of credits sells, as the pack is now: this is what is given once it is paid."""
    return CreditPurchase.objects.create(
        project_id=row.project_id,
        mode=row.mode,
        end_user_id=row.end_user_id,
        checkout_session=row,
        pack=order.pack,
        pack_code=order.pack.code,
        pack_name=order.pack.name,
        quantity=order.quantity,
        credits=order.credits,
        amount_cents=order.amount_cents,
        currency=order.currency,
    )


def take_session(row: CheckoutSession) -> bool:
    """Hold a row whose creation is open and that nobody holds."""
    rows = CheckoutSession.objects.for_project(row.project_id).filter(pk=row.pk, status=CheckoutSession.Status.CREATING)
    return rows.filter(is_free()).update(lease_until=lease_end()) == 1


def create_at_stripe(account: StripeAccount, row: CheckoutSession) -> CheckoutSession:
    """Send the creation of a held row and return the settled row. Raises: StripeFailure, CallInProgress (503).

    Source: https://docs.stripe.com/api/checkout/sessions/create
    """

    def send() -> StripeObject:
        params = {**row.request, "client_reference_id": str(row.id)}
        return account.create(SESSIONS, params, idempotency_key=row.stripe_idempotency_key)

    carry_out(SessionOutcome(row), send=send, find_effect=lambda: find_created_session(account, row))
    settled = CheckoutSession.objects.for_project(row.project_id).get(pk=row.pk)
    if not settled.stripe_session_id:
        raise CallInProgress()
    kind = "subscription" if row.request.get("mode") == "subscription" else "payment"
    CHECKOUTS_OPENED.labels(kind=kind, mode=row.mode).inc()
    return settled


def find_created_session(account: StripeAccount, row: CheckoutSession) -> StripeObject | None:
    """Look at Stripe for the session that a row asked for; None when it was never made."""
    page = account.list(SESSIONS, {"customer": row.request["customer"], "limit": LOOKUP_LIMIT})
    return next((found for found in page["data"] if found.get("client_reference_id") == str(row.id)), None)


def mark_session(row: CheckoutSession, *, status: str, payment_status: str = "") -> None:
    """Note that a row's session is no longer open, unless somebody noted more already."""
    rows = CheckoutSession.objects.for_project(row.project_id).filter(pk=row.pk, status__in=UNFINISHED)
    with transaction.atomic():
        marked = rows.update(status=status, payment_status=payment_status, lease_until=None, updated_at=Now())
        if marked and status == CheckoutSession.Status.EXPIRED and has_trial(row.request):
            free_trial(project_id=row.project_id, session_id=row.pk)


def read_session(account: StripeAccount, row: CheckoutSession) -> StripeObject | None:
    """Read a row's session from Stripe; None when this account has none of that id."""
    try:
        return account.retrieve(SESSIONS, row.stripe_session_id)
    except StripeObjectMissing:
        return None


def expire_session(account: StripeAccount, row: CheckoutSession) -> bool:
    """Close a session that another one replaces; False when it is not open any more. Raises: StripeFailure.

    Source: https://docs.stripe.com/api/checkout/sessions/expire
    """
    forgo_retry_mail(row, because=REPLACED)
    try:
        # A fresh key each time: expiring twice is refused and never harms, and a stored 500 would stay for a day.
        account.action(SESSIONS, row.stripe_session_id, "expire", idempotency_key=f"expire-{uuid7()}")
    except StripeRefused:
        return False
    mark_session(row, status=CheckoutSession.Status.EXPIRED)
    return True
