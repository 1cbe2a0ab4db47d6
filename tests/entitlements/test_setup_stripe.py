"""manage.py setup_stripe: what the plans declare is made in the Stripe account, once, and test is copied to live."""

from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError

from entitlements.models import Plan, PlanPrice
from moderation.models import ReviewItem
from payments.models import Subscription
from projects.models import Project
from tests.cast import AppUser
from tests.entitlements.declaring import NOTHING, apply, kept, price_rows, set_up, write_file
from tests.payments.deliveries import deliver, events_of, set_webhook_secret
from tests.payments.shop import Shop, at_once, buy, open_checkout

PRO = '[plans.pro]\nname = "Pro"\n[plans.pro.limits]\ncredits_per_day = 30\n[[plans.pro.prices]]\namount_cents = 1000\n'


def at_stripe(shop: Shop, *, live: bool = False) -> list[tuple[Any, ...]]:
    """Return the account's prices, oldest first: key, amount, interval, active."""
    return [
        (price["lookup_key"], price["unit_amount"], price["recurring"]["interval"], price["active"])
        for price in reversed(shop.objects("prices", live=live))
    ]


def declare(shop: Shop, directory: Path, text: str = PRO) -> None:
    apply(write_file(directory, text), project=shop.project.slug)


# Works


def test_missing_products_and_prices_are_made_and_their_ids_kept(shop: Shop, dana: AppUser) -> None:
    slug = shop.project.slug
    apply("--preset", "credits", project=slug)
    shown = set_up(shop.project)
    assert "+ product Maker" in shown and f"+ price maker month: 12.99 USD as {slug}:maker:month" in shown
    assert sorted(at_stripe(shop)) == sorted(
        (f"{slug}:{code}:{interval}", amount, interval, True)
        for code, month, year in (("maker", 1299, 11691), ("pro", 2499, 22491), ("unlimited", 3999, 35991))
        for interval, amount in (("month", month), ("year", year))
    )
    products = {product["name"]: product for product in shop.objects("products")}
    assert set(products) == {"Maker", "Pro", "Agency"}
    assert products["Maker"]["description"] == "30 credits a day, files up to 50 MB"
    assert products["Maker"]["metadata"] == {"project_id": str(shop.project.pk), "plan": "maker"}
    ids = {price["lookup_key"]: price["id"] for price in shop.objects("prices")}
    rows = price_rows(shop.project)
    assert {key: price_id for _, _, _, price_id, key, _ in rows} == ids and len(rows) == 6
    assert {row[3] for row in price_rows(shop.project, "live")} == {""}
    assert open_checkout(dana, None, plan="agency", interval="year")["checkout_url"]


def test_twice_changes_nothing(shop: Shop, tmp_path: Path) -> None:
    declare(shop, tmp_path)
    set_up(shop.project)
    before, posts = kept(shop.project), len(shop.requests("/v1/prices"))
    shown = set_up(shop.project)
    assert shown.endswith(f"{NOTHING}\n") and "+" not in shown and "~" not in shown
    assert kept(shop.project) == before
    assert len(at_stripe(shop)) == len(shop.objects("products")) == 1
    assert [request["method"] for request in shop.requests("/v1/prices")[: -posts or None]] == ["GET"] * (
        len(shop.requests("/v1/prices")) - posts
    )


def test_a_dry_run_reads_only(shop: Shop, tmp_path: Path) -> None:
    declare(shop, tmp_path)
    before = kept(shop.project)
    shown = set_up(shop.project, "--dry-run")
    assert "+ product Pro" in shown and "+ price pro month: 10.00 USD" in shown and "nothing was written" in shown
    assert kept(shop.project) == before
    assert shop.objects("prices") == shop.objects("products") == []


def test_what_is_in_the_account_already_is_found_by_its_key(shop: Shop, tmp_path: Path) -> None:
    declare(shop, tmp_path)
    price = shop.price(1000)
    shop.api("POST", f"prices/{price}", lookup_key=f"{shop.project.slug}:pro:month")
    assert f"~ price pro month: 10.00 USD: {price} at Stripe" in set_up(shop.project)
    assert price_rows(shop.project) == [("pro", "month", 1000, price, f"{shop.project.slug}:pro:month", True)]
    assert len(at_stripe(shop)) == 1


def test_another_amount_makes_another_price_and_whoever_pays_the_old_one_keeps_the_plan(
    shop: Shop, dana: AppUser, erin: AppUser, tmp_path: Path
) -> None:
    declare(shop, tmp_path)
    set_up(shop.project)
    old = price_rows(shop.project)[0][3]
    buy(shop, dana, None, plan="pro")
    declare(shop, tmp_path, PRO.replace("1000", "1500"))
    assert open_checkout(erin, None, plan="pro"), "until the new price is made the old one is sold"
    key = f"{shop.project.slug}:pro:month"
    assert f"+ price pro month: 15.00 USD as {key}, in place of {old}" in set_up(shop.project)
    assert at_stripe(shop) == [(None, 1000, "month", True), (key, 1500, "month", True)]
    new = price_rows(shop.project)[1][3]
    assert price_rows(shop.project) == [
        ("pro", "month", 1000, old, "", False),
        ("pro", "month", 1500, new, key, True),
    ]
    assert set_up(shop.project).endswith(f"{NOTHING}\n")
    set_webhook_secret(shop.project)
    deliver(shop, events_of(shop))
    row = Subscription.objects.for_project(shop.project).get(end_user=dana.end_user)
    assert (row.plan and row.plan.code, row.stripe_price_id) == ("pro", old)
    bought = buy(shop, erin, None, plan="pro")
    assert bought["subscription"]["price_id"] == new
    assert len(shop.objects("products")) == 1


def test_the_old_price_is_made_inactive_at_stripe_only_when_asked(shop: Shop, tmp_path: Path) -> None:
    declare(shop, tmp_path)
    set_up(shop.project)
    declare(shop, tmp_path, PRO.replace("1000", "1500"))
    assert ": inactive at Stripe" in set_up(shop.project, "--deactivate-old")
    assert [price[3] for price in at_stripe(shop)] == [False, True]
    set_webhook_secret(shop.project)
    deliver(shop, events_of(shop))
    assert [row[5] for row in price_rows(shop.project)] == [False, True]
    assert not ReviewItem.objects.for_project(shop.project).exists(), "what was done on purpose is no drift"


def test_promoting_shows_the_differences_and_copies_test_to_live(shop: Shop, tmp_path: Path) -> None:
    text = PRO.replace("amount", 'mode = "test"\namount')
    declare(shop, tmp_path, text)
    set_up(shop.project)
    with pytest.raises(CommandError, match="--mode live"):
        set_up(shop.project, "--promote")
    before = kept(shop.project)
    for arguments in (("--promote", "--dry-run"), ("--promote",)):
        assert kept(shop.project) == before and shop.objects("prices", live=True) == []
        shown = set_up(shop.project, *arguments, mode="live")
        assert "+ live price pro month: 10.00 USD" in shown and "+ product Pro" in shown
    key = f"{shop.project.slug}:pro:month"
    assert at_stripe(shop, live=True) == [(key, 1000, "month", True)]
    declare(shop, tmp_path, text.replace("1000", "1200"))
    set_up(shop.project)
    shown = set_up(shop.project, "--promote", mode="live")
    assert "~ live price pro month: 12.00 USD, was 10.00 USD" in shown
    assert at_stripe(shop, live=True) == at_stripe(shop) == [(None, 1000, "month", True), (key, 1200, "month", True)]
    assert set_up(shop.project, "--promote", mode="live").endswith(f"{NOTHING}\n")


# Refuses


def test_without_a_key_it_says_where_one_is_put(acme: Project) -> None:
    for mode in ("test", "live"):
        with pytest.raises(CommandError) as refused:
            set_up(acme, mode=mode)
        assert refused.value.returncode == 1
        assert str(refused.value) == (
            f"{acme.slug} has no Stripe key for {mode} mode: PUT /api/v1/stripe/projects/{acme.pk}/config, "
            "or the admin under Stripe → Configurations."
        )


def test_with_trouble_at_stripe_nothing_is_lost(shop: Shop, tmp_path: Path, short_patience: None) -> None:
    declare(shop, tmp_path)
    before = kept(shop.project)
    shop.fault("POST /v1/prices", "status:500", times=9)
    with pytest.raises(CommandError, match="kept") as refused:
        set_up(shop.project)
    assert refused.value.returncode == 2 and kept(shop.project) == before
    shop.clear_faults()
    # What was made so far is found again, also when it would be made otherwise today.
    declare(shop, tmp_path, PRO.replace('"Pro"', '"Professional"'))
    set_up(shop.project)
    assert len(shop.objects("products")) == len(shop.objects("prices")) == 1


def test_what_a_person_must_mend_is_said(shop: Shop, tmp_path: Path) -> None:
    declare(shop, tmp_path)
    set_up(shop.project)
    price = price_rows(shop.project)[0][3]
    shop.api("POST", f"prices/{price}", active="false")
    Plan.objects.create(project=shop.project, code="bare", name="Bare")
    with pytest.raises(CommandError, match=f"{price} is inactive at Stripe; activate it there") as told:
        set_up(shop.project)
    assert told.value.returncode == 1
    PlanPrice.objects.for_project(shop.project).update(active=False)
    assert "! plan bare: no price is declared for test" in set_up(shop.project)


# Edge


def test_an_amount_that_was_never_entered_is_stripes_and_one_that_differs_is_another_price(shop: Shop) -> None:
    plan = Plan.objects.create(project=shop.project, code="pro", name="Pro")
    for amount, price in ((0, shop.price(700)), (900, shop.price(800, interval="year"))):
        interval = "year" if amount else "month"
        PlanPrice.objects.create(
            project=shop.project, plan=plan, mode="test", interval=interval, amount_cents=amount, stripe_price_id=price
        )
    set_up(shop.project)
    assert [(row[1], row[2], row[5]) for row in price_rows(shop.project)] == [
        ("month", 700, True),
        ("year", 800, False),
        ("year", 900, True),
    ]
    assert set_up(shop.project).endswith(f"{NOTHING}\n")


def test_a_price_that_the_account_does_not_have_is_made_anew(shop: Shop, tmp_path: Path) -> None:
    declare(shop, tmp_path)
    PlanPrice.objects.for_project(shop.project).filter(mode="test").update(stripe_price_id=f"price_{shop.project.slug}")
    assert f"Stripe has no price price_{shop.project.slug}" in set_up(shop.project)
    assert price_rows(shop.project)[0][3] == shop.objects("prices")[0]["id"]


# Race and replay


def test_two_at_once_make_one_of_each(shop: Shop, tmp_path: Path) -> None:
    declare(shop, tmp_path)
    at_once(3, lambda _: set_up(shop.project))
    assert len(shop.objects("products")) == len(shop.objects("prices")) == 1
    assert price_rows(shop.project)[0][3] == shop.objects("prices")[0]["id"]


def test_an_answer_that_was_lost_is_found_again(shop: Shop, tmp_path: Path) -> None:
    declare(shop, tmp_path)
    set_up(shop.project)
    made = price_rows(shop.project)[0][3]
    PlanPrice.objects.for_project(shop.project).filter(mode="test").update(stripe_price_id="", lookup_key="")
    set_up(shop.project)
    assert price_rows(shop.project)[0][3] == made and len(shop.objects("products")) == 1
