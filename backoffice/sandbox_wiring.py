"""Connects a project to an account of its own in the sandbox: keys, products, prices, plans, webhook endpoint.

Everything goes the way that a developer goes with the real Stripe: the keys through the configuration service, the
catalogue by the plan set and `setup_stripe`. Only the account itself is made through the sandbox's own switch.
"""

import httpx
from django.conf import settings
from django.db import transaction

from common.modes import LIVE, TEST
from entitlements.models import CreditPack, CreditPackPrice, Plan, PlanPrice
from entitlements.services.apply import apply_declaration
from entitlements.services.declared import read_document, read_preset
from licenses.models import LicenseProduct, LicenseProductPrice
from payments.models import StripeCredentials
from payments.services.setup_stripe import set_up_stripe
from payments.services.stripe_config import put_stripe_config
from payments.services.webhook_endpoints import check_endpoint
from projects.models import Project

TIMEOUT_SECONDS = 10


PLAN_SET = "credits"
LICENSE, LICENSE_CENTS = "kit", 4900
# Code, credits, price in cents.
PACKS = (("small", 100, 499), ("large", 500, 1999))
# What the plans of the demo allow at a LiteLLM proxy besides: the plan set itself says nothing of model calls. Cents each day.
MODEL_BUDGETS = {"free": 25, "maker": 100, "pro": 300, "unlimited": 1000}


def sandbox_answers() -> bool:
    """Say whether STRIPE_API_BASE is a sandbox, and not the real Stripe."""
    if not settings.STRIPE_API_BASE:
        return False
    try:
        return httpx.get(f"{settings.STRIPE_API_BASE}/_sandbox/health", timeout=TIMEOUT_SECONDS).status_code == 200
    except httpx.HTTPError:
        return False


def wire_to_sandbox(*, project: Project) -> None:
    """Give the project an account in the sandbox with a plan set; repeated, it mends only what is missing."""
    if not StripeCredentials.objects.for_project(project).filter(mode=TEST).exclude(secret_key="").exists():
        answer = httpx.post(
            f"{settings.STRIPE_API_BASE}/_sandbox/api/accounts", json={"name": project.name}, timeout=TIMEOUT_SECONDS
        )
        answer.raise_for_status()
        keys = answer.json()
        names = [f"{mode}_{kind}_key" for mode in (TEST, LIVE) for kind in ("secret", "publishable")]
        put_stripe_config(project=project, changes={name: keys[name] for name in names})
    _make_plans(project)
    _make_packs(project)
    _make_licenses(project)
    for mode in (TEST, LIVE):
        rows = PlanPrice.objects.for_project(project).filter(mode=mode, active=True, stripe_price_id="")
        if rows.exists():
            set_up_stripe(project=project, mode=mode)
        # Saving the keys made it; now it is moved to where the service is reached today.
        check_endpoint(project=project, mode=mode, mend_by_hand=True)


def _make_packs(project: Project) -> None:
    """Put credit packs on sale once, in both modes. Checkout asks for their amounts by itself: Stripe needs to know nothing."""
    if CreditPack.objects.for_project(project).exists():
        return
    with transaction.atomic():
        for code, credits, cents in PACKS:
            pack = CreditPack.objects.create(project=project, code=code, name=f"{credits} credits", credits=credits)
            for mode in (TEST, LIVE):
                CreditPackPrice.objects.create(project=project, pack=pack, mode=mode, amount_cents=cents)


def _make_licenses(project: Project) -> None:
    """Put a licence on sale once, in both modes. The organisation that it lets people into is wired elsewhere."""
    if LicenseProduct.objects.for_project(project).exists():
        return
    with transaction.atomic():
        product = LicenseProduct.objects.create(
            project=project,
            code=LICENSE,
            name="Demo kit, lifetime licence",
            repository="demo-kit",
            instructions="Run make run in it and read the README.",
            activation_limit=3,
        )
        for mode in (TEST, LIVE):
            LicenseProductPrice.objects.create(project=project, product=product, mode=mode, amount_cents=LICENSE_CENTS)


def _make_plans(project: Project) -> None:
    """Install the plan set once: what somebody changed in it since is theirs."""
    if Plan.objects.free_of(project) is not None:
        return
    budgets = {
        code: {"limits": {"compute_budget_cents": cents, "compute_budget_duration": "1d"}}
        for code, cents in MODEL_BUDGETS.items()
    }
    with transaction.atomic():
        for declaration in (
            read_preset(PLAN_SET, slug=project.slug),
            read_document({"plans": budgets}, source="demo", slug=project.slug),
        ):
            apply_declaration(declaration=declaration, tell=lambda changes: None)
