"""Makes what the plans' prices need in the project's Stripe account: products, and prices found again by their lookup key.

Invariants: run again, it changes nothing; a price at Stripe is never changed, another amount is another price that takes over the
lookup key; the price before keeps its row, so that whoever pays it keeps the plan. No transaction is open while Stripe is called.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.db import transaction

from common.errors import Conflict
from common.modes import LIVE, TEST
from common.money import money_text
from entitlements.models import Plan, PlanPrice
from entitlements.services.plan_fields import describe_plan
from entitlements.services.plans import lock_plans, write_price
from payments.services.leases import SyncBusy, end_lease, take_lease
from payments.stripe_api import StripeAccount, StripeObjectMissing, StripeRefused, stripe_account
from projects.models import Project

Json = dict[str, Any]
# Source: https://docs.stripe.com/api/prices/list#list_prices-lookup_keys
LOOKUP_KEYS_MAX = 10
ADDED, CHANGED, NOTED = "+", "~", "!"
# Two runs at once go one after the other. Should one outlive its lease, the calls' keys still make each thing once.
LEASED = "setup_stripe"
PATIENCE_SECONDS = 60


class SetupBusy(Conflict):
    """409: somebody else is setting up this account."""

    code = "setup_in_progress"
    detail = "Another run is setting up this account. Try again in a minute."
    retryable = True


@dataclass
class Setup:
    """What was done or is to do, and what a person has to mend."""

    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def note(self, mark: str, text: str) -> None:
        """Add a line."""
        self.lines.append(f"{mark} {text}")


def set_up_stripe(
    *, project: Project, mode: str, promote: bool = False, dry_run: bool = False, deactivate_old: bool = False
) -> Setup:
    """Make the missing products and prices of one mode and keep their ids; with `promote` copy test's prices to live first.

    With `dry_run` Stripe is only read and nothing is written. Raises: StripeNotConfigured (404), SetupBusy (409), StripeFailure.
    Source: https://docs.stripe.com/products-prices/manage-prices#lookup-keys
    """
    account = stripe_account(project.pk, mode)
    setup = Setup()
    try:
        lease = take_lease(project_id=project.pk, mode=mode, root=LEASED, wait_seconds=PATIENCE_SECONDS)
    except SyncBusy:
        raise SetupBusy() from None
    try:
        extra = _promote(project, setup, dry_run=dry_run) if promote else []
        _Account(project, mode, account, setup, dry_run=dry_run, deactivate_old=deactivate_old).run(extra)
    finally:
        end_lease(lease)
    return setup


def default_lookup_key(row: PlanPrice, slug: str) -> str:
    """Name a price for finding it again in any account: the same in test and live."""
    key = f"{slug}:{row.plan.code}:{row.interval}"
    return key if row.currency == "usd" else f"{key}:{row.currency}"


class _Account:
    """One account in one mode."""

    def __init__(
        self, project: Project, mode: str, account: StripeAccount, setup: Setup, *, dry_run: bool, deactivate_old: bool
    ) -> None:
        self._project = project
        self._mode = mode
        self._account = account
        self._setup = setup
        self._dry_run = dry_run
        self._deactivate_old = deactivate_old
        self._rows: list[PlanPrice] = []
        self._by_id: dict[str, Json | None] = {}
        self._by_key: dict[str, Json] = {}
        self._products: dict[str, str] = {}

    def run(self, extra: Iterable[PlanPrice]) -> None:
        """Look at each price that is for sale, or is to be."""
        rows = PlanPrice.objects.for_project(self._project).filter(mode=self._mode, active=True, plan__archived=False)
        kept = rows.select_related("plan").order_by("plan__rank", "plan__code", "interval", "currency", "created_at")
        self._rows = [*kept, *extra]
        self._read()
        for row in self._rows:
            price = self._by_id.get(row.stripe_price_id)
            if price is not None:
                self._compare(row, price)
                continue
            if row.stripe_price_id:
                self._setup.note(NOTED, f"{_title(row)}: Stripe has no price {row.stripe_price_id} in this account")
            self._make_or_find(row)
        sold = {row.plan_id for row in self._rows}
        for plan in Plan.objects.for_project(self._project).on_offer().filter(free=False).exclude(pk__in=sold):
            self._setup.note(NOTED, f"plan {plan.code}: no price is declared for {self._mode}")

    def _read(self) -> None:
        """Read the prices that rows name, and those under the keys of the others."""
        for row in self._rows:
            if row.stripe_price_id:
                self._by_id[row.stripe_price_id] = self._retrieve(row.stripe_price_id)
        keys = sorted({self._key_of(row) for row in self._rows if not self._by_id.get(row.stripe_price_id)})
        for start in range(0, len(keys), LOOKUP_KEYS_MAX):
            wanted = keys[start : start + LOOKUP_KEYS_MAX]
            # Inactive ones too: they hold their key all the same.
            for price in self._account.list("prices", {"lookup_keys": wanted, "limit": 100})["data"]:
                self._by_key[price["lookup_key"]] = price
        for row in self._rows:
            known = self._by_id.get(row.stripe_price_id) or self._by_key.get(self._key_of(row))
            if known:
                self._products.setdefault(row.plan.code, _id_of(known["product"]))

    def _retrieve(self, price_id: str) -> Json | None:
        try:
            return self._account.retrieve("prices", price_id)
        except StripeObjectMissing:
            return None

    def _compare(self, row: PlanPrice, price: Json) -> None:
        """Look at a price that is there."""
        if not row.amount_cents and isinstance(price.get("unit_amount"), int):
            self._setup.note(CHANGED, f"{_title(row)}: {money_text(price['unit_amount'], price['currency'])} at Stripe")
            self._write(row, {"amount_cents": price["unit_amount"], "currency": price["currency"]})
        elif not _fits(row, price):
            self._split(row, price)
        elif not price.get("active"):
            self._setup.problems.append(
                f"{_title(row)}: {price['id']} is inactive at Stripe; activate it there, or take it off sale here."
            )

    def _make_or_find(self, row: PlanPrice) -> None:
        found = self._by_key.get(self._key_of(row))
        if found is not None and found.get("active") and (_fits(row, found) or not row.amount_cents):
            self._setup.note(CHANGED, f"{_title(row)}: {found['id']} at Stripe")
            self._link(row, found, replaces=None)
        else:
            self._make(row, replaces=found)

    def _split(self, row: PlanPrice, price: Json) -> None:
        """Keep the row for whoever pays Stripe's amount, and make what the row asked for as another price."""
        wanted = PlanPrice(
            project_id=row.project_id, plan=row.plan, mode=row.mode, interval=row.interval, currency=row.currency
        )
        wanted.amount_cents = row.amount_cents
        if not self._dry_run:
            with transaction.atomic():
                lock_plans(self._project)
                charged = price.get("unit_amount")
                paid = {"amount_cents": charged, "currency": price["currency"]} if isinstance(charged, int) else {}
                write_price(price=row, actor=None, fields=paid)
                write_price(price=wanted, actor=None, fields=_declared(wanted))
        self._make(wanted, replaces=price)

    def _make(self, row: PlanPrice, *, replaces: Json | None) -> None:
        """Make a price at Stripe; `replaces` is the one that holds, or held, its place there."""
        if not row.amount_cents:
            self._setup.problems.append(f"{_title(row)}: no amount was entered, so nothing was made at Stripe.")
            return
        key = self._key_of(row)
        self._setup.note(ADDED, f"{_title(row)} as {key}" + (f", in place of {replaces['id']}" if replaces else ""))
        product = self._product_of(row.plan)
        if self._dry_run:
            return
        params: Json = {
            "product": product,
            "currency": row.currency,
            "unit_amount": row.amount_cents,
            "recurring": {"interval": row.interval},
            "lookup_key": key,
            "transfer_lookup_key": True,
            "metadata": self._metadata(row.plan),
        }
        made = self._account.create("prices", params, idempotency_key=self._once(params, replaces))
        self._link(row, made, replaces=replaces)

    def _link(self, row: PlanPrice, price: Json, *, replaces: Json | None) -> None:
        """Keep a price's id on its row; what sold the same before goes off sale and gives its key away."""
        if self._dry_run:
            return
        alike = [other for other in self._rows if other.pk != row.pk and _key(other) == _key(row)]
        old = {other.stripe_price_id for other in alike if other.stripe_price_id}
        with transaction.atomic():
            lock_plans(self._project)
            for other in alike:
                if other.stripe_price_id or other.lookup_key:
                    write_price(price=other, actor=None, fields={"lookup_key": "", "active": False})
            if replaces is not None and replaces["id"] not in old:
                self._keep_row_of(row, replaces)
            facts = {"price_id": price["id"], "lookup_key": price.get("lookup_key") or row.lookup_key}
            if not row.amount_cents and isinstance(price.get("unit_amount"), int):
                facts |= {"amount_cents": price["unit_amount"], "currency": price["currency"]}
            write_price(price=row, actor=None, fields=facts)
        if self._deactivate_old:
            self._deactivate({*old, *([replaces["id"]] if replaces is not None else [])} - {price["id"]})

    def _keep_row_of(self, row: PlanPrice, replaced: Json) -> None:
        """Remember whose plan a price was that we had no row of."""
        rows = PlanPrice.objects.for_project(self._project).filter(mode=self._mode)
        if not rows.filter(stripe_price_id=replaced["id"]).exists():
            fields = {"price_id": replaced["id"], "amount_cents": replaced.get("unit_amount") or 0, "active": False}
            kept = PlanPrice(project_id=row.project_id, plan=row.plan, mode=row.mode)
            write_price(price=kept, actor=None, fields=_declared(row) | fields | {"currency": replaced["currency"]})

    def _deactivate(self, price_ids: Iterable[str]) -> None:
        for price_id in sorted(price_ids):
            try:
                self._account.update(
                    "prices", price_id, {"active": False}, idempotency_key=self._once({"off": price_id}, None)
                )
            except StripeRefused as error:
                self._setup.problems.append(f"{price_id} stays active at Stripe: {error.user_message or error.detail}")
            else:
                self._setup.note(CHANGED, f"{price_id}: inactive at Stripe")

    def _product_of(self, plan: Plan) -> str:
        """Return the plan's product: that of its other prices, one that was made for it before, or a new one."""
        if plan.code not in self._products:
            self._products[plan.code] = self._find_product(plan) or self._make_product(plan)
        return self._products[plan.code]

    def _find_product(self, plan: Plan) -> str:
        # Stripe's search is up to a minute behind; the list is not.
        for product in self._account.iterate("products", {"active": True}):
            if self._metadata(plan).items() <= (product.get("metadata") or {}).items():
                return str(product["id"])
        return ""

    def _make_product(self, plan: Plan) -> str:
        self._setup.note(ADDED, f"product {plan.name}")
        if self._dry_run:
            return "a new product"
        params: Json = {"name": plan.name, "metadata": self._metadata(plan)}
        if described := describe_plan(plan):
            params["description"] = described
        return str(self._account.create("products", params, idempotency_key=self._once(params, None))["id"])

    def _metadata(self, plan: Plan) -> dict[str, str]:
        return {"project_id": str(self._project.pk), "plan": plan.code}

    def _once(self, params: Mapping[str, Any], replaces: Json | None) -> str:
        """Name a call by what it makes: two runs at once, or one after a lost answer, make it once."""
        said = json.dumps([params, replaces["id"] if replaces else ""], sort_keys=True)
        return f"setup:{self._project.pk}:{self._mode}:{hashlib.sha256(said.encode()).hexdigest()[:32]}"

    def _key_of(self, row: PlanPrice) -> str:
        alike = [other.lookup_key for other in self._rows if _key(other) == _key(row) and other.lookup_key]
        return row.lookup_key or next(iter(alike), "") or default_lookup_key(row, self._project.slug)

    def _write(self, row: PlanPrice, fields: Json) -> None:
        if not self._dry_run:
            with transaction.atomic():
                lock_plans(self._project)
                write_price(price=row, actor=None, fields=fields)


def _promote(project: Project, setup: Setup, *, dry_run: bool) -> list[PlanPrice]:
    """Declare for live what is sold in test. Returns the rows that a dry run leaves unsaved."""
    rows = PlanPrice.objects.for_project(project).filter(active=True, plan__archived=False).select_related("plan")
    by_mode: dict[str, dict[Any, list[PlanPrice]]] = {TEST: {}, LIVE: {}}
    for row in rows.order_by("plan__rank", "plan__code", "interval", "currency", "created_at"):
        by_mode[row.mode].setdefault(_key(row), []).append(row)
    extra: list[PlanPrice] = []
    for key, sold in by_mode[TEST].items():
        wanted, there = sold[-1], by_mode[LIVE].get(key, [])
        if not wanted.amount_cents or any(row.amount_cents == wanted.amount_cents for row in there):
            continue
        shown = ", ".join(money_text(row.amount_cents, row.currency) for row in there)
        setup.note(CHANGED if there else ADDED, f"live {_title(wanted)}" + (f", was {shown}" if shown else ""))
        copy = PlanPrice(project_id=project.pk, plan=wanted.plan, mode=LIVE)
        copy.interval, copy.currency, copy.amount_cents = wanted.interval, wanted.currency, wanted.amount_cents
        waiting = next((row for row in there if not row.stripe_price_id and not row.lookup_key), None)
        if dry_run:
            extra.append(copy)
            continue
        with transaction.atomic():
            lock_plans(project)
            write_price(price=waiting or copy, actor=None, fields=_declared(wanted) | {"mode": LIVE})
    for key, sold in by_mode[LIVE].items():
        if key not in by_mode[TEST]:
            setup.note(NOTED, f"live {_title(sold[-1])}: is not in test, and stays as it is")
    return extra


def _declared(row: PlanPrice) -> Json:
    return {
        "mode": row.mode, "interval": row.interval, "currency": row.currency, "amount_cents": row.amount_cents,
    }  # fmt: skip


def _fits(row: PlanPrice, price: Json) -> bool:
    """Say whether Stripe's price charges what the row says, as often as it says."""
    recurring = price.get("recurring") or {}
    charged = (price.get("unit_amount"), price.get("currency"), recurring.get("interval"))
    return charged == (row.amount_cents, row.currency, row.interval) and recurring.get("interval_count", 1) == 1


def _key(row: PlanPrice) -> tuple[Any, ...]:
    return (row.plan_id, row.interval, row.currency)


def _title(row: PlanPrice) -> str:
    amount = money_text(row.amount_cents, row.currency) if row.amount_cents else "no amount"
    return f"price {row.plan.code} {row.interval}: {amount}"


def _id_of(value: Any) -> str:
    return str(value["id"] if isinstance(value, dict) else value)
