"""Licence products in a declared file: shown first, written all or not at all, the same file twice changes nothing."""

from pathlib import Path

import pytest

from licenses.models import LicenseProduct, LicenseProductPrice
from projects.models import Project
from tests.entitlements.declaring import NOTHING, apply, refused, write_file
from tests.licenses.licensing import create_product

FILE = """
[projects.{slug}.license_products.kit]
name = "Kit"
repository = "acme/kit"
team_slug = "buyers"
activation_limit = 3
instructions = "Run make."
[[projects.{slug}.license_products.kit.prices]]
amount_cents = 4900
[projects.{slug}.license_products.book]
[[projects.{slug}.license_products.book.prices]]
mode = "live"
amount_cents = 1900
currency = "eur"
price_id = "${{BOOK_PRICE}}"
"""


def rows(project: Project) -> list[tuple[str, str, int, str, str]]:
    found = LicenseProductPrice.objects.for_project(project).order_by("product__code", "mode")
    return [(one.product.code, one.mode, one.amount_cents, one.currency, one.stripe_price_id) for one in found]


def test_products_become_what_the_file_says(acme: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOK_PRICE", "price_book")
    file = write_file(tmp_path, FILE.format(slug=acme.slug))
    tried = apply(file, dry_run=True)
    assert "+ licence kit" in tried and not LicenseProduct.objects.for_project(acme).exists()
    said = apply(file)
    assert "+ price kit test: 49.00 USD" in said and "price_book" not in said
    assert rows(acme) == [
        ("book", "live", 1900, "eur", "price_book"), ("kit", "live", 4900, "usd", ""), ("kit", "test", 4900, "usd", ""),
    ]  # fmt: skip
    kit = LicenseProduct.objects.for_project(acme).get(code="kit")
    assert (kit.name, kit.team_slug, kit.activation_limit, kit.repository) == ("Kit", "buyers", 3, "acme/kit")
    assert NOTHING in apply(file)
    changed = write_file(
        tmp_path,
        f'[projects.{acme.slug}.license_products.kit]\nname = "Kit 2"\nactivation_limit = 0\n'
        f'[[projects.{acme.slug}.license_products.kit.prices]]\namount_cents = 5900\nmode = "live"\n',
    )
    said = apply(changed)
    assert '~ licence kit: name "Kit" -> "Kit 2"; activation_limit 3 -> 0' in said
    assert "~ price kit live: 49.00 USD -> 59.00 USD" in said
    assert LicenseProduct.objects.for_project(acme).get(code="kit").activation_limit is None
    assert LicenseProduct.objects.for_project(acme).filter(active=True).count() == 2
    assert "- licence book: off sale" in apply(changed, prune=True)
    assert LicenseProduct.objects.for_project(acme).count() == 2 and NOTHING in apply(changed, prune=True)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("kit = 5", "license_products.kit: Give a table."),
        ('kit = {nmae = "Kit"}', "license_products.kit.nmae: Unknown; did you mean name?"),
        ("kit = {name = 5}", "license_products.kit.name: Give a text."),
        ('kit = {active = "yes"}', "license_products.kit.active: Give true or false."),
        ("kit = {activation_limit = -1}", "license_products.kit.activation_limit:"),
        ("kit = {activation_limit = true}", "license_products.kit.activation_limit: Give a whole number."),
        ('"no slug" = {}', "license_products.no slug:"),
        ("kit = {prices = 5}", "license_products.kit.prices: Give a list"),
        ("kit = {prices = [{}]}", "license_products.kit.prices[0].amount_cents: Give what"),
        ("kit = {prices = [{amount_cents = 0}]}", "license_products.kit.prices[0].amount_cents:"),
        ('kit = {prices = [{amount_cents = 5, price_id = "price_1"}]}', "prices[0].mode: Say which mode"),
        ('kit = {prices = [{amount_cents = 5, mode = "both"}]}', "prices[0].mode: Give one of"),
        ('kit = {prices = [{amount_cents = 5, currency = "USD"}]}', "prices[0].currency: Give a currency"),
        ("kit = {prices = [{amount_cents = 5}, {amount_cents = 6}]}", "prices[1]: A price is declared"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_written(acme: Project, tmp_path: Path, text: str, problem: str) -> None:
    file = write_file(tmp_path, f"[projects.{acme.slug}.license_products]\ngood = {{}}\n{text}\n")
    assert problem in refused(file)
    assert not LicenseProduct.objects.for_project(acme).exists()


def test_two_products_cannot_share_a_stripe_price(acme: Project, tmp_path: Path) -> None:
    create_product(acme, "other", stripe_price_id="price_1")
    price = '[{amount_cents = 5, mode = "test", price_id = "price_1"}]'
    file = write_file(tmp_path, f"[projects.{acme.slug}.license_products]\nkit = {{prices = {price}}}\n")
    assert "Another licence's price in test mode" in refused(file)
    assert LicenseProduct.objects.for_project(acme).count() == 1
