"""The admin's side menu: what staff look for first comes first; the plumbing is at the end and folded.

Entries that the viewer may not open are left out.
"""

from typing import Any

from django.apps import apps
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse
from django.utils.text import capfirst

# (group, folded, [(model, title, Material symbol)]).
GROUPS: list[tuple[str, bool, list[tuple[str, str, str]]]] = [
    (
        "Customers",
        False,
        [
            ("projects.EndUser", "End users", "person"),
            ("payments.Subscription", "Subscriptions", "autorenew"),
            ("payments.SubscriptionChange", "History", "history"),
            ("entitlements.Entitlement", "Entitlements", "verified_user"),
            ("payments.Transaction", "Payments", "payments"),
            ("payments.Invoice", "Invoices", "receipt_long"),
            ("payments.Refund", "Refunds", "undo"),
            ("payments.Dispute", "Disputes", "gavel"),
            ("payments.CheckoutSession", "Checkout sessions", "shopping_cart"),
            ("payments.Trial", "Trials", "hourglass_top"),
            ("entitlements.CreditWallet", "Credits", "toll"),
            ("entitlements.CreditTransaction", "Ledger of credits", "receipt"),
            ("payments.CreditPurchase", "Credits bought", "shopping_bag"),
            ("licenses.License", "Licences", "workspace_premium"),
            ("payments.LicensePurchase", "Licences bought", "shopping_basket"),
            ("entitlements.TokenPeriod", "Token budgets", "token"),
            ("entitlements.UsagePeriod", "Usage", "speed"),
            ("entitlements.UsageEvent", "Usage reports", "data_usage"),
            ("entitlements.UsageCharge", "Usage billed", "request_quote"),
        ],
    ),
    (
        "Support",
        False,
        [
            ("moderation.ReviewItem", "Review queue", "flag"),
            ("notifications.OutboxRow", "Mails and effects", "outbox"),
            ("notifications.WebhookDelivery", "Webhooks sent", "send"),
            ("notifications.AlertIncident", "Incidents", "emergency_home"),
            ("moderation.ActionLog", "Action log", "gavel"),
            ("backoffice.Export", "Exports", "download"),
        ],
    ),
    (
        "Projects",
        False,
        [
            ("projects.Project", "Projects", "deployed_code"),
            ("projects.Membership", "Members", "group"),
            ("projects.ApiKey", "API keys", "key"),
            ("projects.IdentityProvider", "Identity providers", "badge"),
            ("notifications.WebhookEndpoint", "Webhook endpoints", "webhook"),
            ("notifications.Brand", "Mail brands", "brush"),
            ("hosted.HostedPages", "Hosted pages", "storefront"),
            ("notifications.AlertRule", "Alert rules", "rule"),
            ("notifications.AlertTarget", "Alert recipients", "notification_important"),
            ("notifications.MailOptOut", "Unsubscribed addresses", "unsubscribe"),
            ("entitlements.Plan", "Plans", "sell"),
            ("entitlements.PlanPrice", "Plan prices", "price_change"),
            ("entitlements.Meter", "Meters", "speed"),
            ("entitlements.PlanQuota", "Quotas", "data_thresholding"),
            ("entitlements.Connection", "Connections", "hub"),
            ("licenses.GitHubConnection", "GitHub connections", "group_add"),
            ("entitlements.ProvisionedUser", "LiteLLM users", "manage_accounts"),
            ("entitlements.CreditPack", "Credit packs", "inventory_2"),
            ("licenses.LicenseProduct", "Licence products", "box"),
            ("entitlements.CreditPolicy", "Credit policies", "policy"),
        ],
    ),
    (
        "Stripe",
        False,
        [
            ("payments.StripeCredentials", "Keys", "vpn_key"),
            ("payments.StripeConfig", "Configurations", "settings"),
            ("payments.BillingPolicy", "Billing policies", "policy"),
            ("payments.WebhookEvent", "Webhook events", "inbox"),
            ("payments.StripeCustomer", "Customers", "contacts"),
            ("payments.StripeIntent", "Calls to Stripe", "sync_alt"),
            ("payments.ReconcileRun", "Reconciliation", "balance"),
            ("payments.Drift", "Differences found", "difference"),
            ("payments.MirrorFailure", "Mirror failures", "warning"),
        ],
    ),
    (
        "Mirror of Stripe",
        True,
        [
            ("djstripe.Customer", "Customers", "contacts"),
            ("djstripe.Subscription", "Subscriptions", "autorenew"),
            ("djstripe.Invoice", "Invoices", "receipt_long"),
            ("djstripe.PaymentIntent", "Payment intents", "credit_card"),
            ("djstripe.Charge", "Charges", "credit_score"),
            ("djstripe.Refund", "Refunds", "undo"),
            ("djstripe.Product", "Products", "category"),
            ("djstripe.Price", "Prices", "price_change"),
            ("djstripe.Coupon", "Coupons", "confirmation_number"),
            ("djstripe.PromotionCode", "Promotion codes", "redeem"),
        ],
    ),
    (
        "Access",
        True,
        [
            ("accounts.User", "Users", "manage_accounts"),
            ("auth.Group", "Roles", "admin_panel_settings"),
            ("allauth_idp_oidc.Client", "OAuth2 clients", "apps"),
            ("auditlog.LogEntry", "Audit log", "history"),
        ],
    ),
]


# Pages of the back office's own that belong to an entry, by how their path begins.
OWN_PAGES = {
    "projects.EndUser": "/admin/end-users/",
    "payments.WebhookEvent": "/admin/events/",
}


def sidebar(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the groups that the viewer may open, for unfold's SIDEBAR.navigation."""
    home = reverse("admin:index")
    found: list[dict[str, Any]] = [
        {"items": [{"title": "Dashboard", "icon": "monitoring", "link": home, "active": request.path == home}]}
    ]
    for title, folded, entries in GROUPS:
        items = [item for item in (_item(request, *entry) for entry in entries) if item is not None]
        if items:
            found.append({"title": title, "collapsible": folded, "separator": True, "items": items})
    return found


def _item(request: HttpRequest, label: str, title: str, icon: str) -> dict[str, Any] | None:
    model = apps.get_model(label)
    registered = admin.site._registry.get(model)
    if registered is None or not registered.has_view_permission(request):
        return None
    item = {
        "title": title,
        "icon": icon,
        "link": reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"),
    }
    own = OWN_PAGES.get(label)
    return {**item, "active": True} if own and request.path.startswith(own) else item


def place_of(options: Any) -> tuple[str, str]:
    """Return the group and the title under which the menu has a model's list; the model's own names where it has none."""
    for group, _, entries in GROUPS:
        for label, title, _ in entries:
            if label.lower() == options.label_lower:
                return group, title
    return str(options.app_config.verbose_name), capfirst(options.verbose_name_plural)
