"""Reads what a file declares: projects, plans, prices, limits, credit packs, meters.

Everything that is wrong is said at once, by file, table and key.
Invariants: nothing is looked up or written here; a value that came from the environment is never shown, only the name it came
from; no message repeats a value, because people paste keys into the wrong line.
"""

import difflib
import json
import os
import re
import tomllib
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from common.errors import FieldError
from common.modes import MODES
from entitlements.services.declared_goods import DeclaredGoods, read_meters, read_packs
from entitlements.services.declared_sections import known_sections
from entitlements.services.plan_fields import (
    FLAGS,
    LIMIT_NAMES,
    LIMITS,
    PLANS_MAX,
    problem_of_code,
    problem_of_field,
    problem_of_price,
    problem_of_text,
)
from entitlements.services.quotas import checked_quota
from projects.services.projects import clean_slug

FILE_BYTES_MAX = 1024 * 1024
DEPTH_MAX = 20
NO_LIMIT = "unlimited"
PRESETS = Path(__file__).resolve().parent.parent / "presets"
URL_FIELDS = ("default_success_url", "default_cancel_url", "default_return_url")
PROJECT_FIELDS = ("name", "description", "allowed_origins", *URL_FIELDS, "is_active", "shared_webhook")
PROJECT_KEYS = (*PROJECT_FIELDS, "owner", "stripe", "plans", "packs", "meters")
PLAN_KEYS = ("name", "aliases", "rank", *FLAGS, "trial_days", "features", "limits", "quotas", "prices")
PRICE_KEYS = ("mode", "interval", "currency", "amount_cents", "price_id", "lookup_key", "active")
KEY_NAMES = ("secret_key", "publishable_key", "webhook_secret")
_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class DeclarationRefused(Exception):
    """The file cannot be applied; nothing was changed. `problems` names each place and its mend."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = list(problems)
        super().__init__("\n".join(self.problems))


class FromEnvironment(str):
    """A value that was taken from the environment: `reference` is what the file says and what is shown."""

    reference: str

    def __new__(cls, value: str, reference: str) -> "FromEnvironment":
        made = super().__new__(cls, value)
        made.reference = reference
        return made


@dataclass(frozen=True)
class DeclaredPrice:
    """One price in one mode. Without `price_id` and `lookup_key` it waits until `setup_stripe` makes it."""

    where: str
    mode: str
    interval: str
    currency: str
    amount_cents: int | None
    price_id: str
    lookup_key: str
    active: bool | None

    @property
    def key(self) -> tuple[str, str, str]:
        """A plan has one price of each."""
        return (self.mode, self.interval, self.currency)


@dataclass(frozen=True)
class DeclaredPlan:
    """One plan: the fields that the file gives, and its prices, None when the file says nothing of them."""

    where: str
    code: str
    fields: Mapping[str, Any]
    prices: list[DeclaredPrice] | None
    # By the meter's code; None when the file says nothing of them.
    quotas: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class DeclaredProject:
    """One project: the fields that the file gives, its plans (None when the file says nothing of them), its Stripe keys."""

    where: str
    slug: str
    fields: Mapping[str, Any]
    owner: str
    plans: list[DeclaredPlan] | None
    keys: Mapping[str, str]
    # None when the file says nothing of them.
    packs: list[DeclaredGoods] | None = None
    meters: list[DeclaredGoods] | None = None
    # What other apps read, by the section's name.
    sections: Mapping[str, Sequence[Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Declaration:
    """A whole file."""

    source: str
    projects: list[DeclaredProject]


def preset_names() -> list[str]:
    """Name the plan sets that come with this release."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def read_preset(name: str, *, slug: str) -> Declaration:
    """Return a plan set for one project. Raises: DeclarationRefused."""
    if name not in preset_names():
        raise DeclarationRefused([f"There is no preset {name}; there are {', '.join(preset_names())}."])
    return read_file(PRESETS / f"{name}.toml", slug=slug)


def read_file(path: Path, *, slug: str = "", environ: Mapping[str, str] | None = None) -> Declaration:
    """Read a .toml or .json file; `slug` picks one project, or says whose the plans are. Raises: DeclarationRefused."""
    return read_document(_parsed(path), source=path.name, slug=slug, environ=environ)


def read_document(
    document: Mapping[str, Any], *, source: str, slug: str = "", environ: Mapping[str, str] | None = None
) -> Declaration:
    """Read what a file says. Raises: DeclarationRefused with everything that is wrong."""
    reader = _Reader(os.environ if environ is None else environ)
    filled = reader.fill_in(document, "")
    projects = reader.projects(filled, slug)
    if reader.unset:
        names = ", ".join(sorted(reader.unset))
        wheres = "; ".join(f"{name} at {', '.join(reader.unset[name])}" for name in sorted(reader.unset))
        reader.problems.insert(0, f"Not set in the environment, or empty: {names} ({wheres}).")
    if reader.problems:
        raise DeclarationRefused(f"{source}: {problem}" for problem in reader.problems)
    return Declaration(source, projects)


def _parsed(path: Path) -> Mapping[str, Any]:
    name = path.name
    if path.suffix not in (".toml", ".json"):
        raise DeclarationRefused([f"{name}: Give a .toml or a .json file."])
    try:
        if path.stat().st_size > FILE_BYTES_MAX:
            raise DeclarationRefused([f"{name}: This file is larger than {FILE_BYTES_MAX:,} bytes."])
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DeclarationRefused([f"{name}: It cannot be read ({error.strerror})."]) from None
    except UnicodeDecodeError:
        raise DeclarationRefused([f"{name}: It is not UTF-8."]) from None
    try:
        found = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text, object_pairs_hook=_without_twins)
    except ValueError as error:
        raise DeclarationRefused([f"{name}: {_without_values(error)}"]) from None
    except RecursionError:
        raise DeclarationRefused([f"{name}: It is nested too deeply."]) from None
    if not isinstance(found, dict):
        raise DeclarationRefused([f"{name}: Give an object with projects."])
    return found


class _NamedTwice(ValueError):
    """A JSON object that has one name twice: which of the two counts would be a guess."""


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise _NamedTwice(f"The name {twice} stands twice in one object.")
    return dict(pairs)


def _without_values(error: ValueError) -> str:
    """Say where a file breaks off; parsers quote single characters and names at most."""
    return str(error)[:200]


@dataclass
class _Reader:
    """Walks a document and collects what is wrong with it."""

    environ: Mapping[str, str]
    problems: list[str] = field(default_factory=list)
    unset: dict[str, list[str]] = field(default_factory=dict)

    def fill_in(self, value: Any, where: str, depth: int = 0) -> Any:
        """Put the environment's values in place of `${NAME}`."""
        if depth > DEPTH_MAX:
            self._wrong(where, "This is nested too deeply.")
            return None
        if isinstance(value, dict):
            return {name: self.fill_in(inner, _join(where, name), depth + 1) for name, inner in value.items()}
        if isinstance(value, list):
            return [self.fill_in(inner, f"{where}[{index}]", depth + 1) for index, inner in enumerate(value)]
        if not isinstance(value, str) or "${" not in value:
            return value
        return FromEnvironment(_REFERENCE.sub(lambda found: self._look_up(found[1], where), value), value)

    def _look_up(self, name: str, where: str) -> str:
        if not _NAME.fullmatch(name):
            self._wrong(where, "A value from the environment is written ${NAME}.")
            return ""
        if not self.environ.get(name):
            self.unset.setdefault(name, []).append(where)
        return self.environ.get(name, "")

    def projects(self, document: Mapping[str, Any], slug: str) -> list[DeclaredProject]:
        """Read the projects, or the plans of the one that was named."""
        for name in known_sections():
            if name in document:
                self._wrong(name, f"Put these under [projects.SLUG.{name}].")
        self._only(document, "", ("projects", "plans"), besides=known_sections())
        if "plans" in document and "projects" in document:
            self._wrong("plans", "Put these plans under [projects.SLUG.plans], or take the projects out.")
            return []
        if "plans" in document:
            if not slug:
                self._wrong("plans", "Say whose plans these are with --project SLUG, or use [projects.SLUG.plans].")
                return []
            return [DeclaredProject("", slug, {}, "", self._plans(document["plans"], "plans"), {})]
        tables = self._table(document.get("projects", {}), "projects")
        if not tables:
            self._wrong("projects", "Declare at least one project: [projects.SLUG].")
        if slug and slug not in tables:
            self._wrong("projects", f"There is no project {slug} in this file.")
        return [self._project(name, table) for name, table in tables.items() if slug in ("", name)]

    def _project(self, slug: str, found: Any) -> DeclaredProject:
        where = f"projects.{slug}"
        try:
            clean_slug(slug)
        except ValueError as error:
            self._wrong(where, str(error))
        table = self._table(found, where)
        self._only(table, where, (*PROJECT_KEYS, *known_sections()))
        fields = {name: table[name] for name in PROJECT_FIELDS if name in table}
        for name, value in fields.items():
            self._check(f"{where}.{name}", _problem_of_project_field(name, value))
        owner = table.get("owner", "")
        if "owner" in table:
            self._check(f"{where}.owner", problem_of_text(owner, 254))
        plans = self._plans(table["plans"], f"{where}.plans") if "plans" in table else None
        keys = self._keys(table["stripe"], f"{where}.stripe") if "stripe" in table else {}
        packs = read_packs(_plain(table["packs"]), f"{where}.packs", self._wrong) if "packs" in table else None
        meters = read_meters(_plain(table["meters"]), f"{where}.meters", self._wrong) if "meters" in table else None
        sections = {
            name: section.read(_plain(table[name]), f"{where}.{name}", self._wrong)
            for name, section in known_sections().items()
            if name in table
        }
        return DeclaredProject(where, slug, _plain(fields), str(owner).lower(), plans, keys, packs, meters, sections)

    def _keys(self, found: Any, where: str) -> dict[str, str]:
        keys: dict[str, str] = {}
        table = self._table(found, where)
        self._only(table, where, MODES)
        for mode in MODES:
            of_mode = self._table(table.get(mode, {}), f"{where}.{mode}")
            self._only(of_mode, f"{where}.{mode}", KEY_NAMES)
            for name in KEY_NAMES:
                if name in of_mode:
                    self._check(f"{where}.{mode}.{name}", problem_of_text(of_mode[name], 255))
                    keys[f"{mode}_{name}"] = of_mode[name]
        return keys

    def _plans(self, found: Any, where: str) -> list[DeclaredPlan]:
        table = self._table(found, where)
        if len(table) > PLANS_MAX:
            self._wrong(where, f"A project has at most {PLANS_MAX} plans.")
        return [self._plan(code, plan, f"{where}.{code}") for code, plan in table.items()]

    def _plan(self, code: str, found: Any, where: str) -> DeclaredPlan:
        self._check(where, problem_of_code(code))
        table = self._table(found, where)
        self._only(table, where, PLAN_KEYS)
        fields = {
            name: table[name] for name in PLAN_KEYS if name in table and name not in ("limits", "prices", "quotas")
        }
        for name, value in fields.items():
            self._check(f"{where}.{name}", problem_of_field(name, value))
        limits = self._table(table.get("limits", {}), f"{where}.limits")
        self._only(limits, f"{where}.limits", LIMIT_NAMES)
        for name in LIMIT_NAMES:
            if name in limits:
                value = self._limit(name, limits[name], f"{where}.limits.{name}")
                fields[name] = value
        prices = self._prices(table["prices"], f"{where}.prices") if "prices" in table else None
        quotas = self._quotas(table["quotas"], f"{where}.quotas") if "quotas" in table else None
        return DeclaredPlan(where, code, _plain(fields), prices, quotas)

    def _quotas(self, found: Any, where: str) -> dict[str, Any]:
        table = self._table(found, where)
        for code, value in table.items():
            try:
                checked_quota(code, value)
            except FieldError as error:
                self._wrong(".".join([where, *map(str, error.errors[0]["loc"][1:])]), error.detail)
        return dict(_plain(table))

    def _limit(self, name: str, value: Any, where: str) -> Any:
        known = LIMITS.get(name)
        if known is not None and known.may_be_null and value == NO_LIMIT:
            return None
        problem = problem_of_field(name, value)
        if problem and known is not None and known.may_be_null:
            problem = problem.replace("null is no limit", f'"{NO_LIMIT}" is no limit')
        self._check(where, problem)
        return value

    def _prices(self, found: Any, where: str) -> list[DeclaredPrice]:
        if not isinstance(found, list):
            self._wrong(where, "Give a list: [[….prices]] in TOML.")
            return []
        prices = [price for index, one in enumerate(found) for price in self._price(one, f"{where}[{index}]")]
        seen: set[tuple[str, str, str]] = set()
        for price in prices:
            if price.key in seen:
                mode, interval, currency = price.key
                self._wrong(price.where, f"A price per {interval} in {currency} is declared for {mode} already.")
            seen.add(price.key)
        return prices

    def _price(self, found: Any, where: str) -> list[DeclaredPrice]:
        table = self._table(found, where)
        self._only(table, where, PRICE_KEYS)
        before = len(self.problems)
        values = {"interval": "month", "currency": "usd"} | dict(table)
        for name in PRICE_KEYS:
            if name in values and name != "mode":
                self._check(f"{where}.{name}", problem_of_price(name, values[name]))
        mode = values.get("mode")
        if mode is not None and mode not in MODES:
            self._wrong(f"{where}.mode", f"Give one of: {', '.join(MODES)}; without it the price is for both.")
        if "price_id" in values and mode is None:
            self._wrong(f"{where}.mode", "Say which mode this price_id is of: test or live.")
        if not values.get("amount_cents") and not values.get("price_id") and not values.get("lookup_key"):
            self._wrong(f"{where}.amount_cents", "Give an amount, or price_id or lookup_key to take it from Stripe.")
        if len(self.problems) > before:
            return []
        values = _plain(values)
        return [
            DeclaredPrice(
                where=where,
                mode=one,
                interval=values["interval"],
                currency=values["currency"],
                amount_cents=values.get("amount_cents"),
                price_id=values.get("price_id", ""),
                lookup_key=values.get("lookup_key", ""),
                active=values.get("active"),
            )
            for one in ([mode] if mode else MODES)
        ]

    def _table(self, found: Any, where: str) -> dict[str, Any]:
        if isinstance(found, dict):
            return found
        self._wrong(where, "Give a table.")
        return {}

    def _only(self, table: Mapping[str, Any], where: str, known: Iterable[str], besides: Container[str] = ()) -> None:
        known = list(known)
        for name in table:
            if name not in known and name not in besides:
                close = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(known)}."
                self._wrong(_join(where, name), f"Unknown; {hint}")

    def _check(self, where: str, problem: str | None) -> None:
        if problem:
            self._wrong(where, problem)

    def _wrong(self, where: str, problem: str) -> None:
        if not any(where in places for places in self.unset.values()):
            # Of a value that is not there, that it is not there is all that can be said.
            self.problems.append(f"{where}: {problem}")


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _problem_of_project_field(name: str, value: Any) -> str | None:
    if name in ("is_active", "shared_webhook"):
        return None if type(value) is bool else "Give true or false."
    if name == "allowed_origins":
        fits = isinstance(value, list) and not any(problem_of_text(origin, 300) for origin in value)
        return None if fits else 'Give a list of origins: ["https://app.example"].'
    if name == "description":
        fits = (
            isinstance(value, str)
            and len(value) <= 1000
            and not problem_of_text(" ".join(value.split()), 1000, least=0)
        )
        return None if fits else "Give a text of at most 1000 characters."
    return problem_of_text(value, 255 if name == "name" else 2048, least=1 if name == "name" else 0)


def _plain(value: Any) -> Any:
    """Copy tables and lists; texts keep where they came from."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list) else value
