"""Compares every row of a world's projects with Stripe's objects, field by field, and counts what had to happen outside.

What a row must say is worked out here from Stripe's lists alone, by statements of this file's own.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from common.ids import stripe_row_id
from moderation.models import ReviewItem
from notifications.models import OutboxRow
from payments.mirror import mirrored
from payments.models import (
    CheckoutSession,
    Dispute,
    Invoice,
    Refund,
    StripeCustomer,
    Subscription,
    SubscriptionChange,
    Transaction,
    WebhookEvent,
)
from payments.services.invariants import QUERIES, check_invariants
from payments.services.rollups import find_rollup_differences, read_revenue
from projects.models import EndUser, Project
from tests.scenarios.world import MODES, PLANS, World

KINDS = ("subscriptions", "payment_intents", "charges", "invoices", "invoice_payments", "refunds", "disputes", "events")
OVERDUE = ("past_due", "unpaid")
CYCLE = "subscription_cycle"
# What the mirror's copies must say as Stripe does, by its name for a kind and by Stripe's list.
COPIED = {
    ("subscription", "subscriptions"): ("status", "cancel_at_period_end", "cancel_at", "canceled_at", "ended_at"),
    ("invoice", "invoices"): ("status", "amount_due", "amount_paid", "amount_remaining", "attempt_count"),
    ("payment_intent", "payment_intents"): ("status", "amount", "amount_received", "latest_charge"),
    ("charge", "charges"): ("status", "amount", "amount_refunded", "disputed"),
    ("refund", "refunds"): ("status", "amount", "payment_intent"),
}
SECRETS = "I8"
RULES = [rule for rule in QUERIES if rule != SECRETS]
Found = dict[str, Any]


class Payer(Protocol):
    """Somebody who pays: our user, and their customer at Stripe."""

    @property
    def end_user(self) -> EndUser: ...

    @property
    def customer_id(self) -> str: ...


@dataclass(frozen=True)
class Side:
    """What Stripe has of one project's buyers in one mode, and who they are."""

    project: Project
    mode: str
    buyers: Sequence[Payer]
    subscriptions: list[Found]
    payment_intents: list[Found]
    charges: list[Found]
    invoices: list[Found]
    invoice_payments: list[Found]
    refunds: list[Found]
    disputes: list[Found]
    events: list[Found]

    def rows(self, model: Any) -> Any:
        """Return our rows of one table."""
        return model.objects.for_project(self.project).filter(mode=self.mode)

    def user_of(self, customer_id: str) -> Any:
        """Say whose customer it is."""
        return next(buyer.end_user.pk for buyer in self.buyers if buyer.customer_id == customer_id)

    def charges_of(self, payment_intent_id: str) -> list[Found]:
        """Return every attempt to take a payment."""
        return [charge for charge in self.charges if charge["payment_intent"] == payment_intent_id]

    def intents_of(self, invoice_id: str) -> list[str]:
        """Name the payments that were made, or tried, to an invoice."""
        made = [one for one in self.invoice_payments if one["invoice"] == invoice_id]
        return [one["payment"]["payment_intent"] for one in made if one["payment"]["type"] == "payment_intent"]

    def invoice_of(self, payment_intent_id: str) -> str | None:
        """Name the invoice that a payment was made to."""
        made = [one for one in self.invoice_payments if one["payment"].get("payment_intent") == payment_intent_id]
        return made[0]["invoice"] if made else None


def compare_with_stripe(world: World) -> None:
    """Compare everything with Stripe in both modes, count the effects, and check every invariant."""
    for mode in MODES:
        at_stripe = {
            kind: world.objects(mode, kind, **({"status": "all"} if kind == "subscriptions" else {})) for kind in KINDS
        }
        for project in world.projects:
            side = _side_of(world, project, mode, at_stripe)
            check_customers(world, side)
            check_checkouts(world, side)
            check_copies(world, side)
            check_subscriptions(side)
            check_payments(side)
            check_revenue(side)
            check_invoices(side)
            check_refunds_and_disputes(side)
            check_effects(side)
            check_inbox(side)
    for project in world.projects:
        assert [row for row in find_rollup_differences() if row["project_id"] == project.pk] == []
        for rule in RULES:
            assert [str(one) for one in check_invariants(project_id=project.pk, only=rule)] == []


def check_no_secrets(projects: Sequence[Project]) -> None:
    """Look for secrets in every column of every table for some of many projects: it takes too long to be done for each."""
    for project in projects[:: max(1, len(projects) // 10)]:
        assert [str(one) for one in check_invariants(project_id=project.pk, only=SECRETS)] == []


def _side_of(world: World, project: Project, mode: str, at_stripe: dict[str, list[Found]]) -> Side:
    """Keep what belongs to one project's buyers; a refund and a dispute belong to their charge's."""
    buyers = [one for one in world.buyers if one.project == project and one.mode == mode and one.customer_id]
    customers = {buyer.customer_id for buyer in buyers}
    payer = {charge["id"]: charge["customer"] for charge in at_stripe["charges"]}
    payer |= {invoice["id"]: invoice["customer"] for invoice in at_stripe["invoices"]}

    def is_ours(kind: str, found: Found) -> bool:
        one = found["data"]["object"] if kind == "events" else found
        whose = one.get("customer") or payer.get(one.get("charge") or "") or payer.get(one.get("invoice") or "")
        return whose in customers

    mine = {kind: [one for one in found if is_ours(kind, one)] for kind, found in at_stripe.items()}
    return Side(project, mode, buyers, **mine)


def check_customers(world: World, side: Side) -> None:
    """Every customer: whose it is, its billing data, and the card that is charged next; nobody else's is here."""
    rows = {row.stripe_customer_id: row for row in side.rows(StripeCustomer)}
    assert set(rows) == {buyer.customer_id for buyer in side.buyers}
    for customer_id, row in rows.items():
        one = world.shop.api("GET", f"customers/{customer_id}", live=side.mode == "live")
        cards = world.objects(side.mode, "payment_methods", customer=customer_id)
        default = one["invoice_settings"]["default_payment_method"]
        card = max(cards, key=lambda card: (card["id"] == default, card["created"], card["id"]))
        paid_by, detail = row.billing["payment_method"], card["card"]
        assert (
            row.end_user_id, row.email, row.name, row.deleted_at, row.billing["address"], row.billing["tax_ids"],
            paid_by["id"], paid_by["brand"], paid_by["last4"], paid_by["expires"],
        ) == (
            side.user_of(customer_id), one["email"] or "", one["name"] or "", None, one["address"], [],
            card["id"], detail["brand"], detail["last4"], f"{detail['exp_year']}-{detail['exp_month']:02}",
        )  # fmt: skip


def check_checkouts(world: World, side: Side) -> None:
    """Every checkout: what became of it, what it made, and whose it is."""
    mine = {buyer.customer_id for buyer in side.buyers}
    assert {
        row.stripe_session_id: (row.status, row.payment_status, row.stripe_subscription_id, row.end_user_id)
        for row in side.rows(CheckoutSession)
    } == {
        one["id"]: (one["status"], one["payment_status"], one["subscription"], side.user_of(one["customer"]))
        for one in world.objects(side.mode, "checkout/sessions")
        if one["customer"] in mine
    }


def check_copies(world: World, side: Side) -> None:
    """The mirror's copies for support say what Stripe says."""
    accounts, live = [world.shop.account.account_id], side.mode == "live"
    for (kind, path), names in COPIED.items():
        copies = {row.id: row.stripe_data for row in mirrored(kind, account_ids=accounts).filter(livemode=live)}
        # A charge that failed before another one succeeded is read by nobody.
        for one in [one for one in getattr(side, path) if kind != "charge" or one["paid"]]:
            copy = {name: _id_or_value(copies[one["id"]][name]) for name in names}
            assert copy == {name: one[name] for name in names}


def _id_or_value(value: Any) -> Any:
    """Name an object that was read along with the one that refers to it."""
    return value["id"] if isinstance(value, dict) else value


def check_subscriptions(side: Side) -> None:
    """Every subscription: its fields, its plan, whose it is, since when it is overdue, and whether access was taken away."""
    rows = {row.stripe_subscription_id: row for row in side.rows(Subscription).select_related("plan")}
    assert set(rows) == {one["id"] for one in side.subscriptions}
    for one in side.subscriptions:
        row, item = rows[one["id"]], one["items"]["data"][0]
        assert row.plan is not None
        ours = {
            "status": row.status, "plan": row.plan.code, "price": row.stripe_price_id, "quantity": row.quantity,
            "user": row.end_user_id, "customer": row.stripe_customer_id, "start": _unix(row.current_period_start),
            "end": _unix(row.current_period_end), "trial_end": _unix(row.trial_end), "cancel_at": _unix(row.cancel_at),
            "canceled_at": _unix(row.canceled_at), "ended_at": _unix(row.ended_at),
            "cancel_at_period_end": row.cancel_at_period_end, "created": _unix(row.created_at),
            "past_due_since": _unix(row.past_due_since),
            "revoked": (_unix(row.access_revoked_at), row.access_revoked_by),
        }  # fmt: skip
        theirs = {
            "status": one["status"], "plan": PLANS[item["price"]["unit_amount"]], "price": item["price"]["id"],
            "quantity": item["quantity"], "user": side.user_of(one["customer"]), "customer": one["customer"],
            "start": item["current_period_start"], "end": item["current_period_end"], "trial_end": one["trial_end"],
            "cancel_at": one["cancel_at"], "canceled_at": one["canceled_at"], "ended_at": one["ended_at"],
            "cancel_at_period_end": one["cancel_at_period_end"], "created": one["created"],
            "past_due_since": _overdue_since(side, one), "revoked": _revoked(side, one),
        }  # fmt: skip
        assert ours == theirs


def _invoices_of(side: Side, subscription: Found) -> list[Found]:
    return [one for one in side.invoices if _subscription_of(one) == subscription["id"]]


def _subscription_of(invoice: Found) -> str | None:
    details = (invoice["parent"] or {}).get("subscription_details") or {}
    return details.get("subscription")


def _overdue_since(side: Side, subscription: Found) -> int | None:
    """Grace begins when the oldest invoice that was tried and is still open was tried first, which is when it was finalized."""
    if subscription["status"] not in OVERDUE:
        return None
    unpaid = [one for one in _invoices_of(side, subscription) if one["status"] == "open" and one["attempted"]]
    return min(one["status_transitions"]["finalized_at"] for one in unpaid)


def _revoked(side: Side, subscription: Found) -> tuple[int | None, str]:
    """Access goes with a full refund, or a lost dispute, of what the latest paid invoice brought."""
    paid = [one for one in _invoices_of(side, subscription) if one["status"] == "paid"]
    paid = [one for one in paid if one["amount_paid"] > 0 or one["billing_reason"] == CYCLE]
    if not paid:
        return None, ""

    def age(one: Found) -> Any:
        # Of two paid in one second the one for the later period counts; of two for one period some order must be kept,
        # and ours is that of the rows' ids.
        return (
            one["status_transitions"]["paid_at"],
            one["created"],
            one["period_end"],
            stripe_row_id(side.project.pk, side.mode, one["id"]),
        )

    causes: list[tuple[int, str]] = []
    for intent_id in side.intents_of(max(paid, key=age)["id"]):
        left = next(one["amount_received"] for one in side.payment_intents if one["id"] == intent_id)
        refunds = [one for one in side.refunds if one["payment_intent"] == intent_id and one["status"] == "succeeded"]
        for refund in sorted(refunds, key=lambda one: (one["created"], one["id"])):
            left -= refund["amount"]
            causes += [(refund["created"], refund["id"])] if left <= 0 else []
        lost = [one for one in side.disputes if one["payment_intent"] == intent_id and one["status"] == "lost"]
        causes += [(one["created"], one["id"]) for one in lost]
    return min(causes) if causes else (None, "")


def check_payments(side: Side) -> None:
    """Every payment that was tried: its exact status, amounts, whose it is, and what it was for."""
    rows = {row.payment_intent_id: row for row in side.rows(Transaction).select_related("subscription")}
    tried = [intent for intent in side.payment_intents if intent["latest_charge"]]
    assert set(rows) == {intent["id"] for intent in tried}
    invoices = {invoice["id"]: invoice for invoice in side.invoices}
    for intent in tried:
        row = rows[intent["id"]]
        charge = next(one for one in side.charges if one["id"] == intent["latest_charge"])
        invoice_id = side.invoice_of(intent["id"])
        ours = (
            row.status, row.amount_cents, row.currency, row.refunded_amount_cents, row.disputed, row.end_user_id,
            row.stripe_charge_id, row.stripe_invoice_id or None,
            row.subscription.stripe_subscription_id if row.subscription else None,
        )  # fmt: skip
        theirs = (
            _status_of(intent, charge), intent["amount"], intent["currency"], charge["amount_refunded"],
            charge["disputed"], side.user_of(intent["customer"]), charge["id"], invoice_id,
            _subscription_of(invoices[invoice_id]) if invoice_id else None,
        )  # fmt: skip
        assert ours == theirs


def _status_of(intent: Found, charge: Found) -> str:
    """Say what the contract calls a payment that was tried; nobody is asked for a confirmation in these lives."""
    if intent["status"] != "succeeded":
        return {"requires_payment_method": "failed", "canceled": "canceled"}[intent["status"]]
    if charge["amount_refunded"] >= intent["amount_received"]:
        return "refunded"
    return "partially_refunded" if charge["amount_refunded"] else "succeeded"


def check_revenue(side: Side) -> None:
    """The statistics of one mode are the sums over Stripe's charges, currency by currency."""
    earned: dict[str, int] = {}
    for charge in side.charges:
        if charge["paid"]:
            left = charge["amount"] - charge["amount_refunded"]
            earned[charge["currency"]] = earned.get(charge["currency"], 0) + left
    told = read_revenue(project_ids=[side.project.pk], mode=side.mode)
    assert {row["currency"]: row["gross_cents"] - row["refunded_cents"] for row in told if row["succeeded"]} == earned


def check_invoices(side: Side) -> None:
    """Every invoice: its status, amounts and attempts, and whose and what for it is."""
    rows = {row.stripe_invoice_id: row for row in side.rows(Invoice).select_related("subscription")}
    # With its subscription's end an open invoice is tried no more, which the sandbox announces by no event of the invoice.
    over = {one["id"] for one in side.subscriptions if one["status"] == "canceled"}
    given_up = {one["id"] for one in side.invoices if one["status"] == "open" and _subscription_of(one) in over}
    assert {
        key: (
            row.status, row.amount_due_cents, row.amount_paid_cents, row.amount_remaining_cents, row.attempt_count,
            row.currency, row.billing_reason, row.number, _unix(row.paid_at),
            None if key in given_up else _unix(row.next_payment_attempt), row.end_user_id,
            row.subscription.stripe_subscription_id if row.subscription else None,
        )
        for key, row in rows.items()
    } == {
        one["id"]: (
            one["status"], one["amount_due"], one["amount_paid"], one["amount_remaining"], one["attempt_count"],
            one["currency"], one["billing_reason"], one["number"] or "", one["status_transitions"]["paid_at"],
            one["next_payment_attempt"], side.user_of(one["customer"]), _subscription_of(one),
        )
        for one in side.invoices
    }  # fmt: skip


def check_refunds_and_disputes(side: Side) -> None:
    """Every refund and dispute, and the payment that it is about."""
    for model, id_field, found in (
        (Refund, "stripe_refund_id", side.refunds),
        (Dispute, "stripe_dispute_id", side.disputes),
    ):
        rows = side.rows(model).select_related("transaction")
        assert {
            getattr(row, id_field): (
                row.status, row.amount_cents, row.currency, row.payment_intent_id, row.transaction.payment_intent_id,
            )
            for row in rows
        } == {
            one["id"]: (one["status"], one["amount"], one["currency"], one["payment_intent"], one["payment_intent"])
            for one in found
        }  # fmt: skip


def check_effects(side: Side) -> None:
    """Every mail, alert and event of the app that must be there, none missing, none twice and none besides."""
    keys = list(side.rows(OutboxRow).values_list("effect_key", flat=True))
    assert len(keys) == len(set(keys))
    # What changed on a subscription is told line by line of its history, and that depends on what was delivered when.
    updated = {key for key in keys if key.startswith("app:subscription.updated:")}
    lines = {str(one) for one in side.rows(SubscriptionChange).values_list("pk", flat=True)}
    assert {key.rsplit(":", 1)[1] for key in updated} <= lines
    assert set(keys) - updated == set(_effects(side)) | _welcomes(side)
    renewed = side.rows(SubscriptionChange).filter(kind="renewed").values_list("change_key", flat=True)
    assert len(renewed) == sum(key.startswith("app:subscription.renewed:") for key in keys)
    about = side.rows(ReviewItem).filter(kind="dispute").values_list("subject", flat=True)
    assert sorted(about) == sorted(one["id"] for one in side.disputes)


def _welcomes(side: Side) -> set[str]:
    """A plan is confirmed by mail when it is seen to begin; one that was overdue or over before anything was heard of it is not."""
    lines = side.rows(SubscriptionChange).select_related("subscription")
    begun = [
        one.subscription.stripe_subscription_id
        for one in lines
        if one.after.get("status") in ("active", "trialing")
        and (one.kind == "created" or one.before.get("status") == "incomplete")
    ]
    assert len(begun) == len(set(begun))
    return {f"mail:payment_confirmed:{subscription_id}" for subscription_id in begun}


def _effects(side: Side) -> Iterable[str]:
    for intent in side.payment_intents:
        if intent["status"] == "succeeded":
            yield f"mail:receipt:{intent['id']}"
            yield f"app:payment.succeeded:{intent['id']}"
    for charge in side.charges:
        if charge["status"] == "failed":
            yield f"app:payment.failed:{charge['payment_intent']}:{charge['id']}"
    for invoice in side.invoices:
        attempts = [charge for one in side.intents_of(invoice["id"]) for charge in side.charges_of(one)]
        failed = sum(charge["status"] == "failed" for charge in attempts)
        yield from (f"mail:payment_failed:{invoice['id']}:{attempt}" for attempt in range(1, failed + 1))
        if invoice["billing_reason"] == CYCLE and invoice["status"] == "paid":
            yield f"app:subscription.renewed:{_subscription_of(invoice)}:{invoice['period_end']}"
    for subscription in side.subscriptions:
        yield f"app:subscription.created:{subscription['id']}"
        if subscription["status"] == "canceled":
            yield f"app:subscription.canceled:{subscription['id']}"
            yield f"mail:subscription_canceled:{subscription['id']}"
    for refund in side.refunds:
        if refund["status"] == "succeeded":
            yield f"app:payment.refunded:{refund['id']}"
            yield f"mail:payment_refunded:{refund['id']}"
    for dispute in side.disputes:
        yield f"app:dispute.opened:{dispute['id']}"
        yield f"alert:dispute:{dispute['id']}"
        if dispute["status"] in ("won", "lost"):
            yield f"app:dispute.closed:{dispute['id']}"


def check_inbox(side: Side) -> None:
    """Nothing waits, and nothing was given up."""
    left = side.rows(WebhookEvent).exclude(status__in=["processed", "ignored"])
    assert list(left.values_list("type", "status", "error")) == []


def _unix(at: Any) -> int | None:
    return int(at.timestamp()) if at else None
