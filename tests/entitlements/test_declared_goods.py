"""Credit packs and meters in a declared file."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from entitlements.models import CreditPack, CreditPackPrice, Meter
from projects.models import Project
from tests.entitlements.declaring import NOTHING, apply, refused, write_file

FILE = """
[projects.{slug}.packs.small]
name = "Small"
credits = 100
[[projects.{slug}.packs.small.prices]]
amount_cents = 500
[projects.{slug}.packs.large]
credits = 1000
allow_promotion_codes = true
[[projects.{slug}.packs.large.prices]]
mode = "test"
amount_cents = 4000
currency = "eur"
price_id = "${{LARGE_PRICE}}"
[projects.{slug}.meters.searches]
unit_amount = "1.25"
[projects.{slug}.meters.renders]
name = "Renders"
unit = "render"
unit_amount = 3
[projects.{slug}.plans.pro.quotas]
renders = 10
"""


def kept(project: Project) -> list[Any]:
    models = (CreditPack, CreditPackPrice, Meter)
    return [sorted(model._default_manager.filter(project=project).values_list(), key=str) for model in models]


@pytest.fixture
def file(acme: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with two packs and two meters, one of them a usual one."""
    monkeypatch.setenv("LARGE_PRICE", f"price_{acme.slug}")
    return write_file(tmp_path, FILE.format(slug=acme.slug))


def test_a_file_makes_packs_and_meters_and_again_changes_nothing(acme: Project, file: Path) -> None:
    said = apply(file, "--dry-run")
    assert kept(acme) == [[], [], []]
    assert apply(file).splitlines()[:-1] == said.splitlines()[:-1]
    for line in (
        "+ pack small: name Small; credits 100",
        "+ price small live: 5.00 USD",
        "+ price small test: 5.00 USD",
        "+ pack large: credits 1000; allow_promotion_codes yes",
        "+ price large test: 40.00 EUR",
        "+ meter searches: unit_amount 1.25",
        "+ meter renders: name Renders; unit render; unit_amount 3",
    ):
        assert line in said, said
    prices = CreditPackPrice.objects.for_project(acme).order_by("pack__credits", "mode")
    assert list(prices.values_list("pack__code", "mode", "amount_cents", "currency", "stripe_price_id")) == [
        ("small", "live", 500, "usd", ""),
        ("small", "test", 500, "usd", ""),
        ("large", "test", 4000, "eur", f"price_{acme.slug}"),
    ]
    searches, renders = (Meter.objects.for_project(acme).get(code=code) for code in ("searches", "renders"))
    assert (searches.name, searches.unit_amount, renders.unit_amount) == ("Searches", Decimal("1.25"), Decimal(3))
    assert apply(file) == f"{NOTHING}\n"
    # What comes from the environment is shown by its name only.
    assert f"price_{acme.slug}" not in said


def test_what_differs_is_changed_and_pruning_takes_packs_off_sale(acme: Project, file: Path, tmp_path: Path) -> None:
    apply(file)
    text = f"""
        [projects.{acme.slug}.packs.small]
        credits = 120
        [[projects.{acme.slug}.packs.small.prices]]
        mode = "live"
        amount_cents = 600
        [projects.{acme.slug}.meters.renders]
        active = false
    """
    other = write_file(tmp_path, text, "other.toml")
    said = apply(other)
    assert "~ pack small: credits 100 -> 120" in said and "~ price small live: 5.00 USD -> 6.00 USD" in said
    assert "~ meter renders: active yes -> no" in said
    assert "- pack large: off sale" in apply(other, "--prune")
    assert apply(other, "--prune") == f"{NOTHING}\n"
    assert dict(CreditPack.objects.for_project(acme).values_list("code", "active")) == {"small": True, "large": False}
    assert "~ pack large: active no -> yes" in apply(file)


def test_what_is_wrong_is_said_by_its_place_and_nothing_is_changed(acme: Project, file: Path, tmp_path: Path) -> None:
    apply(file)
    before = kept(acme)
    text = f"""
        [projects.{acme.slug}.packs.small]
        credits = 0
        pices = []
        [[projects.{acme.slug}.packs.small.prices]]
        price_id = "price_x"
        [[projects.{acme.slug}.packs.small.prices]]
        mode = "live"
        amount_cents = 1.5
        [projects.{acme.slug}.meters.renders]
        unit_amount = 0.5
        currency = "US"
    """
    said = refused(write_file(tmp_path, text, "bad.toml"))
    packs, meters = (f"bad.toml: projects.{acme.slug}.{what}" for what in ("packs", "meters"))
    for problem in (
        f"{packs}.small.credits: Give a whole number from 1",
        f"{packs}.small.pices: Unknown; did you mean prices?",
        f"{packs}.small.prices[0].amount_cents: Give what one pack costs",
        f"{packs}.small.prices[0].mode: Say which mode",
        f"{packs}.small.prices[1].amount_cents: Give a whole number",
        f"{packs}.small.prices[1]: A price is declared for live already.",
        f"{meters}.renders.unit_amount: Give a number from 0",
        f"{meters}.renders.currency: Give three",
    ):
        assert problem in said, said
    text = f"""
        [projects.{acme.slug}.packs.new]
        name = "New"
        [projects.{acme.slug}.packs.small]
        [[projects.{acme.slug}.packs.small.prices]]
        mode = "test"
        amount_cents = 1
        price_id = "price_{acme.slug}"
    """
    said = refused(write_file(tmp_path, text, "bad.toml"))
    assert f"{packs}.new.credits: Say how many credits" in said
    assert f"{packs}.small.prices: Another pack's price in test mode has this stripe_price_id." in said
    assert kept(acme) == before
