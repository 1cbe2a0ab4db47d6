"""Writes everything about money that was read for one root, in the order in which rows refer to each other."""

from payments.services.credit_clawback import derive_clawbacks
from payments.services.license_purchases import derive_license_revocations
from payments.services.objects.dispute import write_disputes, write_fraud_warnings
from payments.services.objects.invoice import write_invoice
from payments.services.objects.payment import DISPUTES, INVOICES, PAYMENT_INTENTS, REFUNDS, subscription_id_of
from payments.services.objects.payment_intent import write_payment_intent
from payments.services.objects.refund import write_refunds
from payments.services.ownership import Scope
from payments.services.revocation import derive_revocation
from payments.services.snapshot import Snapshot, id_of


def write_money(scope: Scope, snapshot: Snapshot) -> None:
    """Write payments, invoices, refunds and disputes, and what they do to access, credits and licences.

    Call after subscriptions were written.
    """
    invoices = snapshot.of_kind(INVOICES)
    intents = snapshot.of_kind(PAYMENT_INTENTS)
    for payment_intent_id, intent in intents.items():
        invoice = invoices.get(snapshot.invoice_of_payment.get(payment_intent_id, ""))
        write_payment_intent(scope, payment_intent_id, intent, invoice)
    for invoice_id, invoice in invoices.items():
        write_invoice(scope, invoice_id, invoice, intents)
    write_refunds(scope, snapshot)
    write_disputes(scope, snapshot)
    write_fraud_warnings(scope, snapshot)
    derive_revocation(scope, sorted({subscription_id_of(invoice) for invoice in invoices.values() if invoice} - {""}))
    back = [*snapshot.of_kind(REFUNDS).values(), *snapshot.of_kind(DISPUTES).values()]
    payments = {id_of(found.get("payment_intent")) for found in back if found}
    derive_clawbacks(scope, payments)
    derive_license_revocations(scope, payments)
