"""Brings projects, plans and prices to what a file declares, in one transaction, and says line by line what differs.

Invariants: all of a declaration or nothing; what the file leaves out is kept, and only pruning takes anything away; applying
the same file again changes nothing; a price that is sold keeps its amount, because Stripe's does: another amount is another price.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.db import connection, transaction

from accounts.models import User
from common.errors import Conflict, FieldError
from common.locks import APPLY_DECLARATION
from common.logs import redact
from common.money import money_text
from entitlements.models import Plan, PlanPrice
from entitlements.services.declared import (
    Declaration,
    DeclarationRefused,
    DeclaredPlan,
    DeclaredPrice,
    DeclaredProject,
    FromEnvironment,
)
from entitlements.services.declared_goods import apply_meter, apply_pack, drop_packs
from entitlements.services.declared_sections import known_sections
from entitlements.services.plan_fields import LIMIT_NAMES
from entitlements.services.plans import (
    check_fixed_at_stripe,
    drop_plan,
    drop_price,
    is_referred_to,
    lock_plans,
    write_plan,
    write_price,
)
from entitlements.services.quotas import quota_in_words, read_quotas, set_quotas
from projects.models import Project
from projects.origins import normalize_origin
from projects.services.projects import create_project, update_project

ADDED, CHANGED, REMOVED = "+", "~", "-"
OPTIONAL_TEXTS = ("description", "default_success_url", "default_cancel_url", "default_return_url")


@dataclass(frozen=True)
class Change:
    """One line of the difference."""

    slug: str
    mark: str
    text: str

    def __str__(self) -> str:
        return f"{self.mark} {redact(self.text)}"


def apply_declaration(
    *, declaration: Declaration, tell: Callable[[list[Change]], None], dry_run: bool = False, prune: bool = False
) -> list[Change]:
    """Make what is declared so, and return what differed; `tell` gets the same before it is committed.

    With `dry_run` everything is tried and taken back. Raises: DeclarationRefused with what is wrong in each project and plan, and
    nothing was changed.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            # Two that make the same project at once would both find it missing.
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [APPLY_DECLARATION])
        changes: list[Change] = []
        problems: list[str] = []
        for declared in sorted(declaration.projects, key=lambda project: project.slug):
            try:
                with transaction.atomic():
                    changes += _Applying(declaration.source, declared, prune=prune).run()
            except DeclarationRefused as refused:
                problems += refused.problems
        if problems:
            raise DeclarationRefused(problems)
        tell(changes)
        if dry_run:
            transaction.set_rollback(True)
    return changes


class _Applying:
    """One project's part."""

    def __init__(self, source: str, declared: DeclaredProject, *, prune: bool) -> None:
        self._source = source
        self._declared = declared
        self._prune = prune
        self._changes: list[Change] = []

    def run(self) -> list[Change]:
        """Write the project, then its plans. Raises: DeclarationRefused."""
        project = lock_plans(self._project())
        problems: list[str] = []
        # Meters first: plans have quotas of them.
        for one in self._declared.meters or []:
            problems += self._part(one.where, partial(apply_meter, project=project, declared=one, note=self._note))
        if self._declared.plans is not None:
            known = {plan.code: plan for plan in Plan.objects.for_project(project)}
            if self._prune:
                named = {plan.code for plan in self._declared.plans}
                self._drop_plans(plan for code, plan in known.items() if code not in named)
            for plan in sorted(self._declared.plans, key=lambda plan: _takes_names(plan, known)):
                problems += self._part(plan.where, partial(self._plan, project, plan, known.get(plan.code)))
        if self._declared.packs is not None:
            for one in self._declared.packs:
                problems += self._part(one.where, partial(apply_pack, project=project, declared=one, note=self._note))
            if self._prune:
                drop_packs(project=project, but={one.code for one in self._declared.packs}, note=self._note)
        for name, declared in self._declared.sections.items():
            section = known_sections()[name]
            for one in declared:
                problems += self._part(
                    one.where, partial(section.write, project=project, declared=one, note=self._note)
                )
            if self._prune:
                section.drop(project=project, declared=declared, note=self._note)
        if problems:
            raise DeclarationRefused(problems)
        return self._changes

    def _part(self, where: str, write: Callable[[], Any]) -> list[str]:
        """Write one part and return what is wrong with it: the others may be wrong as well."""
        try:
            with transaction.atomic():
                self._try(where, write)
        except DeclarationRefused as refused:
            return refused.problems
        return []

    def _project(self) -> Project:
        declared = self._declared
        # Locked before it is compared: what somebody else saves meanwhile is not written over.
        found = Project.objects.existing().select_for_update(no_key=True).filter(slug=declared.slug).first()
        if found is None:
            return self._new_project()
        wanted = {name: _as_kept(name, value) for name, value in declared.fields.items()}
        changed = {name: value for name, value in wanted.items() if getattr(found, name) != value}
        if changed:
            before = {name: getattr(found, name) for name in changed}
            self._try(declared.where, lambda: update_project(project=found, **changed))
            shown = "; ".join(_difference(name, before[name], declared.fields[name]) for name in changed)
            self._note(CHANGED, f"project {declared.slug}: {shown}")
        return found

    def _new_project(self) -> Project:
        declared = self._declared
        missing = [] if "name" in declared.fields else ["name"]
        missing += [] if declared.owner else ["owner (an e-mail address)"]
        if missing:
            raise self._refused(
                declared.where, f"There is no project {declared.slug}; to make it, give its {' and '.join(missing)}."
            )
        owner = User.objects.filter(email=str(declared.owner)).first()
        if owner is None:
            raise self._refused(f"{declared.where}.owner", "Nobody has registered with this address here.")
        fields = {name: _as_kept(name, value) for name, value in declared.fields.items()}
        name, is_active = fields.pop("name"), fields.pop("is_active", True)
        made: Project = self._try(
            declared.where, lambda: create_project(owner=owner, name=name, slug=declared.slug, **fields)
        )
        if not is_active:
            update_project(project=made, is_active=False)
        shown = "; ".join(f"{field} {_shown(value)}" for field, value in declared.fields.items())
        self._note(ADDED, f"project {declared.slug}: {shown}; owner {_shown(declared.owner)}")
        return made

    def _drop_plans(self, plans: Iterable[Plan]) -> None:
        for plan in plans:
            was_archived = plan.archived
            if drop_plan(plan=plan, actor=None):
                self._note(REMOVED, f"plan {plan.code}")
            elif not was_archived:
                self._note(REMOVED, f"plan {plan.code}: archived, because somebody has or had it")

    def _plan(self, project: Project, declared: DeclaredPlan, found: Plan | None) -> None:
        plan = found or Plan(project=project)
        # Naming a plan sells it again, unless the file says otherwise.
        fields = {"archived": False} | dict(declared.fields)
        if found is None:
            fields = {"code": declared.code, "name": declared.code} | fields
        bare = {name: _bare(value) for name, value in fields.items()}
        changes = self._try(declared.where, lambda: write_plan(plan=plan, actor=None, fields=bare))
        if found is None:
            shown = "; ".join(f"{name} {_shown(value, name)}" for name, value in declared.fields.items())
            self._note(ADDED, f"plan {declared.code}: {shown}" if shown else f"plan {declared.code}")
        elif changes:
            shown = "; ".join(_difference(name, before, fields[name]) for name, (before, _) in changes.items())
            self._note(CHANGED, f"plan {declared.code}: {shown}")
        if declared.prices is not None:
            self._prices(plan, declared.prices)
        if declared.quotas is not None:
            self._quotas(plan, declared, declared.quotas)

    def _quotas(self, plan: Plan, declared: DeclaredPlan, quotas: Mapping[str, Any]) -> None:
        before = read_quotas(plan=plan)
        wanted = {code: quota_in_words(_bare(value)) for code, value in quotas.items()}
        after = wanted if self._prune else before | wanted
        if after == before:
            return
        self._try(f"{declared.where}.quotas", lambda: set_quotas(plan=plan, quotas=after))
        for code in sorted({*before, *after}):
            if before.get(code) != after.get(code):
                mark = ADDED if code not in before else CHANGED if code in after else REMOVED
                shown = _difference("quota", before[code], after.get(code)) if code in before else _shown(after[code])
                self._note(mark, f"quota {plan.code} {code}: {shown}")

    def _prices(self, plan: Plan, declared: list[DeclaredPrice]) -> None:
        rows = list(PlanPrice.objects.for_project(plan.project_id).filter(plan=plan).order_by("created_at", "id"))
        kept = {self._price(plan, price, rows).pk for price in declared}
        keys = {price.key for price in declared}
        for row in rows:
            if row.pk in kept:
                continue
            row.plan = plan
            if not _is_sold(row) and (row.mode, row.interval, row.currency) in keys:
                # Declared once and never made: what is declared now takes its place.
                drop_price(price=row, actor=None)
                self._note(REMOVED, f"{_title(row)}: it was not at Stripe yet")
            elif self._prune and (row.active or not is_referred_to(plan)):
                gone = drop_price(price=row, actor=None)
                self._note(REMOVED, _title(row) + ("" if gone else ": off sale; whoever pays it keeps the plan"))

    def _price(self, plan: Plan, declared: DeclaredPrice, rows: list[PlanPrice]) -> PlanPrice:
        alike = [row for row in rows if (row.mode, row.interval, row.currency) == declared.key]
        row = _match(declared, rows, alike)
        is_new = row is None
        if row is None:
            row = PlanPrice(project_id=plan.project_id, plan=plan, mode=declared.mode)
        row.plan = plan
        fields = _price_fields(declared, row, alike, is_new=is_new)
        bare = {name: _bare(value) for name, value in fields.items()}
        self._try(declared.where, lambda: check_fixed_at_stripe(row, bare))
        changes = self._try(declared.where, lambda: write_price(price=row, actor=None, fields=bare))
        if is_new:
            waits = "" if _is_sold(row) else "; setup_stripe makes it at Stripe"
            self._note(ADDED, _title(row, fields.get("price_id") or fields.get("lookup_key")) + waits)
        elif changes:
            shown = "; ".join(_difference(name, before, fields[name]) for name, (before, _) in changes.items())
            self._note(CHANGED, f"{_title(row)}: {shown}")
        if declared.price_id:
            self._replace(row, alike)
        return row

    def _replace(self, row: PlanPrice, alike: list[PlanPrice]) -> None:
        """Take off sale what sold the same until the file named another price of Stripe's."""
        for other in alike:
            if other.pk != row.pk and other.active and _is_sold(other):
                other.plan = row.plan
                write_price(price=other, actor=None, fields={"active": False})
                self._note(CHANGED, f"{_title(other)}: off sale; {_shown(row.stripe_price_id)} takes its place")

    def _try(self, where: str, write: Callable[[], Any]) -> Any:
        """Carry out one write, and say of what is refused where it stands in the file. Raises: DeclarationRefused."""
        try:
            return write()
        except FieldError as error:
            raise DeclarationRefused(self._located(where, found) for found in error.errors) from None
        except Conflict as error:
            raise self._refused(where, error.detail) from None

    def _located(self, where: str, found: Mapping[str, Any]) -> str:
        """Say of a refused field where it stands in the file; `loc` begins with `body`."""
        place = ".".join(filter(None, [where, *map(str, found["loc"][1:])]))
        return self._at(place, str(found["msg"]))

    def _refused(self, where: str, problem: str) -> DeclarationRefused:
        return DeclarationRefused([self._at(where, problem)])

    def _at(self, where: str, problem: str) -> str:
        return f"{self._source}: {where}: {problem}" if where else f"{self._source}: {problem}"

    def _note(self, mark: str, text: str) -> None:
        self._changes.append(Change(self._declared.slug, mark, text))


def _takes_names(declared: DeclaredPlan, known: Mapping[str, Plan]) -> bool:
    """Say whether a plan takes a name, or being the free one, from another plan, which has to give it up first."""
    others = [plan for code, plan in known.items() if code != declared.code]
    names = {name for plan in others for name in (plan.code, *plan.aliases)}
    takes_free = bool(declared.fields.get("free")) and any(plan.free for plan in others)
    return takes_free or not names.isdisjoint(declared.fields.get("aliases", []))


def _match(declared: DeclaredPrice, rows: list[PlanPrice], alike: list[PlanPrice]) -> PlanPrice | None:
    """Find the row that a declared price is about; None when it is a new one."""
    on = [row for row in alike if row.active or declared.active is False]
    waiting = next((row for row in on if not _is_sold(row)), None)
    if declared.price_id:
        by_id = [row for row in rows if (row.mode, row.stripe_price_id) == (declared.mode, declared.price_id)]
        return by_id[0] if by_id else waiting
    for row in reversed(on):
        same_amount = declared.amount_cents in (None, row.amount_cents)
        same_key = not declared.lookup_key or row.lookup_key in ("", declared.lookup_key)
        if _is_sold(row) and same_amount and same_key:
            return row
    return waiting


def _price_fields(declared: DeclaredPrice, row: PlanPrice, alike: list[PlanPrice], *, is_new: bool) -> dict[str, Any]:
    fields: dict[str, Any] = {"interval": declared.interval, "currency": declared.currency}
    if is_new:
        fields = {"mode": declared.mode} | fields
    if declared.amount_cents is not None:
        fields["amount_cents"] = declared.amount_cents
    if declared.price_id:
        fields["price_id"] = declared.price_id
    # A price that is to replace another one gets the other's key when Stripe moves it.
    held = any(other.pk != row.pk and other.lookup_key == declared.lookup_key for other in alike)
    if declared.lookup_key and not held:
        fields["lookup_key"] = declared.lookup_key
    if declared.active is not None:
        fields["active"] = declared.active
    elif declared.price_id and not row.warning:
        # Named again, it is sold again; what Stripe took off sale stays off.
        fields["active"] = True
    return fields


def _is_sold(row: PlanPrice) -> bool:
    """Say whether Stripe is known to have a price."""
    return bool(row.stripe_price_id or row.lookup_key)


def _title(row: PlanPrice, name: Any = "") -> str:
    amount = (
        money_text(row.amount_cents, row.currency) if row.amount_cents else f"as at Stripe ({row.currency.upper()})"
    )
    known_as = name or row.stripe_price_id or row.lookup_key
    return f"price {row.plan.code} {row.mode} {row.interval}: {amount}" + (f" ({_shown(known_as)})" if known_as else "")


def _as_kept(name: str, value: Any) -> Any:
    """Write a project's field as the database keeps it, so that the same is seen to be the same."""
    value = _bare(value)
    if name in OPTIONAL_TEXTS:
        return value or None
    if name == "allowed_origins":
        return list(dict.fromkeys(map(_normalized, value)))
    return value


def _normalized(origin: str) -> str:
    try:
        return normalize_origin(origin)
    except ValueError:
        # The service says what is wrong with it.
        return origin


def _bare(value: Any) -> Any:
    """Forget where a text came from."""
    if isinstance(value, dict):
        return {name: _bare(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_bare(inner) for inner in value]
    return str(value) if isinstance(value, str) else value


def _difference(name: str, before: Any, after: Any) -> str:
    return f"{name} {_shown(before, name)} -> {_shown(after, name)}"


def _shown(value: Any, name: str = "") -> str:
    """Write a value for the person at the terminal: what came from the environment by its name, nothing in full length."""
    if isinstance(value, FromEnvironment):
        return value.reference
    if value is None:
        return "no limit" if name in LIMIT_NAMES else "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        inner = ", ".join(f"{key} {_shown(one)}" for key, one in value.items())
        return f"({inner})" if inner else "none"
    if isinstance(value, list):
        return f"[{', '.join(map(_shown, value))}]"
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
