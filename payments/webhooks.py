"""Which event makes us read what, and why. No value of a payload is ever written: handlers read the object's latest state."""

from payments.services.objects.checkout import collect_checkout_session
from payments.services.objects.customer import collect_customer
from payments.services.objects.invoice import collect_invoice
from payments.services.objects.payment_intent import collect_charge, collect_payment_intent
from payments.services.objects.subscription import collect_subscription
from payments.services.processing import Handler

_SUBSCRIPTION = "subscription with customer and latest invoice"
_INVOICE = "invoice with its payments, each PaymentIntent with its charge, and the subscription"
_INTENT = "PaymentIntent with its charge, and the invoice that it pays"
_SESSION = "checkout session, and the subscription, invoice and PaymentIntent that it names"


def _subscription(reason: str) -> Handler:
    return Handler(collect_subscription, _SUBSCRIPTION, reason)


def _invoice(reason: str) -> Handler:
    return Handler(collect_invoice, _INVOICE, reason)


def _session(reason: str) -> Handler:
    return Handler(collect_checkout_session, _SESSION, reason)


def _intent(reason: str) -> Handler:
    return Handler(collect_payment_intent, _INTENT, reason)


def _customer(reason: str) -> Handler:
    return Handler(collect_customer, "customer", reason)


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
    "invoice.paid": _invoice("Money arrived, or was covered outside Stripe; the overdue mark goes."),
    "invoice.payment_succeeded": _invoice("The same moment as invoice.paid; either of them may come alone."),
    "invoice.payment_failed": _invoice("An attempt failed; grace begins at the first one."),
    "payment_intent.succeeded": _intent("A one-time payment arrived."),
    "payment_intent.payment_failed": _intent("An attempt at a one-time payment failed."),
    "payment_intent.canceled": _intent("A payment will not happen any more."),
    "charge.refunded": Handler(collect_charge, "charge, then its " + _INTENT, "Part or all of a payment went back."),
    "customer.updated": _customer("Billing address and name; never the end user's sign-in e-mail."),
    "customer.deleted": _customer("The customer is gone; its subscriptions end by their own events."),
}
