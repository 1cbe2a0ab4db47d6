"""Which rows' changes are in the audit log: what operators and developers decide, and who may do what.

Invariants: of each kind the columns are named one by one, so that no secret, digest or token gets in by being new; what payments
and users cause by themselves is not audited: that has histories of its own. The library does not see `queryset.update()`.
"""

from collections.abc import Mapping, Sequence

from auditlog.registry import auditlog
from django.apps import apps

_PRICE = ("mode", "stripe_price_id", "lookup_key", "amount_cents", "currency", "active")
COLUMNS: Mapping[str, Sequence[str]] = {
    "accounts.User": ("email", "full_name", "is_active", "is_staff", "is_superuser"),
    "auth.Group": ("name",),
    "projects.Project": (
        "name", "slug", "is_active", "allowed_origins", "default_success_url", "default_cancel_url", "default_return_url",
        "shared_webhook", "deleted_at",
    ),
    "projects.Membership": ("project", "user", "role"),
    "projects.ApiKey": ("project", "name", "key_prefix", "is_test_mode", "is_active"),
    "projects.IdentityProvider": (
        "project", "kind", "issuer", "audience", "jwks_url", "user_id_claim", "email_claim", "test_only", "is_active",
    ),
    "payments.StripeConfig": ("project", "is_active"),
    "payments.BillingPolicy": (
        "project", "entitled_statuses", "grace_hours", "full_refund_revokes", "dispute_revokes", "billing_address_collection",
        "tax_id_collection", "automatic_tax", "allow_promotion_codes",
    ),
    "entitlements.Plan": (
        "project", "code", "name", "aliases", "rank", "internal", "free", "archived", "trial_days", "features", "credits_per_day",
        "credits_per_period", "token_budget",
    ),
    "entitlements.PlanPrice": ("plan", "interval", *_PRICE),
    "entitlements.Meter": ("project", "code", "unit_amount", "currency", "stripe_event_name", "active"),
    "entitlements.PlanQuota": ("plan", "meter", "included", "block_at_percent", "unit_amount"),
    "entitlements.CreditPack": ("project", "code", "name", "credits", "allow_promotion_codes", "active", "internal"),
    "entitlements.CreditPackPrice": ("pack", *_PRICE),
    "entitlements.CreditPolicy": ("project", "shortfall", "low_at"),
    "entitlements.Connection": ("project", "mode", "base_url", "user_id_prefix", "is_active"),
    "licenses.LicenseProduct": (
        "project", "code", "name", "team_slug", "repository", "activation_limit", "allow_promotion_codes", "active",
    ),
    "licenses.LicenseProductPrice": ("product", *_PRICE),
    "licenses.GitHubConnection": ("project", "mode", "organization", "team_slug", "token_login", "is_active"),
    "notifications.Brand": ("project", "from_name", "from_address", "reply_to"),
    "notifications.AlertRule": ("project", "kind", "is_enabled", "threshold", "recovers_at", "window_minutes", "calm_minutes"),
    "notifications.AlertTarget": ("project", "mail_to"),
    "notifications.WebhookEndpoint": ("project", "mode", "event_types", "disabled_reason"),
    "hosted.HostedPages": ("project", "sign_in_url", "return_url", "time_zone"),
}  # fmt: skip
# Who was given a role, and what a role may do.
MEMBERS: Mapping[str, Sequence[str]] = {
    "accounts.User": ("groups", "user_permissions"),
    "auth.Group": ("permissions",),
}


def audit_changes() -> None:
    """Have changes of these rows written down. Called once, at start."""
    for label, columns in COLUMNS.items():
        members = MEMBERS.get(label, ())
        model = apps.get_model(label)
        if not auditlog.contains(model):
            auditlog.register(model, include_fields=[*columns, *members], m2m_fields=set(members))
