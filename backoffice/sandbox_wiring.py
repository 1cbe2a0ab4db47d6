"""Connects a project to an account of its own in the sandbox: keys, products, prices, plans, webhook endpoint.

Everything goes the way that a developer goes with the real Stripe: the keys through the configuration service, the
catalogue through Stripe's API. Only the account itself is made through the sandbox's own switch.
"""

from dataclasses import dataclass

import httpx
from django.conf import settings

from common.modes import LIVE, TEST
from entitlements.models import Plan, PlanPrice
from payments.models import StripeCredentials
from payments.services.stripe_config import put_stripe_config
from payments.services.webhook_endpoints import check_endpoint
from payments.stripe_api import StripeAccount, stripe_account
from projects.models import Project

TIMEOUT_SECONDS = 10


@dataclass(frozen=True)
class SamplePlan:
    """One plan of the sample catalogue. Units: cents."""

    code: str
    name: str
    description: str
    rank: int
    monthly_cents: int
    yearly_cents: int
    aliases: tuple[str, ...] = ()


SAMPLE_PLANS = (
    SamplePlan("maker", "Maker", "30 credits a day, files up to 50 MB", 1, 1299, 11691),
    SamplePlan("pro", "Pro", "100 credits a day, files up to 200 MB", 2, 2499, 22491),
    SamplePlan("unlimited", "Agency", "500 credits a day, files up to 500 MB", 3, 3999, 35991, ("agency",)),
)


def sandbox_answers() -> bool:
    """Say whether STRIPE_API_BASE is a sandbox, and not the real Stripe."""
    if not settings.STRIPE_API_BASE:
        return False
    try:
        return httpx.get(f"{settings.STRIPE_API_BASE}/_sandbox/health", timeout=TIMEOUT_SECONDS).status_code == 200
    except httpx.HTTPError:
        return False


def wire_to_sandbox(*, project: Project) -> None:
    """Give the project an account in the sandbox with the sample plans; repeated, it mends only what is missing."""
    if not StripeCredentials.objects.for_project(project).filter(mode=TEST).exclude(secret_key="").exists():
        answer = httpx.post(
            f"{settings.STRIPE_API_BASE}/_sandbox/api/accounts", json={"name": project.name}, timeout=TIMEOUT_SECONDS
        )
        answer.raise_for_status()
        keys = answer.json()
        names = [f"{mode}_{kind}_key" for mode in (TEST, LIVE) for kind in ("secret", "publishable")]
        put_stripe_config(project=project, changes={name: keys[name] for name in names})
    for mode in (TEST, LIVE):
        account = stripe_account(project.pk, mode)
        for sample in SAMPLE_PLANS:
            _make_plan(project, account, mode, sample)
        # Saving the keys made it; now it is moved to where the service is reached today.
        check_endpoint(project=project, mode=mode, mend_by_hand=True)


def _make_plan(project: Project, account: StripeAccount, mode: str, sample: SamplePlan) -> None:
    plan, _ = Plan.objects.get_or_create(
        project=project,
        code=sample.code,
        defaults={"name": sample.name, "rank": sample.rank, "aliases": list(sample.aliases)},
    )
    if PlanPrice.objects.for_project(project).filter(plan=plan, mode=mode).exists():
        return
    # Keys of the project's own: an interrupted seed repeats the calls and gets the same objects.
    prefix = f"sample-{project.pk}-{mode}-{sample.code}"
    product = account.create(
        "products",
        {"name": sample.name, "description": sample.description, "metadata": {"plan": sample.code}},
        idempotency_key=prefix,
    )
    rows = []
    for interval, amount in (("month", sample.monthly_cents), ("year", sample.yearly_cents)):
        lookup_key = f"{sample.code}_{interval}ly"
        price = account.create(
            "prices",
            {
                "product": product["id"],
                "currency": "usd",
                "unit_amount": amount,
                "recurring": {"interval": interval},
                "lookup_key": lookup_key,
            },
            idempotency_key=f"{prefix}-{interval}",
        )
        rows.append(
            PlanPrice(
                project=project,
                plan=plan,
                mode=mode,
                interval=interval,
                stripe_price_id=price["id"],
                lookup_key=lookup_key,
                amount_cents=amount,
                currency="usd",
            )
        )
    PlanPrice.objects.bulk_create(rows)
