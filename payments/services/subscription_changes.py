"""What users do to their subscription: cancel, resume, change the price.

Invariant: a decision is made on what Stripe says now, not on our copy; the copy is then written by the sync that events
use too.
"""

import datetime as dt
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from common.clock import from_unix
from common.errors import ApiError, Conflict, NotFound
from payments.models import Subscription
from payments.models.billing import ENDED_STATUSES
from payments.services.intent_rows import IntentOutcome, StripeObject, carry_out, claim_intent, is_intent_open
from payments.services.kept_plans import terms_of_change
from payments.services.objects.subscription import cancel_time, cancels_at_period_end
from payments.services.objects.subscription_plan import first_item, kept_plan_code
from payments.services.prices import (
    RECURRING,
    PriceDoesNotFit,
    find_buyable_plan,
    price_id_of_plan,
    priced,
    retrieve_sellable_price,
)
from payments.services.sync_subscription import sync_subscription
from payments.stripe_api import StripeAccount, StripeObjectMissing, StripeRefused, stripe_account, unix
from projects.models import EndUser, Project

logger = logging.getLogger(__name__)

CANCEL_NOW, CANCEL_LATER, RESUME, UPDATE = "cancel_now", "cancel_at_period_end", "resume", "update"
SUBSCRIPTIONS = "subscriptions"
# Stripe's own list; anything else is kept in the comment, so that nothing a user says is lost.
# Source: https://docs.stripe.com/api/subscriptions/object#subscription_object-cancellation_details-feedback
FEEDBACK = frozenset(
    {
        "customer_service",
        "low_quality",
        "missing_features",
        "other",
        "switched_service",
        "too_complex",
        "too_expensive",
        "unused",
    }
)


class NoSubscription(NotFound):
    """404: the user has no subscription that has not ended."""

    code = "no_subscription"
    detail = "This user has no subscription."
    action = "checkout"


class BadProrationDate(ApiError):
    """400: the moment lies outside the period that is being paid for."""

    code = "bad_proration_date"
    detail = "proration_date must lie within the current period."


class SeveralItems(Conflict):
    """409: which of several prices is to be replaced cannot be told."""

    code = "several_items"
    detail = "This subscription has several prices; change it in the customer portal."


@dataclass(frozen=True)
class ChangedSubscription:
    """A subscription as Stripe answered a change."""

    subscription_id: str
    status: str
    price_id: str
    cancel_at: dt.datetime | None
    canceled_at: dt.datetime | None
    message: str


@dataclass(frozen=True)
class Change:
    """Whose subscription is changed, and the account that it lives in."""

    project: Project
    mode: str
    end_user: EndUser
    account: StripeAccount
    current: StripeObject

    @property
    def id(self) -> str:
        return str(self.current["id"])

    def read(self) -> StripeObject:
        return self.account.retrieve(SUBSCRIPTIONS, self.id)


def cancel_subscription(
    *, project: Project, mode: str, end_user: EndUser, immediately: bool, reason: str = "", comment: str = ""
) -> ChangedSubscription:
    """Cancel now, or at the end of the period. Raises: NoSubscription, StripeNotConfigured (404), StripeFailure.

    Source: https://docs.stripe.com/billing/subscriptions/cancel
    """
    change = begin_change(project, mode, end_user, finishing=CANCEL_NOW if immediately else "")
    details = _cancellation_details(reason, comment)
    if immediately:
        answer = _carry_out(change, CANCEL_NOW, details, _cancel_now)
        return _changed(change, answer, "The subscription is canceled.")
    answer = _carry_out(change, CANCEL_LATER, {"cancel_at_period_end": True, **details}, _update)
    return _changed(change, answer, "The subscription is canceled at the end of the period.")


def resume_subscription(*, project: Project, mode: str, end_user: EndUser) -> ChangedSubscription:
    """Undo a cancellation at period end. Raises: NoSubscription, StripeNotConfigured (404), StripeFailure."""
    change = begin_change(project, mode, end_user)
    if cancel_time(change.current) is None:
        _write_state(change.project, change.mode, change.id)
        return _changed(change, change.current, "The subscription was not set to cancel.")
    # A date that the portal set is cleared by an empty one; Stripe refuses the two parameters together.
    by_period = change.current.get("cancel_at_period_end")
    params: dict[str, Any] = {"cancel_at_period_end": False} if by_period else {"cancel_at": ""}
    return _changed(change, _carry_out(change, RESUME, params, _update), "The subscription goes on.")


def update_subscription(
    *,
    project: Project,
    mode: str,
    end_user: EndUser,
    new_price_id: str = "",
    plan: str = "",
    interval: str = "",
    proration_behavior: str = "create_prorations",
    proration_date: dt.datetime | None = None,
) -> ChangedSubscription:
    """Move the subscription to another price, keeping its quantity; a payment that fails leaves it as it was.

    A `plan` without an `interval` keeps the interval that is paid now. Another plan without proration begins with the next
    period: nothing is given back, and nothing paid, for this one.
    Raises: PriceNotFound, PriceDoesNotFit, BadProrationDate (400), StripeCardError (402), NoSubscription (404),
    SeveralItems (409), StripeFailure.  Source: https://docs.stripe.com/api/subscriptions/update
    """
    change = begin_change(project, mode, end_user)
    item, price = wanted_price(change, new_price_id=new_price_id, plan=plan, interval=interval)
    if item["price"]["id"] == price["id"]:
        _write_state(change.project, change.mode, change.id)
        return _changed(change, change.current, "The subscription has this price already.")
    terms = terms_of_change(
        project=project, mode=mode, current=change.current, price=price, proration_behavior=proration_behavior
    )
    params: dict[str, Any] = {
        **swapped(item, price),
        "proration_behavior": terms.proration_behavior,
        "payment_behavior": "error_if_incomplete",
    }
    if proration_date is not None:
        params["proration_date"] = checked_proration_date(proration_date, item)
    if terms.metadata:
        params["metadata"] = terms.metadata
    try:
        answer = _carry_out(change, UPDATE, params, _update)
    except StripeRefused as error:
        raise as_refusal(error) from None
    stays = " The plan that is paid for stays until the period ends." if kept_plan_code(answer) else ""
    return _changed(change, answer, update_message(item["price"], price) + stays)


def wanted_price(change: Change, *, new_price_id: str, plan: str, interval: str) -> tuple[StripeObject, StripeObject]:
    """Return the one item of a subscription and the price that is to take its place.

    Raises: FieldError (422), PriceNotFound, PriceDoesNotFit (400), SeveralItems (409), StripeFailure.
    """
    items = change.current["items"]["data"]
    if len(items) != 1:
        raise SeveralItems()
    item = items[0]
    if plan:
        found = find_buyable_plan(project=change.project, code=plan, field="plan")
        kept = interval or _interval_kept(item["price"])
        new_price_id = price_id_of_plan(account=change.account, plan=found, mode=change.mode, interval=kept)
    price = retrieve_sellable_price(
        account=change.account, project=change.project, mode=change.mode, price_id=new_price_id
    )
    _check_price_fits(price, item["price"])
    return dict(item), price


def swapped(item: StripeObject, price: StripeObject) -> dict[str, Any]:
    """Write the items of a subscription whose one item gets another price.

    Stripe sets the quantity to 1 when the price changes and none is given.
    Source: https://docs.stripe.com/api/subscriptions/update#update_subscription-items-quantity
    """
    return {"items": [{"id": item["id"], **priced(price, item.get("quantity") or 1)}]}


def _interval_kept(price: StripeObject) -> str:
    """Name the interval that is paid now, so that nobody who pays by the year is moved to the month by naming a plan."""
    recurring = price["recurring"]
    if recurring.get("interval_count", 1) != 1:
        raise PriceDoesNotFit(f"The subscription is billed every {_interval(price)}: give interval or new_price_id.")
    return str(recurring["interval"])


def begin_change(project: Project, mode: str, end_user: EndUser, *, finishing: str = "") -> Change:
    """Find the user's subscription and read what Stripe says about it now. Raises: NoSubscription (404), StripeFailure.

    An ended one passes only while the answer to `finishing` it is still owed: the call whose answer was lost.
    """
    account = stripe_account(project.id, mode)
    known = Subscription.objects.for_project(project).current_for(end_user, mode)
    if known is None:
        raise NoSubscription()
    owed = bool(finishing) and is_intent_open(
        project=project, mode=mode, operation=finishing, target=known.stripe_subscription_id
    )
    if known.status in ENDED_STATUSES and not owed:
        raise NoSubscription()
    try:
        current: StripeObject | None = account.retrieve(SUBSCRIPTIONS, known.stripe_subscription_id)
    except StripeObjectMissing:
        current = None
    if current is None or (current["status"] in ENDED_STATUSES and not owed):
        _write_state(project, mode, known.stripe_subscription_id)
        raise NoSubscription()
    return Change(project=project, mode=mode, end_user=end_user, account=account, current=current)


Sender = Callable[[Change, dict[str, Any], str], StripeObject]


def _carry_out(change: Change, operation: str, params: dict[str, Any], sender: Sender) -> StripeObject:
    """Commit the intent, call Stripe, commit what became of it, and write the subscription's new state."""
    intent = claim_intent(
        project=change.project,
        mode=change.mode,
        end_user=change.end_user,
        operation=operation,
        target=change.id,
        params=params,
    )

    def find_effect() -> StripeObject | None:
        current = change.read()
        return current if shows_effect(operation, params, current) else None

    try:
        answer = carry_out(
            IntentOutcome(intent),
            send=lambda: sender(change, params, intent.stripe_idempotency_key),
            find_effect=find_effect,
        )
    except StripeRefused:
        # Ended in the meantime, by a cancellation elsewhere: nothing is left to change.
        if change.read()["status"] in ENDED_STATUSES:
            _write_state(change.project, change.mode, change.id)
            raise NoSubscription() from None
        raise
    _write_state(change.project, change.mode, change.id)
    return answer


def _write_state(project: Project, mode: str, subscription_id: str) -> None:
    """Write what Stripe has now. What was asked for is done already, so trouble here is left to the webhook."""
    try:
        sync_subscription(project=project, mode=mode, subscription_id=subscription_id)
    except ApiError as error:
        logger.warning("A changed subscription will be written by its webhook: %s", error)


def shows_effect(operation: str, params: dict[str, Any], subscription: StripeObject) -> bool:
    """Say whether a subscription, as Stripe has it now, is as an operation meant to leave it."""
    if operation == CANCEL_NOW:
        return subscription["status"] in ENDED_STATUSES
    if operation == CANCEL_LATER:
        return cancels_at_period_end(subscription)
    if operation == RESUME:
        return cancel_time(subscription) is None
    return bool(first_item(subscription)["price"]["id"] == params["items"][0]["price"])


def _cancel_now(change: Change, params: dict[str, Any], key: str) -> StripeObject:
    # DELETE takes no idempotency key; a second one is answered as missing, and the subscription itself says why.
    try:
        return change.account.delete(SUBSCRIPTIONS, change.id, params)
    except StripeObjectMissing:
        current = change.read()
        if current["status"] not in ENDED_STATUSES:
            raise
        return current


def _update(change: Change, params: dict[str, Any], key: str) -> StripeObject:
    return change.account.update(SUBSCRIPTIONS, change.id, params, idempotency_key=key)


def _cancellation_details(reason: str, comment: str) -> dict[str, Any]:
    details: dict[str, str] = {}
    if reason in FEEDBACK:
        details["feedback"] = reason
    elif reason:
        details["feedback"] = "other"
        comment = f"{reason}: {comment}" if comment else reason
    if comment:
        details["comment"] = comment
    return {"cancellation_details": details} if details else {}


def _check_price_fits(new: StripeObject, old: StripeObject) -> None:
    if new.get("type") != RECURRING:
        raise PriceDoesNotFit("A subscription needs a recurring price.")
    if new["currency"] != old["currency"]:
        raise PriceDoesNotFit(f"The subscription is billed in {old['currency']}, this price in {new['currency']}.")


def checked_proration_date(at: dt.datetime, item: StripeObject) -> int:
    seconds = unix(at)
    if not item["current_period_start"] <= seconds <= item["current_period_end"]:
        raise BadProrationDate()
    return seconds


def update_message(old: StripeObject, new: StripeObject) -> str:
    """Say what changed; another billing interval never goes unmentioned."""
    before, after = _interval(old), _interval(new)
    if before == after:
        return "The subscription has its new price."
    return f"The subscription has its new price and is now billed every {after} instead of every {before}."


def _interval(price: StripeObject) -> str:
    recurring = price["recurring"]
    count = recurring.get("interval_count", 1)
    return str(recurring["interval"]) if count == 1 else f"{count} {recurring['interval']}s"


def _changed(change: Change, answer: StripeObject, message: str) -> ChangedSubscription:
    ended = answer["status"] in ENDED_STATUSES
    return ChangedSubscription(
        subscription_id=str(answer["id"]),
        status=str(answer["status"]),
        price_id=str(first_item(answer)["price"]["id"]),
        cancel_at=None if ended else from_unix(cancel_time(answer)),
        canceled_at=from_unix(answer.get("canceled_at")),
        message=message,
    )


def as_refusal(error: StripeRefused) -> ApiError:
    """Turn what Stripe refuses about the new price itself into the caller's 400; the rest stays as it is."""
    param = (error.param or "").removeprefix("subscription_details[").replace("]", "")
    if param.startswith("items"):
        return PriceDoesNotFit(error.user_message or "Stripe refuses this price for this subscription.")
    if param == "proration_date":
        return BadProrationDate(error.user_message or None)
    return error
