"""Licence products in a declared file: what it may say of them, and making them so.

Invariant: what a table leaves out is kept; a product that the file does not name is taken off sale by pruning and never deleted,
since licences name it.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Model

from common.errors import FieldError
from common.modes import MODES
from common.money import money_text
from licenses.models import LicenseProduct, LicenseProductPrice
from projects.models import Project

SECTION = "license_products"
# A null cannot be written in TOML: 0 takes a product's keys away.
NO_KEYS = 0
FIELDS: Mapping[str, type] = {
    "name": str, "team_slug": str, "repository": str, "instructions": str, "activation_limit": int,
    "allow_promotion_codes": bool, "active": bool,
}  # fmt: skip
PRICE_FIELDS: Mapping[str, type] = {
    "amount_cents": int, "currency": str, "price_id": str, "lookup_key": str, "active": bool,
}  # fmt: skip
KIND_WORDS: Mapping[type, str] = {str: "Give a text.", int: "Give a whole number.", bool: "Give true or false."}

Wrong = Callable[[str, str], None]
Note = Callable[[str, str], None]


@dataclass(frozen=True)
class DeclaredProduct:
    """One product: the fields that the file gives, and its prices by mode, None when the file says nothing of them."""

    where: str
    code: str
    fields: Mapping[str, Any]
    prices: Mapping[str, Mapping[str, Any]] | None


def read_products(found: Any, where: str, wrong: Wrong) -> list[DeclaredProduct]:
    """Read a table of products, and say what is wrong with it."""
    if not isinstance(found, Mapping):
        wrong(where, "Give a table.")
        return []
    return [_product(code, table, f"{where}.{code}", wrong) for code, table in found.items()]


def apply_product(*, project: Project, declared: DeclaredProduct, note: Note) -> None:
    """Make a project's product so; `note` gets each difference. Raises: FieldError (422)."""
    row = LicenseProduct.objects.for_project(project).filter(code=declared.code).first()
    is_new = row is None
    row = row or LicenseProduct(project=project, code=declared.code, name=declared.code)
    # Naming a product sells it again, unless the file says otherwise.
    fields = {"active": True} | dict(declared.fields)
    told = _write(row, fields, is_new=is_new)
    if told is not None:
        note("+" if is_new else "~", f"licence {declared.code}" + (f": {told}" if told else ""))
    rows = {price.mode: price for price in LicenseProductPrice.objects.for_project(project).filter(product=row)}
    for mode, price in (declared.prices or {}).items():
        _apply_price(row, mode, rows.get(mode), price, note)


def drop_products(*, project: Project, declared: Sequence[DeclaredProduct], note: Note) -> None:
    """Take a project's products off sale but those that are declared."""
    named = {one.code for one in declared}
    for row in LicenseProduct.objects.for_project(project).filter(active=True).exclude(code__in=named):
        row.active = False
        row.save(update_fields=["active"])
        note("-", f"licence {row.code}: off sale")


def _apply_price(
    product: LicenseProduct, mode: str, row: LicenseProductPrice | None, price: Mapping[str, Any], note: Note
) -> None:
    is_new = row is None
    row = row or LicenseProductPrice(project_id=product.project_id, product=product, mode=mode)
    before = "" if is_new else f"{money_text(row.amount_cents, row.currency)} -> "
    for name in ("stripe_price_id", "lookup_key"):
        taken = LicenseProductPrice.objects.for_project(product.project_id).filter(mode=mode, **{name: price.get(name)})
        if price.get(name) and taken.exclude(pk=row.pk).exists():
            raise FieldError("body", "prices", msg=f"Another licence's price in {mode} mode has this {name}.")
    if _write(row, price, is_new=is_new) is not None:
        amount = money_text(row.amount_cents, row.currency)
        note("+" if is_new else "~", f"price {product.code} {mode}: {before}{amount}")


def _write(row: Model, fields: Mapping[str, Any], *, is_new: bool) -> str | None:
    """Save what differs, and say it in words; None when nothing does."""
    wanted = {name: _kept(name, value) for name, value in fields.items()}
    before = {name: getattr(row, name) for name in wanted}
    changed = {name: value for name, value in wanted.items() if before[name] != value}
    if not is_new and not changed:
        return None
    for name, value in changed.items():
        setattr(row, name, value)
    row.save()
    if is_new:
        return "; ".join(f"{name} {_shown(fields[name])}" for name in fields if name != "active")
    return "; ".join(f"{name} {_shown(before[name])} -> {_shown(fields[name])}" for name in changed)


def _product(code: str, table: Any, where: str, wrong: Wrong) -> DeclaredProduct:
    if not isinstance(table, Mapping):
        wrong(where, "Give a table.")
        return DeclaredProduct(where, code, {}, None)
    fields = _fields(table, where, wrong, FIELDS, ("prices",))
    checked = {name: _kept(name, value) for name, value in fields.items()}
    _check(LicenseProduct(code=code, **{"name": code} | checked), where, wrong, {"code": where})
    prices = _prices(table["prices"], f"{where}.prices", wrong) if "prices" in table else None
    return DeclaredProduct(where, code, fields, prices)


def _prices(found: Any, where: str, wrong: Wrong) -> dict[str, Mapping[str, Any]]:
    prices: dict[str, Mapping[str, Any]] = {}
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        wrong(where, "Give a list: [[….prices]] in TOML.")
        return prices
    for index, table in enumerate(found):
        at = f"{where}[{index}]"
        given = _fields(table, at, wrong, PRICE_FIELDS, ("mode",))
        mode = table.get("mode")
        if mode not in (None, *MODES):
            wrong(f"{at}.mode", f"Give one of: {', '.join(MODES)}; without it the price is for both.")
        if mode is None and "price_id" in given:
            wrong(f"{at}.mode", "Say which mode this price_id is of: test or live.")
        fields = {("stripe_price_id" if name == "price_id" else name): value for name, value in given.items()}
        fields = {"currency": "usd", "active": True} | fields
        currency = str(fields["currency"])
        if len(currency) != 3 or not (currency.isascii() and currency.isalpha() and currency.islower()):
            wrong(f"{at}.currency", "Give a currency of three small letters: usd.")
        if "amount_cents" not in fields:
            wrong(f"{at}.amount_cents", "Give what the licence costs, in the currency's minor unit.")
        _check(LicenseProductPrice(**fields), at, wrong, {"stripe_price_id": f"{at}.price_id"})
        for one in [mode] if mode in MODES else MODES:
            if one in prices:
                wrong(at, f"A price is declared for {one} already.")
            prices[one] = fields
    return prices


def _fields(
    table: Mapping[str, Any], where: str, wrong: Wrong, known: Mapping[str, type], others: tuple[str, ...]
) -> dict[str, Any]:
    """Return what is known of a table and of the right kind."""
    found: dict[str, Any] = {}
    for name, value in table.items():
        if name in others:
            continue
        if name not in known:
            close = difflib.get_close_matches(name, [*known, *others], n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join([*known, *others])}."
            wrong(f"{where}.{name}", f"Unknown; {hint}")
        elif not isinstance(value, known[name]) or (known[name] is int and isinstance(value, bool)):
            wrong(f"{where}.{name}", KIND_WORDS[known[name]])
        else:
            found[name] = value
    return found


def _check(row: Model, where: str, wrong: Wrong, places: Mapping[str, str]) -> None:
    """Have the model's own rules look at the fields."""
    given = {field.name for field in row._meta.concrete_fields if getattr(row, field.attname) is not None}
    outside = {field.name for field in row._meta.concrete_fields} - given | {"project", "product", "mode"}
    try:
        row.clean_fields(exclude=outside)
    except ValidationError as error:
        for name, messages in error.message_dict.items():
            wrong(places.get(name, f"{where}.{name}"), str(messages[0]))


def _kept(name: str, value: Any) -> Any:
    """Write a value as the database keeps it, without the reference to the environment that a text may carry."""
    if name == "activation_limit" and value == NO_KEYS:
        return None
    return str(value) if isinstance(value, str) else value


def _shown(value: Any) -> str:
    """Show a value, and of one from the environment its name only."""
    return f'"{getattr(value, "reference", value)}"' if isinstance(value, str) else str(value).lower()
