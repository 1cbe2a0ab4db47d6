"""Which event makes us read what, and why. No value of a payload is ever written: handlers read the object's latest state."""

from payments.services.invoice_effects import (
    locate_upcoming,
    tell_action_required,
    tell_failed_invoice,
    tell_failed_payment,
    tell_finalization_failed,
    tell_uncollectible,
    tell_upcoming,
)
from payments.services.objects.catalogue import (
    collect_coupon,
    collect_price,
    collect_product,
    collect_promotion_code,
)
from payments.services.objects.checkout import collect_checkout_session
from payments.services.objects.customer import collect_customer, collect_owner, locate_customer
from payments.services.objects.dispute import collect_dispute, collect_fraud_warning
from payments.services.objects.invoice import collect_invoice, collect_invoice_payment, collect_upcoming_invoice
from payments.services.objects.payment_intent import collect_charge, collect_payment_intent
from payments.services.objects.refund import collect_refund
from payments.services.objects.subscription import collect_subscription
from payments.services.processing import Effects, Handler
from payments.services.subscription_effects import tell_trial_ending

_SUBSCRIPTION = "subscription with customer and latest invoice; when it is overdue, its open invoices"
_INVOICE = "invoice with its payments, each PaymentIntent with its charge, and the subscription"
_INTENT = "PaymentIntent with its charge, refunds and disputes, and the invoice that it pays"
_CUSTOMER = "customer with its tax ids and default payment method; without a default, its payment methods"
_SESSION = "checkout session, and the subscription, invoice and PaymentIntent that it names"


def _subscription(reason: str, effects: Effects | None = None) -> Handler:
    return Handler(collect_subscription, _SUBSCRIPTION, reason, effects)


def _invoice(reason: str, effects: Effects | None = None) -> Handler:
    return Handler(collect_invoice, _INVOICE, reason, effects)


def _session(reason: str) -> Handler:
    return Handler(collect_checkout_session, _SESSION, reason)


def _intent(reason: str, effects: Effects | None = None) -> Handler:
    return Handler(collect_payment_intent, _INTENT, reason, effects)


def _charge(reason: str) -> Handler:
    return Handler(collect_charge, "charge, then its " + _INTENT, reason)


def _refund(reason: str) -> Handler:
    return Handler(collect_refund, "refund, then its " + _INTENT, reason)


def _dispute(reason: str) -> Handler:
    return Handler(collect_dispute, "dispute, then its " + _INTENT, reason)


def _customer(reason: str) -> Handler:
    return Handler(collect_customer, _CUSTOMER, reason)


def _of_customer(reason: str) -> Handler:
    return Handler(collect_owner, _CUSTOMER, reason, locate=locate_customer)


def _product(reason: str) -> Handler:
    return Handler(collect_product, "product with all its prices", reason, of_account=True)


def _price(reason: str) -> Handler:
    return Handler(collect_price, "price with its product", reason, of_account=True)


def _coupon(reason: str) -> Handler:
    return Handler(collect_coupon, "coupon, for the mirror", reason)


def _promotion_code(reason: str) -> Handler:
    return Handler(collect_promotion_code, "promotion code, for the mirror", reason)


# Source: https://docs.stripe.com/api/events/types
HANDLERS: dict[str, Handler] = {
    "checkout.session.completed": _session("Bind the customer to the end user; show what was bought."),
    "checkout.session.async_payment_succeeded": _session("A delayed payment method has paid."),
    "checkout.session.async_payment_failed": _session("A delayed payment method has failed; the session gave nothing."),
    "checkout.session.expired": _session("Nobody paid in time; another session may open."),
    "customer.subscription.created": _subscription("A plan begins."),
    "customer.subscription.updated": _subscription("Plan, period, cancellation, trial or payment state has changed."),
    "customer.subscription.deleted": _subscription("A plan ends. Stripe keeps the canceled subscription readable."),
    "customer.subscription.paused": _subscription("A trial ended without a payment method."),
    "customer.subscription.resumed": _subscription("A paused plan goes on."),
    "customer.subscription.pending_update_applied": _subscription("A change that waited for its payment was paid."),
    "customer.subscription.pending_update_expired": _subscription(
        "A change was not paid in time; all stays as it was."
    ),
    "customer.subscription.trial_will_end": _subscription("One mail per end of a trial.", tell_trial_ending),
    "invoice.paid": _invoice("Money arrived, or was covered outside Stripe; the overdue mark goes."),
    "invoice.payment_succeeded": _invoice("The same moment as invoice.paid; either of them may come alone."),
    "invoice.payment_failed": _invoice("An attempt failed; grace begins at the first one.", tell_failed_invoice),
    "invoice.payment_action_required": _invoice("The bank wants the payer to confirm.", tell_action_required),
    "invoice.finalized": _invoice("The amount is fixed, and there is a page to pay it on."),
    "invoice.updated": _invoice("Attempts, the next one's time or the amount has changed."),
    "invoice.voided": _invoice("Nothing is owed any more: dunning is over."),
    "invoice.marked_uncollectible": _invoice("Given up: dunning is over, staff should know.", tell_uncollectible),
    "invoice.finalization_failed": _invoice("Nothing is collected until this is mended.", tell_finalization_failed),
    "invoice.upcoming": Handler(
        collect_upcoming_invoice,
        "subscription, and a preview of its next invoice: the event's own has no id to read it by",
        "A renewal is near; the payer is told once per period.",
        tell_upcoming,
        locate_upcoming,
    ),
    "invoice_payment.paid": Handler(
        collect_invoice_payment, "invoice payment, then its " + _INVOICE, "Which payment paid which invoice."
    ),
    "payment_intent.processing": _intent("A debit is under way; the bank answers in days."),
    "payment_intent.succeeded": _intent("A one-time payment arrived."),
    "payment_intent.payment_failed": _intent("An attempt to pay failed.", tell_failed_payment),
    "payment_intent.canceled": _intent("A payment will not happen any more."),
    "charge.succeeded": _charge("Card and receipt of a payment."),
    "charge.updated": _charge("A receipt or a dispute's mark came later."),
    "charge.refunded": _charge("Part or all of a payment went back."),
    "refund.created": _refund("A refund began; some take days."),
    "refund.updated": _refund("A refund was completed or canceled."),
    "refund.failed": _refund("The money came back from the bank: the payment counts again, staff must act."),
    "charge.dispute.created": _dispute("The bank took the money back until it has decided; staff must answer in time."),
    "charge.dispute.updated": _dispute("Evidence was sent, or its date has changed."),
    "charge.dispute.closed": _dispute("Lost takes the access away by policy, won gives it back."),
    "radar.early_fraud_warning.created": Handler(
        collect_fraud_warning, "warning, then its " + _INTENT, "A refund now avoids a dispute; staff decide."
    ),
    "customer.created": _customer("Bind the customer that our metadata names."),
    "customer.updated": _customer("Billing address and name; never the end user's sign-in e-mail."),
    "customer.deleted": _customer("The customer is gone; its subscriptions end by their own events."),
    "customer.tax_id.created": _of_customer("A tax id belongs on the customer's bills."),
    "customer.tax_id.updated": _of_customer("Its verification has come further."),
    "customer.tax_id.deleted": _of_customer("It is on no bill any more."),
    "payment_method.attached": _of_customer("Which card renewals are charged to may have changed."),
    "payment_method.detached": _of_customer("A card that was taken away is not shown, and no notice is sent about it."),
    "payment_method.updated": _of_customer("A new expiry date, or a new address of the card."),
    "payment_method.automatically_updated": _of_customer("The bank replaced the card: its expiry date has changed."),
    "product.created": _product("Nothing sells it yet; the mirror shows it."),
    "product.updated": _product("A product that was taken off sale takes its prices with it."),
    "product.deleted": _product("It had no prices; the mirror shows that it is gone."),
    "price.created": _price("A lookup key of ours may now name this price."),
    "price.updated": _price("Inactive, or its lookup key moved: a plan may be sold for another amount, or not at all."),
    "price.deleted": _price("A plan may have lost the price that sells it."),
    "coupon.created": _coupon("Support looks discounts up; checkout asks Stripe itself."),
    "coupon.updated": _coupon("Support looks discounts up; checkout asks Stripe itself."),
    "coupon.deleted": _coupon("Support looks discounts up; checkout asks Stripe itself."),
    "promotion_code.created": _promotion_code("Support looks codes up; checkout asks Stripe itself."),
    "promotion_code.updated": _promotion_code("Support looks codes up; checkout asks Stripe itself."),
}
