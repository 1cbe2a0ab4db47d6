"""The contract as data: shapes, and each endpoint with who calls it, what it takes and what it answers.

A type is `uuid`, `string`, `integer`, `boolean`, `time`, `object`, `any`, the name of a shape, or `[...]` for a list of it; `?`
marks what may be null or absent; `=` gives a default, `{a,b}` an enumeration, `(n..m)` the limits. Fields marked (+) in the
contract are listed like the others.
"""

Shape = dict[str, str]

SUBSCRIPTION: Shape = {
    "id": "uuid", "project_id": "uuid", "user_id": "uuid?", "is_test_mode": "boolean", "subscription_id": "string",
    "customer_id": "string?", "status": "string", "plan_name": "string?", "quantity": "integer",
    "current_period_start": "time?", "current_period_end": "time?", "cancel_at": "time?", "cancelled_at": "time?",
    "created_at": "time", "external_user_id": "string?", "price_id": "string?", "plan_code": "string?",
    "cancel_at_period_end": "boolean", "trial_end": "time?", "plan_active": "boolean", "plan_expires": "time?",
}  # fmt: skip
PAYMENT: Shape = {
    "id": "uuid", "project_id": "uuid", "subscription_id": "uuid?", "user_id": "uuid?", "is_test_mode": "boolean",
    "payment_intent_id": "string", "status": "string{succeeded,pending,failed,canceled,refunded,partially_refunded}",
    "amount_cents": "integer", "currency": "string", "description": "string?", "refunded_amount_cents": "integer=0",
    "created_at": "time", "external_user_id": "string?", "invoice_id": "string?", "receipt_url": "string?",
    "invoice_pdf": "string?", "failure_code": "string?", "disputed": "boolean",
}  # fmt: skip
AGGREGATED: Shape = {"project_name": "string", "provider": "string{stripe}"}
PAGE: Shape = {"total": "integer?", "page": "integer?", "page_size": "integer", "next_cursor": "string?"}
CONFIG: Shape = {
    "id": "uuid", "project_id": "uuid", "is_active": "boolean", "created_at": "time", "updated_at": "time?",
} | {
    f"{mode}_{name}": kind
    for mode in ("test", "live")
    for name, kind in {
        "secret_key_masked": "string?", "publishable_key_masked": "string?", "webhook_secret_masked": "string?",
        "configured_at": "time?", "account_id": "string?", "last_event_at": "time?", "webhook_status": "string?",
        # Additions, which the contract allows.
        "webhook_error": "string?", "last_failure_at": "time?", "oldest_pending_at": "time?", "dead_events": "integer",
    }.items()
} | {"has_test_credentials": "boolean", "has_live_credentials": "boolean"}  # fmt: skip
PROJECT: Shape = {
    "id": "uuid", "name": "string", "slug": "string", "description": "string?", "is_active": "boolean",
    "allowed_origins": "[string]", "created_at": "time", "updated_at": "time?",
}  # fmt: skip
WEBHOOK_EVENT: Shape = {
    "id": "uuid", "event_id": "string", "type": "string", "object_id": "string?", "is_test_mode": "boolean",
    "status": "string{pending,processing,processed,ignored,dead}", "attempts": "integer", "error": "string?",
    "wait_reason": "string?", "source": "string", "stripe_created_at": "time?", "received_at": "time",
    "handled_at": "time?", "failed_at": "time?", "next_attempt_at": "time?", "emptied_at": "time?",
}  # fmt: skip
TOKEN_BUDGET: Shape = {
    "limit": "integer?", "used": "integer", "reserved": "integer", "remaining": "integer?", "period_start": "time",
    "period_end": "time?",
}  # fmt: skip
TOKENS: Shape = {"user_id": "string?", "tokens": "integer(1..)"}
ENTITLEMENTS: Shape = {
    "plan": "string", "plan_name": "string?", "features": "object", "limits": "Limits", "credits": "CreditsLeft",
    "token_budget": "TokensLeft", "plan_active": "boolean", "plan_expires": "time?", "epoch": "integer",
}  # fmt: skip
SHAPES: dict[str, Shape] = {
    "Subscription": SUBSCRIPTION,
    "Subscription+": SUBSCRIPTION | AGGREGATED,
    "Payment": PAYMENT,
    "Payment+": PAYMENT | AGGREGATED,
    "Subscriptions+": PAGE | {"subscriptions": "[Subscription+]"},
    "Payments+": PAGE | {"payments": "[Payment+]"},
    "Subscriptions": PAGE | {"subscriptions": "[Subscription]"},
    "Payments": PAGE | {"payments": "[Payment]"},
    "Config": CONFIG,
    "ConfigChange": {
        f"{mode}_{name}": "string?"
        for mode in ("test", "live")
        for name in ("secret_key", "publishable_key", "webhook_secret")
    },
    "DeveloperProject": {
        "id": "uuid", "name": "string", "description": "string?", "has_payment_config": "boolean",
        "has_test_credentials": "boolean", "has_live_credentials": "boolean", "test_configured_at": "time?",
        "live_configured_at": "time?", "is_active": "boolean", "created_at": "time",
    },
    "DeveloperProjects": {"projects": "[DeveloperProject]", "total": "integer"},
    "CurrencyStats": {
        "currency": "string", "revenue_cents": "integer", "refunded_cents": "integer", "payments": "integer",
    },
    "Stats": dict.fromkeys(
        [
            "total_projects", "projects_with_config", "projects_with_test", "projects_with_live", "total_subscriptions",
            "active_subscriptions", "total_payments", "successful_payments", "total_revenue_cents",
        ],
        "integer",
    ) | {"currency": "string{usd}", "by_currency": "[CurrencyStats]"},
    "GoLive": {"is_open": "boolean", "opened_at": "time?", "is_green": "boolean", "checks": "[GoLiveCheck]"},
    "GoLiveCheck": {"name": "string", "title": "string", "ok": "boolean", "message": "string", "mend": "string?"},
    "KeyDiagnosis": {"is_test_mode": "boolean", "findings": "[KeyFinding]"},
    "KeyFinding": {"permission": "string", "ok": "boolean", "message": "string", "features": "string?"},
    "EndpointCheck": {
        "status": "string", "error": "string?", "endpoint_id": "string?", "missing_events": "[string]", "mended": "boolean",
    },
    "RollSecret": {"expires_in_seconds": "integer(0..86400)=86400"},
    "RolledSecret": {"status": "string", "endpoint_id": "string", "previous_secret_expires_at": "time?"},
    "WebhookEvent": WEBHOOK_EVENT,
    "WebhookEventDetail": WEBHOOK_EVENT | {"body": "any?"},
    "WebhookEvents": PAGE | {"webhook_events": "[WebhookEvent]"},
    "Replay": {"ids": "[uuid]?", "all_dead": "boolean=false", "type": "string?"},
    "Replayed": {"replayed": "integer"},
    "WebhookUrls": {"test_webhook_url": "string", "live_webhook_url": "string"},
    "Credentials": {"secret_key": "string(1..)", "is_test_mode": "boolean=true"},
    "Verdict": {"valid": "boolean", "message": "string"},
    "Checkout": {
        # Left out only where `plan`, which the contract allows as an addition, names what is bought.
        "price_id": "string?", "success_url": "string(1..)", "cancel_url": "string(1..)",
        "mode": "string{subscription,payment}=subscription", "quantity": "integer(1..)=1", "metadata": "object?",
        "allow_existing_subscription": "boolean=false", "plan": "string?", "interval": "any?", "promo_code": "string?",
        "trial": "boolean?",
    },
    "CheckoutAnswer": {"session_id": "string", "checkout_url": "string"},
    "CreditPacks": {"packs": "[CreditPack]"},
    "CreditPack": {
        "code": "string", "name": "string", "credits": "integer", "amount_cents": "integer", "currency": "string",
    },
    "CreditPurchase": {
        "pack": "string(1..64)", "quantity": "integer(1..1000)=1", "success_url": "string?", "cancel_url": "string?",
        "promo_code": "string?", "user_id": "string?",
    },
    "CreditCheckout": {
        "session_id": "string", "checkout_url": "string", "pack": "string", "quantity": "integer", "credits": "integer",
        "amount_cents": "integer", "currency": "string",
    },
    "CheckoutState": {
        "session_id": "string", "status": "string", "payment_status": "string", "subscription": "Subscription?",
        "payment": "Payment?",
    },
    "HostedLink": {
        "user_id": "string(1..255)?", "email": "string?", "page": "string{pricing,account}=account", "return_url": "string?",
    },
    "HostedLinkAnswer": {"url": "string", "expires_at": "time"},
    "Portal": {"return_url": "string(1..)", "flow": "any?"},
    "PortalAnswer": {"portal_url": "string"},
    "Cancel": {"cancel_immediately": "boolean=false", "reason": "string?", "comment": "string?"},
    "CancelAnswer": {
        "subscription_id": "string", "status": "string", "message": "string", "cancel_at": "time?", "cancelled_at": "time?",
    },
    "Update": {
        # Left out only where `plan`, which is an addition, names what is moved to.
        "new_price_id": "string?", "plan": "string?", "interval": "any?", "proration_date": "any?",
        "proration_behavior": "string{create_prorations,none,always_invoice}=create_prorations",
    },
    "PreviewLine": {
        "description": "string", "amount_cents": "integer", "proration": "boolean", "period_start": "time?",
        "period_end": "time?",
    },
    "Preview": {
        "subscription_id": "string", "price_id": "string", "currency": "string", "proration_behavior": "string",
        "proration_date": "time", "amount_due_cents": "integer", "credit_cents": "integer", "subtotal_cents": "integer",
        "discount_cents": "integer", "tax_cents": "integer", "total_cents": "integer", "next_invoice_cents": "integer?",
        "next_invoice_at": "time?", "lines": "[PreviewLine]", "message": "string",
    },
    "History": PAGE | {"history": "[Change]"},
    "Change": {
        "id": "uuid", "kind": "string", "before": "object", "after": "object", "source": "string", "event_id": "string?",
        "event_type": "string?", "happened_at": "time?", "recorded_at": "time",
    },
    "PolicyChange": {
        "entitled_statuses": "[string]?", "grace_hours": "integer(0..1440)?", "full_refund_revokes": "boolean?",
        "dispute_revokes": "string{lost,opened,never}?", "billing_address_collection": "boolean?",
        "tax_id_collection": "boolean?", "automatic_tax": "boolean?", "allow_promotion_codes": "boolean?",
    },
    "Policy": {
        "project_id": "uuid", "entitled_statuses": "[string]", "grace_hours": "integer", "full_refund_revokes": "boolean",
        "dispute_revokes": "string{lost,opened,never}", "billing_address_collection": "boolean",
        "tax_id_collection": "boolean", "automatic_tax": "boolean", "allow_promotion_codes": "boolean",
        "updated_at": "time?",
    },
    "UpdateAnswer": {"subscription_id": "string", "status": "string", "price_id": "string", "message": "string"},
    "ServerCheckout": {
        "user_id": "string", "email": "string", "tier": "string", "interval": "any?", "promo_code": "string?", "trial": "boolean?",
        "success_url": "string?", "cancel_url": "string?",
    },
    "ServerPortal": {"user_id": "string", "return_url": "string?"},
    "Status": {
        "app_id": "string", "user_id": "string", "tier": "string", "stripe_customer_id": "string?",
        "stripe_subscription_id": "string?", "plan_active": "boolean", "plan_expires": "time?",
        "current_period_end": "time?", "credits": "CreditsLeft", "token_budget": "TokensLeft",
    },
    "CreditsLeft": {"available": "integer", "reserved": "integer", "debt": "integer", "buckets": "object"},
    "TokensLeft": {
        "limit": "integer?", "used": "integer", "remaining": "integer?", "period_start": "time?", "period_end": "time?",
    },
    "Limits": {
        "credits_per_day": "integer", "credits_per_period": "integer", "token_budget": "integer?", "file_size_mb": "integer?",
        "requests_per_minute": "integer?", "tokens_per_minute": "integer?", "compute_budget_cents": "integer?",
        "compute_budget_duration": "string",
    },
    "Entitlements": ENTITLEMENTS,
    "UserEntitlements": ENTITLEMENTS | {"user_id": "string"},
    "OfUser": {"user_id": "string(1..255)?"},
    "EntitlementToken": {"token": "string", "token_type": "string", "expires_in": "integer"},
    "Epochs": {"epochs": "[Epoch]", "since": "time", "has_more": "boolean"},
    "Epoch": {"user_id": "string", "epoch": "integer"},
    "UsageEvents": {
        "user_id": "string?", "events": "[UsageEvent]?", "meter": "string?", "quantity": "any?",
        "idempotency_key": "string(1..255)?", "timestamp": "any?", "metadata": "object?",
    },
    "UsageEvent": {
        "meter": "string(1..64)", "quantity": "any?", "idempotency_key": "string(1..255)", "timestamp": "any?",
        "metadata": "object?",
    },
    "UsageCounted": {"accepted": "integer", "duplicates": "integer", "events": "[UsageOutcome]"},
    "UsageOutcome": {
        "idempotency_key": "string", "status": "string{accepted,duplicate}", "late": "boolean", "differs": "boolean",
    },
    "UsageSummary": {
        "plan": "string?", "period_start": "time", "period_end": "time", "billable": "boolean", "meters": "[MeterUsage]",
        "overage_totals": "[Amount]", "charges": "[UsageCharge]",
    },
    "Amount": {"currency": "string", "amount_cents": "integer"},
    "MeterUsage": {
        "meter": "string", "name": "string", "unit": "string", "used": "string", "included": "string?",
        "remaining": "string?", "percent": "any?", "block_at_percent": "integer?", "warning_percent": "integer?",
        "blocked": "boolean", "overage": "string", "unit_amount": "string", "overage_amount_cents": "integer",
        "currency": "string", "late": "string", "billed_as": "string{invoice_item,meter_event}",
    },
    "UsageCharge": {
        "period_start": "time", "period_end": "time", "meter": "string", "used": "string", "included": "string",
        "overage": "string", "unit_amount": "string", "amount_cents": "integer", "currency": "string",
        "status": "string{pending,billed,waived}", "billed_as": "string{invoice_item,meter_event}",
        "invoice_id": "string?", "note": "string?",
    },
    "CanExecute": {"user_id": "string?", "meter": "string(1..64)", "quantity": "any?"},
    "MayExecute": {
        "allowed": "boolean", "reason": "any?", "meter": "string", "quantity": "string", "used": "string",
        "included": "string?", "remaining": "string?", "percent": "any?", "block_at_percent": "integer?",
        "warnings": "[QuotaWarning]", "overage": "string", "overage_amount_cents": "integer", "currency": "string",
        "period_end": "time",
    },
    "QuotaWarning": {"code": "string{quota_80,quota_95,quota_exceeded}", "message": "string"},
    "TokenBudget": TOKEN_BUDGET | {"exact": "boolean"},
    "Tokens": TOKENS,
    "ReserveTokens": TOKENS | {"ttl_seconds": "integer(1..3600)=300"},
    "CommitTokens": {"user_id": "string?", "reservation_id": "uuid", "tokens": "integer(0..)?"},
    "ReleaseTokens": {"user_id": "string?", "reservation_id": "uuid"},
    "TokensChecked": TOKEN_BUDGET | {"allowed": "boolean", "tokens": "integer"},
    "TokensUsed": TOKEN_BUDGET | {"tokens": "integer"},
    "TokensReserved": TOKEN_BUDGET | {"reservation_id": "uuid", "tokens": "integer", "expires_at": "time"},
    "TokensClosed": TOKEN_BUDGET | {"reservation_id": "uuid", "tokens": "integer"},
    "MintToken": {
        "user_id": "string(..255)", "email": "string?", "ttl_seconds": "integer(..86400)=900", "test_only": "boolean?",
    },
    "EndUserToken": {
        "access_token": "string", "token_type": "string{bearer}", "expires_in": "integer", "end_user_id": "uuid",
    },
    "Register": {"email": "string", "password": "string(8..)", "full_name": "string?"},
    "Login": {"email": "string", "password": "string"},
    "Token": {"access_token": "string", "refresh_token": "string?", "token_type": "string{bearer}"},
    "Project": PROJECT,
    "CreateProject": {
        "name": "string(1..255)", "description": "string(..1000)?", "slug": "string?", "allowed_origins": "[string]?",
        "default_success_url": "string?", "default_cancel_url": "string?", "default_return_url": "string?",
    },
    "NewApiKey": {
        "id": "uuid", "name": "string", "key": "string", "key_prefix": "string", "is_test_mode": "boolean",
        "is_active": "boolean", "created_at": "time",
    },
}  # fmt: skip
PAYMENTS = "/api/v1/payments"
STRIPE = f"{PAYMENTS}/stripe"
OF_PROJECT = f"{STRIPE}/projects/{{project_id}}"
PAGING: Shape = {"page": "integer(1..)=1?", "page_size": "integer(1..100)=50?", "cursor": "string?"}
ONE_MODE: Shape = {"test_mode": "boolean=true?"}
OF_USER: Shape = {"user_id": "string?"}
FILTERS: Shape = {"project_id": "uuid?", "test_mode": "boolean?", "status": "string?"}
DEVELOPER, END_USER, SERVER, ANYBODY = "developerToken", "endUserToken", "projectApiKey", ""
EITHER = f"{END_USER} {SERVER}"
# method, path, whose token, query, body, status, answer
ENDPOINTS: list[tuple[str, str, str, Shape, str | None, str, str | None]] = [
    ("get", f"{PAYMENTS}/subscriptions", DEVELOPER, FILTERS | PAGING, None, "200", "Subscriptions+"),
    ("get", f"{PAYMENTS}/transactions", DEVELOPER, FILTERS | PAGING, None, "200", "Payments+"),
    ("get", f"{PAYMENTS}/projects", DEVELOPER, {}, None, "200", "DeveloperProjects"),
    ("get", f"{PAYMENTS}/stats", DEVELOPER, ONE_MODE, None, "200", "Stats"),
    ("get", f"{OF_PROJECT}/config", DEVELOPER, {}, None, "200", "Config?"),
    ("put", f"{OF_PROJECT}/config", DEVELOPER, {}, "ConfigChange", "200", "Config"),
    ("delete", f"{OF_PROJECT}/config", DEVELOPER, {}, None, "204", None),
    ("get", f"{OF_PROJECT}/webhook-urls", DEVELOPER, {}, None, "200", "WebhookUrls"),
    ("post", f"{OF_PROJECT}/validate-credentials", DEVELOPER, {}, "Credentials", "200", "Verdict"),
    ("get", f"{OF_PROJECT}/go-live", DEVELOPER, {}, None, "200", "GoLive"),
    ("post", f"{OF_PROJECT}/go-live", DEVELOPER, {}, None, "200", "GoLive"),
    ("post", f"{OF_PROJECT}/key-doctor", DEVELOPER, ONE_MODE, None, "200", "KeyDiagnosis"),
    ("post", f"{OF_PROJECT}/webhook-endpoint/check", DEVELOPER, ONE_MODE, None, "200", "EndpointCheck"),
    ("post", f"{OF_PROJECT}/webhook-endpoint/roll-secret", DEVELOPER, ONE_MODE, "RollSecret", "200", "RolledSecret"),
    ("get", f"{OF_PROJECT}/webhook-events", DEVELOPER, ONE_MODE | PAGING, None, "200", "WebhookEvents"),
    ("get", f"{OF_PROJECT}/webhook-events/{{event_id}}", DEVELOPER, ONE_MODE, None, "200", "WebhookEventDetail"),
    ("post", f"{OF_PROJECT}/webhook-events/{{event_id}}/replay", DEVELOPER, ONE_MODE, None, "200", "Replayed"),
    ("post", f"{OF_PROJECT}/webhook-events/replay", DEVELOPER, ONE_MODE, "Replay", "200", "Replayed"),
    ("get", f"{OF_PROJECT}/subscriptions", DEVELOPER, ONE_MODE | PAGING, None, "200", "Subscriptions"),
    ("get", f"{OF_PROJECT}/payments", DEVELOPER, ONE_MODE | PAGING, None, "200", "Payments"),
    ("get", f"{OF_PROJECT}/billing-policy", DEVELOPER, {}, None, "200", "Policy"),
    ("put", f"{OF_PROJECT}/billing-policy", DEVELOPER, {}, "PolicyChange", "200", "Policy"),
    (
        "get",
        f"{OF_PROJECT}/subscriptions/{{subscription_id}}/history",
        DEVELOPER,
        ONE_MODE | PAGING,
        None,
        "200",
        "History",
    ),
    ("post", f"{STRIPE}/preview-update", END_USER, ONE_MODE, "Update", "200", "Preview"),
    ("post", f"{STRIPE}/checkout-session", END_USER, ONE_MODE, "Checkout", "200", "CheckoutAnswer"),
    ("get", f"{STRIPE}/checkout-session/{{session_id}}", END_USER, ONE_MODE, None, "200", "CheckoutState"),
    ("get", f"{STRIPE}/my-subscription", END_USER, ONE_MODE, None, "200", "Subscription?"),
    ("get", f"{STRIPE}/my-entitlements", END_USER, ONE_MODE, None, "200", "Entitlements"),
    ("get", f"{PAYMENTS}/entitlements/{{user_id}}", EITHER, ONE_MODE, None, "200", "UserEntitlements"),
    ("post", f"{PAYMENTS}/entitlements/token", EITHER, ONE_MODE, "OfUser", "200", "EntitlementToken"),
    ("get", f"{PAYMENTS}/entitlement-epochs", SERVER, ONE_MODE | {"since": "time?"}, None, "200", "Epochs"),
    ("get", f"{STRIPE}/my-payments", END_USER, ONE_MODE | PAGING, None, "200", "Payments"),
    ("post", f"{STRIPE}/customer-portal", END_USER, ONE_MODE, "Portal", "200", "PortalAnswer"),
    ("post", f"{STRIPE}/cancel-subscription", END_USER, ONE_MODE, "Cancel", "200", "CancelAnswer"),
    ("post", f"{STRIPE}/update-subscription", END_USER, ONE_MODE, "Update", "200", "UpdateAnswer"),
    ("post", f"{STRIPE}/resume-subscription", END_USER, ONE_MODE, None, "200", "CancelAnswer"),
    ("post", f"{PAYMENTS}/hosted-links", EITHER, ONE_MODE, "HostedLink", "200", "HostedLinkAnswer"),
    ("get", f"{PAYMENTS}/credits/packs", EITHER, ONE_MODE, None, "200", "CreditPacks"),
    ("post", f"{PAYMENTS}/credits/purchase", EITHER, ONE_MODE, "CreditPurchase", "200", "CreditCheckout"),
    ("post", f"{PAYMENTS}/usage/events", EITHER, ONE_MODE, "UsageEvents", "200", "UsageCounted"),
    ("get", f"{PAYMENTS}/usage/summary", EITHER, ONE_MODE | OF_USER, None, "200", "UsageSummary"),
    ("post", f"{PAYMENTS}/usage/can-execute", EITHER, ONE_MODE, "CanExecute", "200", "MayExecute"),
    ("get", f"{PAYMENTS}/tokens/budget", EITHER, ONE_MODE | OF_USER, None, "200", "TokenBudget"),
    ("post", f"{PAYMENTS}/tokens/check", EITHER, ONE_MODE, "Tokens", "200", "TokensChecked"),
    ("post", f"{PAYMENTS}/tokens/consume", EITHER, ONE_MODE, "Tokens", "200", "TokensUsed"),
    ("post", f"{PAYMENTS}/tokens/reserve", EITHER, ONE_MODE, "ReserveTokens", "200", "TokensReserved"),
    ("post", f"{PAYMENTS}/tokens/commit", EITHER, ONE_MODE, "CommitTokens", "200", "TokensClosed"),
    ("post", f"{PAYMENTS}/tokens/release", EITHER, ONE_MODE, "ReleaseTokens", "200", "TokensClosed"),
    ("post", "/checkout/{app}", SERVER, {}, "ServerCheckout", "200", "CheckoutAnswer"),
    ("post", "/portal/{app}", SERVER, {}, "ServerPortal", "200", "PortalAnswer"),
    ("get", "/status/{app}/{user_id}", SERVER, {}, None, "200", "Status"),
    ("post", f"{PAYMENTS}/checkout", SERVER, {}, "ServerCheckout", "200", "CheckoutAnswer"),
    ("post", f"{PAYMENTS}/portal", SERVER, {}, "ServerPortal", "200", "PortalAnswer"),
    ("get", f"{PAYMENTS}/status/{{user_id}}", SERVER, {}, None, "200", "Status"),
    ("post", "/api/v1/projects/{project_id}/end-user-tokens", SERVER, {}, "MintToken", "200", "EndUserToken"),
    ("post", "/api/v1/auth/register", ANYBODY, {}, "Register", "201", "Token"),
    ("post", "/api/v1/auth/login", ANYBODY, {}, "Login", "200", "Token"),
    ("post", "/api/v1/auth/refresh", ANYBODY, {}, None, "200", "Token"),
    ("get", "/api/v1/auth/me", DEVELOPER, {}, None, "200", None),
    ("get", "/api/v1/projects/", DEVELOPER, {}, None, "200", None),
    ("post", "/api/v1/projects/", DEVELOPER, {}, "CreateProject", "201", "Project"),
    ("get", "/api/v1/projects/{project_id}", DEVELOPER, {}, None, "200", "Project"),
    ("put", "/api/v1/projects/{project_id}", DEVELOPER, {}, None, "200", "Project"),
    ("delete", "/api/v1/projects/{project_id}", DEVELOPER, {}, None, "204", None),
    ("get", "/api/v1/projects/{project_id}/api-keys", DEVELOPER, {}, None, "200", None),
    ("post", "/api/v1/projects/{project_id}/api-keys", DEVELOPER, {}, None, "201", "NewApiKey"),
    ("delete", "/api/v1/projects/{project_id}/api-keys/{api_key_id}", DEVELOPER, {}, None, "204", None),
    ("post", f"{STRIPE}/webhooks/{{project_id}}/{{mode}}", ANYBODY, {}, None, "200", None),
    ("post", "/webhook/stripe", ANYBODY, {}, None, "200", None),
]
