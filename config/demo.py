"""The demo shop of `make run`: buy a plan in the browser, then look at what the service knows. Routed only when DEMO is on.

It stands for a developer's own app, so it uses nothing that an app could not do over HTTP: an end user is named, a
checkout session is opened, the buyer comes back, and the app asks what the user is on.
"""

import json
import uuid
from typing import Any

from django.conf import settings
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import path, reverse
from django.views.decorators.http import require_POST, require_safe

from backoffice.demo_seed import DEMO_SHOPPER, DEMO_SLUG
from common.errors import ApiError
from common.modes import TEST
from entitlements.models import Plan, PlanPrice
from entitlements.services import ledger
from entitlements.services.packs import packs_on_sale
from hosted.services.links import ACCOUNT, PRICING, mint_link
from licenses.services.products import licenses_on_sale
from payments.models import Subscription, Transaction
from payments.serializers import payments_with_relations
from payments.services.checkout import Purchase, open_checkout_session, read_checkout_session
from payments.services.credit_checkout import open_credit_checkout
from payments.services.license_checkout import Buyer, open_license_checkout
from payments.services.portal import open_portal
from payments.services.shapes import render_payment, render_subscription
from payments.services.subscription_changes import update_subscription
from projects.models import ApiKey, EndUser, Project
from projects.principals import ServerPrincipal
from projects.services.end_user_tokens import EndUserToken, mint_end_user_token

SHOPPER_COOKIE = "demo_shopper"
TOKEN_SECONDS = 3600
SHOWN_PAYMENTS = 10
ICON = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#3358d4"/>'
    '<path d="M7 12h18M7 16h18v6H7v-12h18v6" fill="none" stroke="#fff" stroke-width="2.5"/></svg>'
)
TEST_CARDS = (
    ("4242 4242 4242 4242", "pays"),
    ("4000 0000 0000 0002", "is declined"),
    ("4000 0000 0000 9995", "has insufficient funds"),
    ("4000 0025 0000 3155", "asks the buyer to confirm"),
)


def _project() -> Project:
    """Return the demo's project. Raises Http404 when the demo was not seeded."""
    project = Project.objects.existing().filter(slug=DEMO_SLUG).first()
    if project is None:
        raise Http404("There is no demo project here: manage.py seed demo")
    return project


def _token(request: HttpRequest, project: Project) -> EndUserToken:
    """Mint what an app's server would mint for its signed-in user; each browser may have a shopper of its own."""
    server = ServerPrincipal(ApiKey(project=project, is_test_mode=True), project, TEST)
    user_id = request.COOKIES.get(SHOPPER_COOKIE, "")
    if not user_id.startswith(f"{DEMO_SHOPPER}-") or len(user_id) > len(DEMO_SHOPPER) + 33:
        user_id = DEMO_SHOPPER
    return mint_end_user_token(
        server=server, user_id=user_id, email=f"{user_id}@demo.example", ttl_seconds=TOKEN_SECONDS, test_only=True
    )


def _money(amount_cents: int, currency: str) -> str:
    """Write an amount for reading. The sample plans are in dollars, which have two digits."""
    return f"{amount_cents / 100:,.2f} {currency.upper()}"


def _plans(project: Project, current: Subscription | None) -> list[dict[str, Any]]:
    offered_plans = Plan.objects.for_project(project).on_offer()
    prices = PlanPrice.objects.for_project(project).on_sale().filter(mode=TEST, plan__in=offered_plans)
    plans: dict[Plan, list[dict[str, Any]]] = {}
    for price in prices.select_related("plan").order_by("plan__rank", "interval"):
        plans.setdefault(price.plan, []).append(
            {
                "id": price.stripe_price_id,
                "amount": _money(price.amount_cents, price.currency),
                "interval": price.interval,
                "current": current is not None and current.stripe_price_id == price.stripe_price_id,
            }
        )
    return [{"plan": plan, "prices": offered} for plan, offered in plans.items()]


def _packs(project: Project) -> list[dict[str, str]]:
    orders = packs_on_sale(project=project, mode=TEST)
    return [
        {"code": one.pack.code, "name": one.pack.name, "amount": _money(one.amount_cents, one.currency)}
        for one in orders
    ]


def _licenses(project: Project) -> list[dict[str, str]]:
    orders = licenses_on_sale(project=project, mode=TEST)
    return [
        {
            "code": one.product.code,
            "name": one.product.name,
            "amount": _money(one.price.amount_cents, one.price.currency),
        }
        for one in orders
    ]


def _current(end_user: EndUser) -> Subscription | None:
    found = Subscription.objects.for_project(end_user.project_id).current_for(end_user, TEST)
    return found if found is not None and found.status not in ("canceled", "incomplete_expired", "incomplete") else None


def _page(request: HttpRequest, template: str, project: Project, token: EndUserToken, **more: Any) -> HttpResponse:
    """Render a page with what both pages show: the subscription and the payments, as the API answers them."""
    current = _current(token.end_user)
    rows = Transaction.objects.for_project(project).in_mode(TEST).filter(end_user=token.end_user)
    payments = [render_payment(row) for row in payments_with_relations(rows).order_by("-created_at")[:SHOWN_PAYMENTS]]
    subscription = render_subscription(current) if current else None
    context = {
        "project": project,
        "shopper": token.end_user,
        "token": token.access_token,
        "base_url": settings.PUBLIC_BASE_URL,
        "plans": _plans(project, current),
        "packs": _packs(project),
        "licenses": _licenses(project),
        "github_url": f"{settings.GITHUB_API_BASE}/_web" if settings.GITHUB_API_BASE.endswith("/_github") else "",
        "credits": ledger.read_balance(project_id=project.pk, mode=TEST, end_user_id=token.end_user.pk),
        "current": current,
        "subscription_json": json.dumps(subscription, indent=2, default=str, ensure_ascii=False),
        "payments": [
            {
                **each,
                "money": _money(each["amount_cents"], each["currency"]),
                "when": str(each["created_at"])[:16].replace("T", " "),
            }
            for each in payments
        ],
        "payments_json": json.dumps(
            {"payments": payments, "total": rows.count(), "page": 1, "page_size": SHOWN_PAYMENTS},
            indent=2,
            default=str,
            ensure_ascii=False,
        ),
        "sandbox_url": settings.STRIPE_API_BASE,
        "cards": TEST_CARDS,
        **more,
    }
    return render(request, template, context)


def _refused(request: HttpRequest, project: Project, token: EndUserToken, error: ApiError) -> HttpResponse:
    """Show the shop again with what the service said."""
    response = _page(request, "demo/shop.html", project, token, problem=error.detail)
    response.status_code = error.status_code
    return response


@require_safe
def shop(request: HttpRequest) -> HttpResponse:
    """Show the plans, and what this shopper has."""
    project = _project()
    return _page(request, "demo/shop.html", project, _token(request, project))


@require_POST
def buy(request: HttpRequest) -> HttpResponse:
    """Open a checkout session for a price, or move the subscription to it, and go there."""
    project = _project()
    token = _token(request, project)
    price_id = request.POST.get("price_id", "")
    here = settings.PUBLIC_BASE_URL
    purchase = Purchase(
        price_id=price_id,
        success_url=f"{here}{reverse('demo-return')}?session_id={{CHECKOUT_SESSION_ID}}",
        cancel_url=f"{here}{reverse('demo')}",
    )
    try:
        session = open_checkout_session(project=project, mode=TEST, end_user=token.end_user, purchase=purchase)
    except ApiError as error:
        return _refused(request, project, token, error)
    return HttpResponseRedirect(session.url)


@require_POST
def buy_credits(request: HttpRequest) -> HttpResponse:
    """Open a checkout session for a credit pack, and go there."""
    project = _project()
    token = _token(request, project)
    here = settings.PUBLIC_BASE_URL
    try:
        session = open_credit_checkout(
            project=project,
            mode=TEST,
            end_user=token.end_user,
            pack=request.POST.get("pack", ""),
            success_url=f"{here}{reverse('demo-return')}?session_id={{CHECKOUT_SESSION_ID}}",
            cancel_url=f"{here}{reverse('demo')}",
        )
    except ApiError as error:
        return _refused(request, project, token, error)
    return HttpResponseRedirect(session.url)


@require_POST
def buy_license(request: HttpRequest) -> HttpResponse:
    """Open a checkout session for a licence, and go there; it returns to the licence's own page."""
    project = _project()
    token = _token(request, project)
    try:
        opened = open_license_checkout(
            project=project,
            mode=TEST,
            product=request.POST.get("product", ""),
            buyer=Buyer(end_user=token.end_user),
            cancel_url=f"{settings.PUBLIC_BASE_URL}{reverse('demo')}",
        )
    except ApiError as error:
        return _refused(request, project, token, error)
    return HttpResponseRedirect(opened.url)


@require_POST
def change(request: HttpRequest) -> HttpResponse:
    """Move the subscription to another price, prorated."""
    project = _project()
    token = _token(request, project)
    try:
        update_subscription(
            project=project, mode=TEST, end_user=token.end_user, new_price_id=request.POST.get("price_id", "")
        )
    except ApiError as error:
        return _refused(request, project, token, error)
    return HttpResponseRedirect(reverse("demo"))


@require_POST
def portal(request: HttpRequest) -> HttpResponse:
    """Go to the customer portal: cancel, resume, switch, invoices."""
    project = _project()
    token = _token(request, project)
    back = f"{settings.PUBLIC_BASE_URL}{reverse('demo')}"
    try:
        return HttpResponseRedirect(open_portal(project=project, mode=TEST, end_user=token.end_user, return_url=back))
    except ApiError as error:
        return _refused(request, project, token, error)


@require_POST
def hosted(request: HttpRequest) -> HttpResponse:
    """Go to the hosted pricing or account page by a link, as an app's server sends its signed-in user there."""
    project = _project()
    token = _token(request, project)
    page = PRICING if request.POST.get("page") == PRICING else ACCOUNT
    back = f"{settings.PUBLIC_BASE_URL}{reverse('demo')}"
    link = mint_link(project=project, mode=TEST, end_user=token.end_user, page=page, return_url=back)
    return HttpResponseRedirect(link.url)


@require_safe
def come_back(request: HttpRequest) -> HttpResponse:
    """Where the checkout returns to: ask what became of the session, which is right even before the webhook."""
    project = _project()
    token = _token(request, project)
    session_id = request.GET.get("session_id", "")
    try:
        session = read_checkout_session(project=project, mode=TEST, end_user=token.end_user, session_id=session_id)
    except ApiError as error:
        return _refused(request, project, token, error)
    return _page(request, "demo/return.html", project, token, session=session)


@require_POST
def new_shopper(request: HttpRequest) -> HttpResponse:
    """Begin again as somebody who has bought nothing."""
    response = HttpResponseRedirect(reverse("demo"))
    response.set_cookie(
        SHOPPER_COOKIE, f"{DEMO_SHOPPER}-{uuid.uuid4().hex[:12]}", httponly=True, samesite="Lax", max_age=86400 * 30
    )
    return response


@require_safe
def favicon(request: HttpRequest) -> HttpResponse:
    """Return the icon that browsers ask for by themselves."""
    return HttpResponse(ICON, content_type="image/svg+xml", headers={"Cache-Control": "public, max-age=86400"})


urlpatterns = [
    path("favicon.ico", favicon, name="favicon"),
    path("demo/", shop, name="demo"),
    path("demo/buy", buy, name="demo-buy"),
    path("demo/buy-credits", buy_credits, name="demo-buy-credits"),
    path("demo/buy-license", buy_license, name="demo-buy-license"),
    path("demo/change", change, name="demo-change"),
    path("demo/portal", portal, name="demo-portal"),
    path("demo/hosted", hosted, name="demo-hosted"),
    path("demo/return", come_back, name="demo-return"),
    path("demo/new-shopper", new_shopper, name="demo-new-shopper"),
]
