"""A plan that is not sold any more: nobody new gets it, and whoever is on it stays on it, whatever its prices are."""

import io
from pathlib import Path

from django.core.management import call_command

from entitlements.models import Entitlement, Plan, PlanPrice
from moderation.models import ReviewItem
from payments.models import Subscription
from payments.services.sync_subscription import sync_subscription
from tests.cast import AppServer, AppUser
from tests.entitlements.declaring import apply, price_rows, set_up, write_file
from tests.payments.shop import Shop, buy, checkout_body, post

OLD = '[plans.old]\nname = "Old"\n[[plans.old.prices]]\nmode = "test"\namount_cents = 1000\n'
NEW = '[plans.new]\nname = "New"\n[[plans.new.prices]]\nmode = "test"\namount_cents = 2000\n'


def test_whoever_is_on_an_archived_plan_stays_on_it_and_nobody_new_gets_it(
    shop: Shop, dana: AppUser, erin: AppUser, acme_server: AppServer, tmp_path: Path
) -> None:
    slug = shop.project.slug
    apply(write_file(tmp_path, OLD + NEW), project=slug)
    set_up(shop.project)
    bought = buy(shop, dana, None, plan="old")["subscription"]
    assert "plan old: archived" in apply(write_file(tmp_path, NEW), "--prune", project=slug)
    old = Plan.objects.for_project(shop.project).get(code="old")
    price_id = price_rows(shop.project)[0][3]
    # Nobody new, whichever way it is named.
    by_plan = post(erin, "checkout-session", checkout_body(None, plan="old"))
    assert (by_plan.status_code, by_plan.json()["detail"][0]["type"]) == (422, "plan_not_for_sale")
    by_price = post(erin, "checkout-session", checkout_body(price_id))
    assert (by_price.status_code, by_price.json()["code"]) == (400, "price_not_found")
    assert post(dana, "update-subscription", {"new_price_id": price_id}).status_code == 400
    tier = acme_server.client.post(
        f"/checkout/{slug}", {"user_id": "x", "email": "x@example.com", "tier": "old"}, content_type="application/json"
    )
    assert tier.status_code == 422
    # Whoever has it keeps it: when it is read again, rebuilt from nothing, and with its price off sale at Stripe too.
    shop.api("POST", f"prices/{price_id}", active="false")
    sync_subscription(project=shop.project, mode="test", subscription_id=bought["subscription_id"])
    call_command("rebuild", slug, mode="test", stdout=io.StringIO())
    row = Subscription.objects.for_project(shop.project).get()
    assert (row.plan, row.status) == (old, "active")
    assert Entitlement.objects.for_project(shop.project).get(end_user=dana.end_user).plan == old
    assert not ReviewItem.objects.for_project(shop.project).filter(kind="unknown_price").exists()


def test_a_price_that_was_taken_off_sale_here_is_not_sold_by_its_id(shop: Shop, dana: AppUser, tmp_path: Path) -> None:
    apply(write_file(tmp_path, NEW), project=shop.project.slug)
    set_up(shop.project)
    price_id = price_rows(shop.project)[0][3]
    rows = PlanPrice.objects.for_project(shop.project)
    rows.update(active=False)
    refused = post(dana, "checkout-session", checkout_body(price_id))
    assert (refused.status_code, refused.json()["detail"]) == (400, "This price is no longer sold.")
    rows.update(warning="The price is inactive at Stripe.")
    assert post(dana, "checkout-session", checkout_body(price_id)).status_code == 200, "Stripe sells it again"


def test_an_archived_free_plan_is_nobodys_plan(shop: Shop) -> None:
    plan = Plan.objects.create(project=shop.project, code="free", name="Free", free=True)
    assert Plan.objects.free_of(shop.project) == plan
    Plan.objects.for_project(shop.project).update(archived=True)
    assert Plan.objects.free_of(shop.project) is None
