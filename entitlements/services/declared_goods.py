"""Credit packs and meters in a declared file: what it may say of them, and making them so.

Invariant: what a table leaves out is kept. A pack that the file does not name is taken off sale by pruning and never deleted, since
purchases name it; a meter is never taken away, since what was used names it.
"""

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from common.errors import FieldError
from common.modes import MODES
from common.money import money_text
from entitlements.models import CreditPack, CreditPackPrice, Meter
from entitlements.models.packs import PACK_CREDITS_MAX
from entitlements.services.meters import DEFAULT_METERS, find_meters
from entitlements.services.plan_fields import problem_of_code, problem_of_number, problem_of_price, problem_of_text
from entitlements.services.quotas import exact_rate, plain
from projects.models import Project

PACK_FLAGS = ("allow_promotion_codes", "active", "internal")
PACK_FIELDS = ("name", "credits", *PACK_FLAGS)
PACK_PRICE_FIELDS = ("mode", "amount_cents", "currency", "price_id", "lookup_key", "active")
METER_FIELDS = ("name", "unit", "unit_amount", "currency", "stripe_event_name", "active")
METER_CHARS_MAX = {"name": 255, "unit": 32, "stripe_event_name": 100}

Wrong = Callable[[str, str], None]
Note = Callable[[str, str], None]


@dataclass(frozen=True)
class DeclaredGoods:
    """One pack or meter: the fields that the file gives; of a pack also its prices by mode."""

    where: str
    code: str
    fields: Mapping[str, Any]
    prices: Mapping[str, Mapping[str, Any]] | None = None


def read_packs(found: Any, where: str, wrong: Wrong) -> list[DeclaredGoods]:
    """Read a table of packs, and say what is wrong with it."""
    return [_pack(code, table, at, wrong) for code, table, at in _tables(found, where, wrong, (*PACK_FIELDS, "prices"))]


def read_meters(found: Any, where: str, wrong: Wrong) -> list[DeclaredGoods]:
    """Read a table of meters, and say what is wrong with it."""
    return [_meter(code, table, at, wrong) for code, table, at in _tables(found, where, wrong, METER_FIELDS)]


def apply_pack(*, project: Project, declared: DeclaredGoods, note: Note) -> None:
    """Make a project's pack so; `note` gets each difference. Raises: FieldError (422)."""
    pack = CreditPack.objects.for_project(project).filter(code=declared.code).first()
    is_new = pack is None
    if pack is None:
        if "credits" not in declared.fields:
            raise FieldError("body", "credits", msg="Say how many credits a new pack gives.", type="missing")
        pack = CreditPack(project=project, code=declared.code, name=declared.code)
    # Naming a pack sells it again, unless the file says otherwise.
    _write("pack", pack, {"active": True} | dict(declared.fields), declared, note, is_new=is_new)
    rows = {row.mode: row for row in CreditPackPrice.objects.for_project(project).filter(pack=pack)}
    for mode, price in (declared.prices or {}).items():
        _apply_price(pack, mode, rows.get(mode), price, note)


def drop_packs(*, project: Project, but: Collection[str], note: Note) -> None:
    """Take a project's packs off sale but those of these codes."""
    for pack in CreditPack.objects.for_project(project).filter(active=True).exclude(code__in=but):
        pack.active = False
        pack.save(update_fields=["active"])
        note("-", f"pack {pack.code}: off sale")


def apply_meter(*, project: Project, declared: DeclaredGoods, note: Note) -> None:
    """Make a project's meter so; `note` gets each difference. A usual one begins with its own name and rate."""
    code = declared.code
    row = Meter.objects.for_project(project).filter(code=code).first()
    is_new = row is None
    if row is None and code in DEFAULT_METERS:
        row = find_meters(project_id=project.pk, codes=[code])[code]
    _write("meter", row or Meter(project=project, code=code, name=code), declared.fields, declared, note, is_new=is_new)


def _write(
    what: str,
    row: CreditPack | Meter,
    fields: Mapping[str, Any],
    declared: DeclaredGoods,
    note: Note,
    *,
    is_new: bool,
) -> None:
    before = {name: getattr(row, name) for name in fields}
    changed = {name: value for name, value in fields.items() if before[name] != value}
    if not is_new and not changed:
        return
    for name, value in changed.items():
        setattr(row, name, _bare(value))
    row.save()
    told = [f"{name} {_told(value)}" for name, value in declared.fields.items()]
    if not is_new:
        told = [f"{name} {_told(before[name])} -> {_told(value)}" for name, value in changed.items()]
    note("+" if is_new else "~", f"{what} {declared.code}" + (f": {'; '.join(told)}" if told else ""))


def _apply_price(
    pack: CreditPack, mode: str, row: CreditPackPrice | None, price: Mapping[str, Any], note: Note
) -> None:
    is_new = row is None
    row = row or CreditPackPrice(project_id=pack.project_id, pack=pack, mode=mode)
    fields = {("stripe_price_id" if name == "price_id" else name): value for name, value in price.items()}
    if not is_new and all(getattr(row, name) == value for name, value in fields.items()):
        return
    for name in ("stripe_price_id", "lookup_key"):
        taken = CreditPackPrice.objects.for_project(pack.project_id).filter(mode=mode, **{name: fields.get(name)})
        if fields.get(name) and taken.exclude(pk=row.pk).exists():
            raise FieldError("body", "prices", msg=f"Another pack's price in {mode} mode has this {name}.")
    before = "" if is_new else f"{money_text(row.amount_cents, row.currency)} -> "
    for name, value in fields.items():
        setattr(row, name, _bare(value))
    row.save()
    note("+" if is_new else "~", f"price {pack.code} {mode}: {before}{money_text(row.amount_cents, row.currency)}")


def _tables(
    found: Any, where: str, wrong: Wrong, known: tuple[str, ...]
) -> Iterable[tuple[str, Mapping[str, Any], str]]:
    if not isinstance(found, Mapping):
        wrong(where, "Give a table.")
        return
    for code, table in found.items():
        at = f"{where}.{code}"
        if problem := problem_of_code(code):
            wrong(at, problem)
        if not isinstance(table, Mapping):
            wrong(at, "Give a table.")
            continue
        _only(table, at, known, wrong)
        yield code, table, at


def _only(table: Mapping[str, Any], where: str, known: tuple[str, ...], wrong: Wrong) -> None:
    for name in table:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}."
            wrong(f"{where}.{name}", f"Unknown; {hint}")


def _pack(code: str, table: Mapping[str, Any], where: str, wrong: Wrong) -> DeclaredGoods:
    fields = {name: table[name] for name in PACK_FIELDS if name in table}
    for name, value in fields.items():
        if name in PACK_FLAGS:
            problem = None if type(value) is bool else "Give true or false."
        elif name == "credits":
            problem = problem_of_number(value, 1, PACK_CREDITS_MAX)
        else:
            problem = problem_of_text(value, 255)
        if problem:
            wrong(f"{where}.{name}", problem)
    prices = _pack_prices(table["prices"], f"{where}.prices", wrong) if "prices" in table else None
    return DeclaredGoods(where, code, fields, prices)


def _pack_prices(found: Any, where: str, wrong: Wrong) -> dict[str, Mapping[str, Any]]:
    prices: dict[str, Mapping[str, Any]] = {}
    if not isinstance(found, list) or not all(isinstance(one, Mapping) for one in found):
        wrong(where, "Give a list: [[….prices]] in TOML.")
        return prices
    for index, table in enumerate(found):
        at = f"{where}[{index}]"
        _only(table, at, PACK_PRICE_FIELDS, wrong)
        fields = {name: table[name] for name in PACK_PRICE_FIELDS if name in table and name != "mode"}
        if not fields.get("amount_cents"):
            wrong(f"{at}.amount_cents", "Give what one pack costs, in the currency's minor unit.")
        for name, value in fields.items():
            if problem := problem_of_price(name, value):
                wrong(f"{at}.{name}", problem)
        mode = table.get("mode")
        if mode not in (None, *MODES):
            wrong(f"{at}.mode", f"Give one of: {', '.join(MODES)}; without it the price is for both.")
        if mode is None and "price_id" in fields:
            wrong(f"{at}.mode", "Say which mode this price_id is of: test or live.")
        for one in [mode] if mode else MODES:
            if one in prices:
                wrong(at, f"A price is declared for {one} already.")
            prices[str(one)] = {"currency": "usd", "active": True} | fields
    return prices


def _meter(code: str, table: Mapping[str, Any], where: str, wrong: Wrong) -> DeclaredGoods:
    fields: dict[str, Any] = {name: table[name] for name in METER_FIELDS if name in table}
    for name, value in fields.items():
        problem: str | None = None
        if name == "active":
            problem = None if type(value) is bool else "Give true or false."
        elif name == "currency":
            problem = problem_of_price(name, value)
        elif name == "unit_amount":
            try:
                fields[name] = exact_rate(value, "body", name)
            except FieldError as error:
                problem = error.detail
        else:
            problem = problem_of_text(value, METER_CHARS_MAX[name], least=1 if name == "name" else 0)
        if problem:
            wrong(f"{where}.{name}", problem)
    return DeclaredGoods(where, code, fields)


def _told(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if hasattr(value, "reference"):
        return str(value.reference)
    return str(value) if isinstance(value, str | int) else plain(value)


def _bare(value: Any) -> Any:
    """Forget where a text came from."""
    return str(value) if isinstance(value, str) else value
