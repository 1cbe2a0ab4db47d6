"""Everything that a support call about one end user needs, in one mode: what they have, why, and what is wrong.

Invariant: read only, from this service's own rows; each list is bounded, and the number of statements is the same for everybody.
"""

import datetime as dt
from dataclasses import dataclass, field

from common import clock
from entitlements.models import CreditTransaction, CreditWallet, Entitlement
from entitlements.services.entitled import Entitled, read_entitled
from licenses.models import License
from moderation.models import ActionLog, ReviewItem
from notifications.models import OutboxRow
from payments.models import (
    CheckoutSession,
    Invoice,
    StripeCredentials,
    StripeCustomer,
    Subscription,
    SubscriptionChange,
    Transaction,
    WebhookEvent,
)
from payments.models.billing import standing
from payments.services.access import Access, access_of
from projects.models import EndUser

SHOWN = 10
EVENTS_SHOWN = 15
NAMESAKES_SHOWN = 5


@dataclass(frozen=True)
class HeldSubscription:
    """A subscription with what it gives at this moment."""

    row: Subscription
    access: Access


@dataclass(frozen=True)
class Case:
    """What support is shown. Lists are newest first and hold at most SHOWN."""

    end_user: EndUser
    mode: str
    at: dt.datetime
    credentials: StripeCredentials | None
    entitled: Entitled
    entitlement: Entitlement | None
    customers: list[StripeCustomer] = field(default_factory=list)
    subscriptions: list[HeldSubscription] = field(default_factory=list)
    changes: list[SubscriptionChange] = field(default_factory=list)
    payments: list[Transaction] = field(default_factory=list)
    invoices: list[Invoice] = field(default_factory=list)
    sessions: list[CheckoutSession] = field(default_factory=list)
    wallet: CreditWallet | None = None
    ledger: list[CreditTransaction] = field(default_factory=list)
    licenses: list[License] = field(default_factory=list)
    effects: list[OutboxRow] = field(default_factory=list)
    events: list[WebhookEvent] = field(default_factory=list)
    reviews: list[ReviewItem] = field(default_factory=list)
    log: list[ActionLog] = field(default_factory=list)
    namesakes: list[EndUser] = field(default_factory=list)
    other_mode_subscriptions: int = 0


def read_case(*, end_user: EndUser, mode: str) -> Case:
    """Read the case of one end user. About 20 statements. `end_user.project` is selected with the row."""
    project_id = end_user.project_id
    now = clock.now()
    of_user = {"mode": mode, "end_user": end_user}
    customers = list(StripeCustomer.objects.for_project(project_id).filter(**of_user).order_by("-created_at")[:SHOWN])
    rows = Subscription.objects.for_project(project_id).filter(**of_user)
    rows = rows.select_related("plan", "end_user", "project__billing_policy")
    subscriptions = list(rows.order_by(standing(), "-created_at", "-id")[:SHOWN])
    payments = list(
        Transaction.objects.for_project(project_id).filter(**of_user).order_by("-created_at", "-id")[:SHOWN]
    )
    invoices = list(Invoice.objects.for_project(project_id).filter(**of_user).order_by("-created_at", "-id")[:SHOWN])
    sessions = list(CheckoutSession.objects.for_project(project_id).filter(**of_user).order_by("-created_at")[:SHOWN])
    changes = SubscriptionChange.objects.for_project(project_id).filter(
        subscription__in=[row.pk for row in subscriptions]
    )
    wallet = CreditWallet.objects.for_project(project_id).filter(**of_user).first()
    ledger = CreditTransaction.objects.for_project(project_id).filter(wallet=wallet).order_by("-created_at", "-id")
    licenses = License.objects.for_project(project_id).filter(**of_user).select_related("product", "project")
    effects = OutboxRow.objects.for_project(project_id).filter(**of_user).order_by("-created_at", "-id")
    reviews = ReviewItem.objects.for_project(project_id).filter(**of_user).order_by("-created_at")
    known = [str(end_user.pk), *(row.stripe_subscription_id for row in subscriptions), *(str(row.pk) for row in subscriptions),
             *(str(row.pk) for row in payments), *(row.payment_intent_id for row in payments)]  # fmt: skip
    # Credits by hand name the user, deeds on a licence the licence.
    held = list(licenses.order_by("-purchased_at")[:SHOWN])
    known += [f"credits:{end_user.pk}", *(str(row.pk) for row in held)]
    log = ActionLog.objects.for_project(project_id).filter(subject__in=known).order_by("-at")
    credentials = StripeCredentials.objects.for_project(project_id).filter(mode=mode).select_related("config")
    return Case(
        end_user=end_user,
        mode=mode,
        at=now,
        credentials=credentials.defer(
            "secret_key", "publishable_key", "webhook_secret", "previous_webhook_secret"
        ).first(),
        entitled=read_entitled(project_id=project_id, mode=mode, end_user_id=end_user.pk),
        entitlement=Entitlement.objects.for_project(project_id).filter(**of_user).select_related("plan").first(),
        customers=customers,
        subscriptions=[HeldSubscription(row, access_of(row, now)) for row in subscriptions],
        changes=list(changes.select_related("subscription").order_by("-recorded_at", "-id")[:SHOWN]),
        payments=payments,
        invoices=invoices,
        sessions=sessions,
        wallet=wallet,
        ledger=list(ledger[:SHOWN]) if wallet is not None else [],
        licenses=held,
        effects=list(effects.defer("payload", "result")[:EVENTS_SHOWN]),
        events=_events(end_user, mode, customers, subscriptions, payments, invoices, sessions),
        reviews=list(reviews[:SHOWN]),
        log=list(log[:SHOWN]),
        namesakes=_namesakes(end_user),
        other_mode_subscriptions=Subscription.objects.for_project(project_id)
        .filter(end_user=end_user)
        .exclude(mode=mode)[:SHOWN]
        .count(),
    )


def _events(
    end_user: EndUser,
    mode: str,
    customers: list[StripeCustomer],
    subscriptions: list[Subscription],
    payments: list[Transaction],
    invoices: list[Invoice],
    sessions: list[CheckoutSession],
) -> list[WebhookEvent]:
    """Find Stripe's events about this user's objects, by the index of objects; and what waits or died under their customer."""
    objects = {row.stripe_customer_id for row in customers} | {row.stripe_subscription_id for row in subscriptions}
    objects |= {row.payment_intent_id for row in payments} | {row.stripe_charge_id for row in payments}
    objects |= {row.stripe_invoice_id for row in invoices} | {row.stripe_session_id for row in sessions}
    of_account = WebhookEvent.objects.for_project(end_user.project_id).filter(mode=mode).defer("payload")
    found = list(of_account.filter(object_id__in=objects - {""}).order_by("-received_at")[:EVENTS_SHOWN])
    roots = [row.stripe_customer_id for row in customers]
    waiting = of_account.filter(root__in=roots, status__in=["pending", "processing"]).order_by("-received_at")
    dead = of_account.filter(root__in=roots, status="dead").order_by("-received_at")
    trouble = [*waiting[:EVENTS_SHOWN], *dead[:EVENTS_SHOWN]] if roots else []
    together = {row.pk: row for row in [*trouble, *found]}
    # What died first, then the newest.
    return sorted(together.values(), key=lambda row: (row.status == "dead", row.received_at), reverse=True)[
        :EVENTS_SHOWN
    ]


def _namesakes(end_user: EndUser) -> list[EndUser]:
    """Find other end users of the project with the same address: who pays as one of them and signs in as another."""
    if not end_user.email:
        return []
    rows = EndUser.objects.for_project(end_user.project_id).filter(email__istartswith=end_user.email)
    others = [
        row for row in rows.exclude(pk=end_user.pk)[:SHOWN] if (row.email or "").lower() == end_user.email.lower()
    ]
    return others[:NAMESAKES_SHOWN]
