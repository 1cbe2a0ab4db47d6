"""Bring everything of one end user up to what Stripe says, for somebody of the staff who waits for the answer."""

from dataclasses import dataclass

from accounts.models import User
from common.errors import ApiError
from moderation.services.action_log import log_action
from payments.models import StripeCustomer
from payments.services.objects.checkout import collect_checkout_session
from payments.services.objects.customer import collect_customer
from payments.services.objects.payment import PAYMENT_INTENTS
from payments.services.objects.payment_intent import collect_payment_intent
from payments.services.objects.subscription import SUBSCRIPTIONS, collect_subscription
from payments.services.ownership import Cause
from payments.services.snapshot import SESSIONS
from payments.services.sync import Collect, sync_object
from payments.stripe_api import StripeAccount, stripe_account
from projects.models import EndUser

# Each object is a few calls that somebody waits for: the newest are what a customer calls about.
CUSTOMERS_MAX = 3
NEWEST = 5
STAFF = Cause("staff")


@dataclass(frozen=True)
class Read:
    """How many objects were read, and what could not be."""

    count: int
    problems: list[str]


def sync_end_user(*, end_user: EndUser, mode: str, actor: User, reason: str) -> Read:
    """Read the user's customers with their newest checkouts, subscriptions and payments from Stripe and write what is there.

    Effects follow as from events, each once. Raises: StripeNotConfigured (404), StripeFailure (502, 503).
    """
    account = stripe_account(end_user.project_id, mode)
    log_action(
        action="stripe.read_now",
        subject=str(end_user.pk),
        actor=actor,
        reason=reason,
        project_id=end_user.project_id,
        mode=mode,
        details={"user_id": end_user.external_id},
    )
    rows = StripeCustomer.objects.for_project(end_user.project_id).filter(mode=mode, end_user=end_user, deleted_at=None)
    customers = list(rows.order_by("-created_at").values_list("stripe_customer_id", flat=True)[:CUSTOMERS_MAX])
    count, problems = 0, []
    for customer_id in customers:
        for collect, object_id in _objects_of(account, customer_id):
            try:
                sync_object(
                    project_id=end_user.project_id,
                    mode=mode,
                    collect=collect,
                    object_id=object_id,
                    root=customer_id,
                    cause=STAFF,
                )
                count += 1
            except ApiError as error:
                problems.append(f"{object_id}: {error.detail}")
    return Read(count, problems)


def _objects_of(account: StripeAccount, customer_id: str) -> list[tuple[Collect, str]]:
    """List a customer and its newest objects, parents first. Three calls."""
    found: list[tuple[Collect, str]] = [(collect_customer, customer_id)]
    lists: tuple[tuple[str, Collect, dict[str, str]], ...] = (
        (SESSIONS, collect_checkout_session, {}),
        (SUBSCRIPTIONS, collect_subscription, {"status": "all"}),
        (PAYMENT_INTENTS, collect_payment_intent, {}),
    )
    for path, collect, params in lists:
        page = account.list(path, {"customer": customer_id, "limit": NEWEST, **params})
        found += [(collect, one["id"]) for one in page["data"]]
    return found
