"""The caller × route matrix: one row for each method of each route. A route without a row makes the test fail.

A row says who may call (the audience), whether the path names a project, and the lowest role that may. What every other
caller must get follows from that: no valid token of the right kind 401, somebody else's project 404, too low a role 403.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from django.urls import URLPattern, URLResolver, get_resolver
from django.views.generic import RedirectView

Audience = Literal[
    "developer", "end_user", "server", "end_user_or_server", "license_holder", "public", "webhook", "browser"
]  # fmt: skip
HTTP_METHODS = ("get", "post", "put", "patch", "delete")
# Django's and unfold's own pages are crawled in the admin's tests.
ELSEWHERE = ("admin/", "static/", "demo", "dev/")
# Plain function views; a test shows that they refuse every other method.
FUNCTION_VIEWS = {
    "healthz": ("GET",),
    "readyz": ("GET",),
    "metrics": ("GET",),
    "webhook/stripe": ("POST",),
    ".well-known/entitlements/jwks.json": ("GET",),
    "api/v1/payments/stripe/webhooks/{project_id}/{mode}": ("POST",),
}


@dataclass(frozen=True)
class Row:
    """Who may call one method of one route."""

    audience: Audience
    project_in_path: bool = False
    min_role: Literal["viewer", "developer", "owner"] = "viewer"
    body: dict[str, Any] = field(default_factory=dict)
    # Path parts besides the project; an id of nobody is enough to be refused.
    path: dict[str, str] = field(default_factory=dict)


def normalize(route: str) -> str:
    """Write `<uuid:project_id>` as `{project_id}`."""
    out, rest = "", route
    while "<" in rest:
        before, _, tail = rest.partition("<")
        name, _, rest = tail.partition(">")
        out += before + "{" + name.rpartition(":")[2] + "}"
    return out + rest


def walk(resolver: URLResolver, prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    """Yield every route of the map with its full path."""
    for entry in resolver.url_patterns:
        path = prefix + str(entry.pattern).lstrip("^")
        if isinstance(entry, URLResolver):
            yield from walk(entry, path)
        else:
            yield normalize(path), entry


def methods_of(path: str, pattern: URLPattern) -> list[str]:
    """Name the methods that a route answers; a function view that FUNCTION_VIEWS does not know counts as all."""
    view_class = getattr(pattern.callback, "view_class", None) or getattr(pattern.callback, "cls", None)
    if view_class is RedirectView:
        return ["GET"]
    if view_class is not None:
        return [method.upper() for method in HTTP_METHODS if hasattr(view_class, method)]
    return list(FUNCTION_VIEWS.get(path, ("GET", "POST", "PUT", "PATCH", "DELETE")))


def routes() -> list[tuple[str, str]]:
    """List (method, path) of everything that this service answers, without the admin."""
    found = {
        (method, path)
        for path, pattern in walk(get_resolver())
        if not path.startswith(ELSEWHERE)
        for method in methods_of(path, pattern)
    }
    return sorted(found, key=lambda pair: (pair[1], pair[0]))


P = "api/v1/payments"
DEV = "api/v1/payments/stripe/projects/{project_id}"
USER = "api/v1/payments/stripe"
PROJECT = "api/v1/projects/{project_id}"
LICENSE = "api/v1/license-access"
ENDPOINT = f"{PROJECT}/webhook-endpoints/{{endpoint_id}}"
CHECKOUT_BODY = {
    "price_id": "price_x",
    "success_url": "https://app.example/ok",
    "cancel_url": "https://app.example/no",
}
HOSTED = "hosted/{slug}/{mode}"
NOBODY = "0190aaaa-0000-7000-8000-000000000000"

HOSTED_ROW = Row("public", path={"slug": "nobodys", "mode": "test"})
ROWS: dict[tuple[str, str], Row] = {
    # Aggregated developer endpoints: no project in the path, rows are limited to the caller's projects.
    ("GET", f"{P}/subscriptions"): Row("developer"),
    ("GET", f"{P}/transactions"): Row("developer"),
    ("GET", f"{P}/projects"): Row("developer"),
    ("GET", f"{P}/stats"): Row("developer"),
    # One project's Stripe configuration and rows.
    ("GET", f"{DEV}/config"): Row("developer", True),
    ("PUT", f"{DEV}/config"): Row("developer", True, "developer", {"test_publishable_key": "pk_test_0123456789abcd"}),
    ("DELETE", f"{DEV}/config"): Row("developer", True, "developer"),
    ("GET", f"{DEV}/webhook-urls"): Row("developer", True),
    ("POST", f"{DEV}/validate-credentials"): Row("developer", True, "developer", {"secret_key": "sk_test_x"}),
    ("GET", f"{DEV}/go-live"): Row("developer", True),
    ("POST", f"{DEV}/go-live"): Row("developer", True, "developer"),
    ("POST", f"{DEV}/key-doctor"): Row("developer", True, "developer"),
    ("POST", f"{DEV}/webhook-endpoint/check"): Row("developer", True, "developer"),
    ("POST", f"{DEV}/webhook-endpoint/roll-secret"): Row("developer", True, "developer"),
    ("GET", f"{DEV}/webhook-events"): Row("developer", True),
    ("POST", f"{DEV}/webhook-events/replay"): Row("developer", True, "developer", {"all_dead": True}),
    ("GET", f"{DEV}/webhook-events/{{event_id}}"): Row("developer", True, path={"event_id": "evt_nobody"}),
    ("POST", f"{DEV}/webhook-events/{{event_id}}/replay"): Row(
        "developer", True, "developer", path={"event_id": "evt_nobody"}
    ),
    ("GET", f"{DEV}/subscriptions"): Row("developer", True),
    ("GET", f"{DEV}/payments"): Row("developer", True),
    ("GET", f"{DEV}/billing-policy"): Row("developer", True),
    ("PUT", f"{DEV}/billing-policy"): Row("developer", True, "developer", {"grace_hours": 24}),
    ("GET", f"{DEV}/subscriptions/{{subscription_id}}/history"): Row(
        "developer", True, path={"subscription_id": NOBODY}
    ),
    # End users.
    ("POST", f"{USER}/checkout-session"): Row("end_user", body=CHECKOUT_BODY),
    ("GET", f"{USER}/checkout-session/{{session_id}}"): Row("end_user", path={"session_id": "cs_test_nobody"}),
    ("GET", f"{USER}/my-subscription"): Row("end_user"),
    ("GET", f"{USER}/my-entitlements"): Row("end_user"),
    ("GET", f"{USER}/my-payments"): Row("end_user"),
    ("POST", f"{USER}/customer-portal"): Row("end_user", body={"return_url": "https://app.example/"}),
    ("POST", f"{USER}/cancel-subscription"): Row("end_user", body={}),
    ("POST", f"{USER}/resume-subscription"): Row("end_user", body={}),
    ("POST", f"{USER}/preview-update"): Row("end_user", body={"new_price_id": "price_x"}),
    ("POST", f"{USER}/update-subscription"): Row("end_user", body={"new_price_id": "price_x"}),
    # Credits: an end user's own account, or that of a user whom the server names.
    ("GET", f"{P}/entitlements/{{user_id}}"): Row("end_user_or_server", path={"user_id": "nobody"}),
    ("GET", f"{P}/entitlements/token"): Row("end_user_or_server"),
    ("POST", f"{P}/entitlements/token"): Row("end_user_or_server", body={}),
    ("GET", f"{P}/entitlement-epochs"): Row("server"),
    ("GET", f"{P}/credits/balance"): Row("end_user_or_server"),
    ("GET", f"{P}/credits/history"): Row("end_user_or_server"),
    ("POST", f"{P}/credits/check"): Row("end_user_or_server", body={"amount": 1}),
    ("POST", f"{P}/credits/spend"): Row("end_user_or_server", body={"amount": 1}),
    ("POST", f"{P}/credits/reserve"): Row("end_user_or_server", body={"amount": 1}),
    ("POST", f"{P}/credits/commit"): Row("end_user_or_server", body={"reservation_id": NOBODY}),
    ("POST", f"{P}/credits/release"): Row("end_user_or_server", body={"reservation_id": NOBODY}),
    ("GET", f"{P}/credits/packs"): Row("end_user_or_server"),
    ("POST", f"{P}/credits/purchase"): Row("end_user_or_server", body={"pack": "small"}),
    # Token budgets: the same two.
    ("GET", f"{P}/tokens/budget"): Row("end_user_or_server"),
    ("POST", f"{P}/tokens/check"): Row("end_user_or_server", body={"tokens": 1}),
    ("POST", f"{P}/tokens/consume"): Row("end_user_or_server", body={"tokens": 1}),
    ("POST", f"{P}/tokens/reserve"): Row("end_user_or_server", body={"tokens": 1}),
    ("POST", f"{P}/tokens/commit"): Row("end_user_or_server", body={"reservation_id": NOBODY}),
    ("POST", f"{P}/tokens/release"): Row("end_user_or_server", body={"reservation_id": NOBODY}),
    # Metered usage: the same two.
    ("POST", f"{P}/usage/events"): Row(
        "end_user_or_server", body={"meter": "searches", "quantity": "2", "idempotency_key": "one"}
    ),
    ("GET", f"{P}/usage/summary"): Row("end_user_or_server"),
    ("POST", f"{P}/usage/can-execute"): Row("end_user_or_server", body={"meter": "searches"}),
    # Reports: by end users, the server for one, and developers.
    ("POST", f"{P}/reports"): Row("end_user_or_server", body={"category": "abuse", "text": "Spam."}),
    ("GET", f"{PROJECT}/reports"): Row("developer", True),
    ("POST", f"{PROJECT}/reports"): Row("developer", True, "developer", {"category": "abuse", "text": "Spam."}),
    # What is kept about one end user: handed out, and erased.
    ("POST", f"{PROJECT}/users/{{end_user_id}}/personal-data"): Row(
        "developer", True, "developer", path={"end_user_id": NOBODY}
    ),
    ("POST", f"{PROJECT}/users/{{end_user_id}}/anonymize"): Row(
        "developer", True, "owner", {"confirm": "nobody", "reason": "They asked."}, {"end_user_id": NOBODY}
    ),
    # Servers.
    ("POST", "checkout/{app}"): Row("server", body={"user_id": "u", "email": "u@example.com", "tier": "pro"}),
    ("POST", "portal/{app}"): Row("server", body={"user_id": "u"}),
    ("GET", "status/{app}/{user_id}"): Row("server", path={"user_id": "u"}),
    ("POST", f"{P}/checkout"): Row("server", body={"user_id": "u", "email": "u@example.com", "tier": "pro"}),
    ("POST", f"{P}/portal"): Row("server", body={"user_id": "u"}),
    ("GET", f"{P}/status/{{user_id}}"): Row("server", path={"user_id": "u"}),
    ("POST", f"{PROJECT}/end-user-tokens"): Row("server", True, body={"user_id": "u"}),
    # Stripe.
    ("POST", f"{USER}/webhooks/{{project_id}}/{{mode}}"): Row("webhook", True, path={"mode": "test"}),
    ("POST", "webhook/stripe"): Row("webhook"),
    # Hosted pages: a link lets somebody in, a cookie of theirs says who it is; what each refuses is in tests/hosted.
    ("POST", f"{P}/hosted-links"): Row("end_user_or_server", body={"page": "account"}),
    **{
        ("GET", f"{HOSTED}/{page}"): HOSTED_ROW
        for page in ("open", "brand.css", "pricing", "return", "account", "change", "cancel")
    },
    **{
        ("POST", f"{HOSTED}/{page}"): HOSTED_ROW
        for page in ("sign-out", "pricing", "change", "cancel", "resume", "portal", "credits", "license")
    },
    # Licences: bought by anybody, looked after by whoever has the signed link, used by sold programs.
    ("POST", f"{P}/lifetime-checkout"): Row("public"),
    ("GET", f"{USER}/my-licenses"): Row("end_user"),
    ("GET", f"{LICENSE}/status"): Row("license_holder"),
    ("POST", f"{LICENSE}/submit-username"): Row("license_holder", body={"github_username": "mona", "replace": True}),
    ("POST", f"{LICENSE}/check-acceptance"): Row("license_holder"),
    ("POST", f"{LICENSE}/invite-again"): Row("license_holder"),
    ("POST", f"{LICENSE}/license-key"): Row("license_holder"),
    ("POST", "api/v1/license-keys/verify"): Row("public"),
    ("POST", "api/v1/license-keys/activate"): Row("public"),
    ("POST", "api/v1/license-keys/deactivate"): Row("public"),
    ("GET", f"{PROJECT}/licenses"): Row("developer", True),
    ("GET", f"{PROJECT}/licenses/metrics"): Row("developer", True),
    ("GET", "license-access"): Row("public"),
    ("POST", "license-access"): Row("public"),
    # Projects and what belongs to them.
    ("GET", "api/v1/projects/"): Row("developer"),
    ("POST", "api/v1/projects/"): Row("developer", body={"name": "New"}),
    ("GET", PROJECT): Row("developer", True),
    ("PUT", PROJECT): Row("developer", True, "developer", {"name": "Renamed"}),
    ("DELETE", PROJECT): Row("developer", True, "owner"),
    ("GET", f"{PROJECT}/api-keys"): Row("developer", True),
    ("POST", f"{PROJECT}/api-keys"): Row("developer", True, "developer", {"name": "key"}),
    ("DELETE", f"{PROJECT}/api-keys/{{api_key_id}}"): Row("developer", True, "developer", path={"api_key_id": NOBODY}),
    ("GET", f"{PROJECT}/members"): Row("developer", True),
    ("POST", f"{PROJECT}/members"): Row("developer", True, "owner", {"email": "nobody@example.com", "role": "viewer"}),
    ("PUT", f"{PROJECT}/members/{{user_id}}"): Row("developer", True, "owner", {"role": "viewer"}, {"user_id": NOBODY}),
    ("DELETE", f"{PROJECT}/members/{{user_id}}"): Row("developer", True, "owner", path={"user_id": NOBODY}),
    ("GET", f"{PROJECT}/users"): Row("developer", True),
    ("GET", f"{PROJECT}/users/{{end_user_id}}"): Row("developer", True, path={"end_user_id": NOBODY}),
    ("PATCH", f"{PROJECT}/users/{{end_user_id}}"): Row(
        "developer", True, "developer", {"is_active": False}, {"end_user_id": NOBODY}
    ),
    ("POST", f"{PROJECT}/users/{{end_user_id}}/plan"): Row(
        "developer", True, "developer", {"plan": "sovereign", "reason": "staff"}, {"end_user_id": NOBODY}
    ),
    ("GET", f"{PROJECT}/identity-provider"): Row("developer", True),
    ("PUT", f"{PROJECT}/identity-provider"): Row(
        "developer",
        True,
        "developer",
        {"kind": "hs256", "issuer": "https://idp.example", "audience": "app", "hs256_secret": "s" * 40},
    ),
    ("DELETE", f"{PROJECT}/identity-provider"): Row("developer", True, "developer"),
    ("GET", f"{PROJECT}/connections/litellm"): Row("developer", True),
    ("PUT", f"{PROJECT}/connections/litellm"): Row(
        "developer", True, "developer", {"base_url": "https://litellm.example", "master_key": "m" * 20}
    ),
    ("DELETE", f"{PROJECT}/connections/litellm"): Row("developer", True, "developer"),
    ("POST", f"{PROJECT}/connections/litellm/check"): Row("developer", True, "developer"),
    ("GET", f"{PROJECT}/connections/github"): Row("developer", True),
    ("PUT", f"{PROJECT}/connections/github"): Row(
        "developer", True, "developer", {"organization": "acme", "team_slug": "customers", "token": "g" * 20}
    ),
    ("DELETE", f"{PROJECT}/connections/github"): Row("developer", True, "developer"),
    ("POST", f"{PROJECT}/connections/github/check"): Row("developer", True, "developer"),
    ("GET", f"{PROJECT}/mail-brand"): Row("developer", True),
    ("PUT", f"{PROJECT}/mail-brand"): Row("developer", True, "developer", {"from_name": "Acme"}),
    ("GET", f"{PROJECT}/hosted-pages"): Row("developer", True),
    ("PUT", f"{PROJECT}/hosted-pages"): Row("developer", True, "developer", {"time_zone": "UTC"}),
    ("GET", f"{PROJECT}/alert-settings"): Row("developer", True),
    ("PUT", f"{PROJECT}/alert-settings"): Row("developer", True, "developer", {"mail_to": ["ops@acme.example"]}),
    # Where the project's app listens.
    ("GET", f"{PROJECT}/webhook-endpoints"): Row("developer", True),
    ("POST", f"{PROJECT}/webhook-endpoints"): Row("developer", True, "developer", {"url": "https://app.example/hook"}),
    ("GET", f"{ENDPOINT}"): Row("developer", True, path={"endpoint_id": NOBODY}),
    ("PUT", f"{ENDPOINT}"): Row("developer", True, "developer", {"is_active": True}, {"endpoint_id": NOBODY}),
    ("DELETE", f"{ENDPOINT}"): Row("developer", True, "developer", path={"endpoint_id": NOBODY}),
    ("POST", f"{ENDPOINT}/rotate-secret"): Row("developer", True, "developer", path={"endpoint_id": NOBODY}),
    ("POST", f"{ENDPOINT}/test"): Row("developer", True, "developer", path={"endpoint_id": NOBODY}),
    ("POST", f"{ENDPOINT}/replay"): Row(
        "developer", True, "developer", {"since": "2026-11-01T00:00:00Z"}, {"endpoint_id": NOBODY}
    ),
    ("GET", f"{ENDPOINT}/deliveries"): Row("developer", True, path={"endpoint_id": NOBODY}),
    ("GET", f"{ENDPOINT}/deliveries/{{delivery_id}}"): Row(
        "developer", True, "developer", path={"endpoint_id": NOBODY, "delivery_id": NOBODY}
    ),
    ("POST", f"{ENDPOINT}/deliveries/{{delivery_id}}/replay"): Row(
        "developer", True, "developer", path={"endpoint_id": NOBODY, "delivery_id": NOBODY}
    ),
    # Plans and their prices.
    ("GET", f"{P}/plans"): Row("public"),
    ("GET", f"{PROJECT}/plans"): Row("developer", True),
    ("POST", f"{PROJECT}/plans"): Row("developer", True, "developer", {"code": "new", "name": "New"}),
    ("GET", f"{PROJECT}/plans/{{plan_id}}"): Row("developer", True, path={"plan_id": NOBODY}),
    ("PUT", f"{PROJECT}/plans/{{plan_id}}"): Row("developer", True, "developer", {"name": "N"}, {"plan_id": NOBODY}),
    ("DELETE", f"{PROJECT}/plans/{{plan_id}}"): Row("developer", True, "developer", path={"plan_id": NOBODY}),
    ("POST", f"{PROJECT}/plans/{{plan_id}}/prices"): Row(
        "developer", True, "developer", {"amount_cents": 100}, {"plan_id": NOBODY}
    ),
    ("PUT", f"{PROJECT}/plans/{{plan_id}}/prices/{{price_id}}"): Row(
        "developer", True, "developer", {"active": False}, {"plan_id": NOBODY, "price_id": NOBODY}
    ),
    ("DELETE", f"{PROJECT}/plans/{{plan_id}}/prices/{{price_id}}"): Row(
        "developer", True, "developer", path={"plan_id": NOBODY, "price_id": NOBODY}
    ),
    # Sign-in.
    ("POST", "api/v1/auth/register"): Row("public"),
    ("POST", "api/v1/auth/login"): Row("public"),
    ("POST", "api/v1/auth/refresh"): Row("public"),
    ("POST", "api/v1/auth/logout"): Row("public"),
    ("GET", "api/v1/auth/me"): Row("developer"),
    ("GET", "api/v1/auth/clients"): Row("developer"),
    ("POST", "api/v1/auth/clients"): Row("developer", body={"name": "cli", "redirect_uris": ["http://127.0.0.1/cb"]}),
    ("DELETE", "api/v1/auth/clients/{client_id}"): Row("developer", path={"client_id": "nobody"}),
    # OAuth2 as its standards have it: the token and client are in the request, refusals are the protocol's own.
    ("GET", ".well-known/openid-configuration"): Row("public"),
    ("GET", ".well-known/jwks.json"): Row("public"),
    ("GET", ".well-known/entitlements/jwks.json"): Row("public"),
    ("POST", "oauth/token"): Row("public"),
    ("POST", "oauth/revoke"): Row("public"),
    ("POST", "oauth/introspect"): Row("public"),
    ("GET", "oauth/userinfo"): Row("public"),
    ("POST", "oauth/userinfo"): Row("public"),
    ("GET", "oauth/authorize"): Row("browser"),
    ("POST", "oauth/authorize"): Row("browser"),
    ("PUT", "oauth/authorize"): Row("browser"),
    ("GET", "accounts/login/"): Row("browser"),
    ("POST", "accounts/login/"): Row("browser"),
    ("GET", "accounts/logout/"): Row("browser"),
    ("POST", "accounts/logout/"): Row("browser"),
    ("GET", "accounts/reauthenticate/"): Row("browser"),
    ("POST", "accounts/reauthenticate/"): Row("browser"),
    # The link is the right; what it answers is in tests/notifications/test_unsubscribe.py.
    ("GET", "mail/unsubscribe/{token}"): Row("public", path={"token": "nobody"}),
    ("POST", "mail/unsubscribe/{token}"): Row("public", path={"token": "nobody"}),
    # Documentation and health.
    ("GET", "openapi.json"): Row("public"),
    ("GET", "openapi.yaml"): Row("public"),
    ("GET", "docs"): Row("public"),
    ("GET", "docs/"): Row("public"),
    ("GET", ""): Row("public"),
    ("GET", "admin"): Row("public"),
    ("GET", "healthz"): Row("public"),
    ("GET", "readyz"): Row("public"),
    # Answers 404 without METRICS_TOKEN, and 401 without that token (tests/runtime/test_metrics.py).
    ("GET", "metrics"): Row("public"),
}
