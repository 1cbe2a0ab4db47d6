"""What mails are rendered from, for tests and pictures: a context with everything, and one for each mail as its sender makes it."""

from typing import Any

NEW_YEAR = 1_767_225_600
# What the mails are that a customer gets, and those that go to whoever looks after a project.
CUSTOMER_MAILS: dict[str, dict[str, Any]] = {
    "payment_confirmed": {"plan_name": "Maker", "period_end": NEW_YEAR},
    "receipt": {
        "amount": "12.99 USD", "paid_at": "2026-11-21T10:00:00Z", "description": "Maker, one month", "invoice_number": "ACME-0007",
        "card_brand": "visa", "card_last4": "4242", "receipt_url": "https://pay.example/receipt",
        "invoice_pdf": "https://pay.example/invoice.pdf",
    },
    "payment_failed": {
        "plan_name": "Maker", "amount": "12.99 USD", "failure_message": "Your card has insufficient funds.",
        "next_attempt_at": NEW_YEAR, "grace_until": NEW_YEAR, "invoice_url": "https://pay.example/invoice",
    },
    "action_required": {"plan_name": "Maker", "amount": "12.99 USD", "invoice_url": "https://pay.example/invoice"},
    "subscription_canceled": {"plan_name": "Maker", "ended_at": NEW_YEAR},
    "trial_ending": {"plan_name": "Maker", "trial_end": NEW_YEAR, "amount": "12.99 USD"},
    "renewal_notice": {
        "plan_name": "Maker", "amount": "116.91 USD", "renews_at": NEW_YEAR,
        "overage": [{"name": "Searches", "amount": "4.20 USD"}],
    },
    "card_expiring": {"card_brand": "visa", "card_last4": "4242", "expires": "12/2026", "renews_at": NEW_YEAR},
    "checkout_retry": {"plan_name": "Maker", "url": "https://pay.example/again"},
    "payment_refunded": {
        "amount": "5.00 USD", "paid_amount": "12.99 USD", "description": "Maker, one month",
        "refunded_at": "2026-11-21T10:00:00Z", "receipt_url": "https://pay.example/receipt",
    },
    "credits_purchased": {
        "credits": 500, "pack_name": "Big pack", "amount": "9.00 USD", "receipt_url": "https://pay.example/receipt",
    },
    "credits_low": {"credits_left": 4, "url": "https://app.example/more"},
    "license_welcome": {
        "product_name": "Acme Kit", "access_url": "https://payments.example/license-access?session=cs_1&token=x", "has_key": True,
    },
    "license_invited": {
        "product_name": "Acme Kit", "github_username": "dana", "access_url": "https://payments.example/license-access?session=cs_1",
    },
    "license_granted": {
        "product_name": "Acme Kit", "github_username": "dana", "repository": "acme/kit",
        "access_url": "https://payments.example/license-access?session=cs_1",
    },
    "license_revoked": {
        "product_name": "Acme Kit", "github_username": "dana", "because": "refund", "has_key": True,
    },
    "warning": {"message": "Please do not share your account; several people signed in with it this week."},
}  # fmt: skip
OWNER_MAILS: dict[str, dict[str, Any]] = {
    "alert": {
        "about": "Payments that fail",
        "facts": [
            ["Reached", "44 percent of the payments"], ["Alerts from", "30 percent of the payments"],
            ["About", "11 of 25 payments failed"], ["Since", "2026-11-21 10:00 UTC"],
        ],
        "url": "https://payments.example/admin/",
    },
    "dispute_opened": {
        "amount": "12.99 USD", "reason": "fraudulent", "dispute_id": "du_1", "payment_intent_id": "pi_1",
        "evidence_due_by": "2026-12-01T00:00:00Z",
    },
}  # fmt: skip
