"""S10: what a form of the admin shows and does not let one change is not changed by sending it, whoever sends it."""

import datetime as dt
import uuid
from typing import Any

import pytest
from django.contrib import admin
from django.db import models

from accounts.models import User
from projects.models import Project
from tests.admin.clicks import forms_of
from tests.cast import create_developer
from tests.roles.conftest import World, writes
from tests.roles.test_pages_by_role import address

# What a save writes by itself.
KEPT_BY_ITSELF = {"updated_at", "version", "configured_at", "diagnosed_at"}
LOOKERS = ("moderator", "support", "victor")
# What a form lets one change. Whatever else a row has is shown, or is on no page.
OFFERED = {
    "Project": "name slug description is_active allowed_origins default_success_url default_cancel_url default_return_url "
    "shared_webhook",
    "Membership": "role",
    "ApiKey": "name is_active",
    "IdentityProvider": "kind issuer audience jwks_url user_id_claim email_claim test_only is_active hs256_secret",
    "AlertRule": "kind threshold recovers_at window_minutes calm_minutes is_enabled",
    "AlertTarget": "mail_to webhook_url signing_secret",
    "Brand": "from_name from_address reply_to color logo_url footer_text",
    "CreditPolicy": "shortfall low_at",
    "CreditPack": "code name credits active internal allow_promotion_codes",
    "Plan": "code name aliases rank internal free archived trial_days features credits_per_day credits_per_period token_budget "
    "tokens_per_minute requests_per_minute compute_budget_cents compute_budget_duration file_size_mb",
    "PlanPrice": "mode interval currency amount_cents lookup_key stripe_price_id active",
    "Meter": "code name unit unit_amount currency stripe_event_name active",
    "PlanQuota": "plan meter included block_at_percent unit_amount",
    "LicenseProduct": "code name instructions repository team_slug activation_limit active allow_promotion_codes",
    "BillingPolicy": "entitled_statuses grace_hours full_refund_revokes dispute_revokes allow_promotion_codes automatic_tax "
    "tax_id_collection billing_address_collection",
    # Its page is made of the keys' own fields (tests/admin/test_payments_pages.py).
    "StripeConfig": "project is_active updated_at",
    "HostedPages": "sign_in_url return_url time_zone",
}


def changeable(world: World, name: str) -> list[Any]:
    """Return the models of which somebody may change rows by hand, as far as the pages themselves say."""
    found = []
    for model, page in admin.site._registry.items():
        request = _Asked(world[name].user)
        if model in world.acme.rows and page.has_change_permission(request, world.acme.rows[model]):  # type: ignore[arg-type]
            found.append(model)
    return found


class _Asked:
    """As much of a request as a page asks for rights."""

    method = "POST"

    def __init__(self, user: User) -> None:
        self.user = User.objects.get(pk=user.pk)


def forged(column: Any, world: World) -> Any:
    """Return another value of a column."""
    if isinstance(column, models.ForeignKey):
        return world.other.rows.get(column.related_model, world.other.project).pk
    if isinstance(column, models.UUIDField):
        return uuid.uuid4()
    if isinstance(column, models.BooleanField):
        return "on"
    if isinstance(column, models.DateTimeField):
        return dt.datetime(1999, 9, 9, 9, 9, tzinfo=dt.UTC).isoformat()
    if isinstance(column, models.IntegerField | models.DecimalField):
        return 98765
    return "forged"


def values_of(row: Any) -> dict[str, Any]:
    found = type(row)._base_manager.get(pk=row.pk)
    return {column.name: getattr(found, column.attname) for column in row._meta.concrete_fields}


def sent_form(world: World, name: str, path: str) -> dict[str, list[str]]:
    """Return what the page's own form would send, unchanged."""
    html = world[name].client.get(path).content.decode()
    found = [form.fields for form in forms_of(html) if form.method == "post" and not form.action]
    assert found, f"{name} at {path} has no form"
    return max(found, key=len)


def save_with_more(world: World, name: str, row: Any) -> tuple[dict[str, Any], set[str]]:
    """Save a row's form as it stands, with every column that it does not hold; returns what changed and what was sent more."""
    path, before = address(type(row), "change", row.pk), values_of(row)
    form = sent_form(world, name, path)
    shown = {one.removesuffix("_0").removesuffix("_1") for one in form}
    offered = offered_fields(world, name, row)
    more = {
        column.name: [str(forged(column, world))]
        for column in row._meta.concrete_fields
        if column.name not in shown | offered
    }
    extra = {f"{column}_0": ["1999-09-09"] for column in more} | {f"{column}_1": ["09:09:00"] for column in more}
    answer = world[name].client.post(path, form | more | extra)
    assert answer.status_code in (200, 302), (path, answer.status_code)
    after = values_of(row)
    return {one: (before[one], after[one]) for one in more if before[one] != after[one]}, set(more)


def offered_fields(world: World, name: str, row: Any) -> set[str]:
    """Name what a row's form lets somebody change."""
    page = admin.site._registry[type(row)]
    request: Any = _Asked(world[name].user)
    locked = {str(one) for one in page.get_readonly_fields(request, row)}
    return {str(one) for group in page.get_fieldsets(request, row) for one in _flat(group[1]["fields"])} - locked


def _flat(names: Any) -> list[Any]:
    return [one for name in names for one in ([name] if isinstance(name, str) else name)]


@pytest.mark.parametrize("name", ["admin", "alice"])
def test_a_form_lets_one_change_what_is_written_here_and_nothing_else(world: World, name: str) -> None:
    """S10: an id, a project, a time, a state or a secret that became writable would be in no other list."""
    found = {model.__name__: offered_fields(world, name, world.acme.rows[model]) for model in changeable(world, name)}
    wanted = {model: set(fields.split()) for model, fields in OFFERED.items()}
    assert found == {model: wanted[model] for model in wanted if name == "admin" or model != "Membership"}


@pytest.mark.parametrize("name", ["admin", "alice"])
def test_a_field_that_a_form_does_not_offer_is_not_written_by_sending_it(world: World, name: str) -> None:
    """The project, ids, times, and whatever a page only shows stay as they are."""
    found = changeable(world, name)
    assert len(found) > 14
    sent = 0
    for model in found:
        changed, more = save_with_more(world, name, world.acme.rows[model])
        assert set(changed) <= KEPT_BY_ITSELF, (model.__name__, changed)
        sent += len(more)
    assert sent > 60


def test_no_form_carries_a_row_into_another_project(world: World) -> None:
    """A developer sends another project where the form offers a choice of their own."""
    carried = 0
    for model in changeable(world, "alice"):
        row = world.acme.rows[model]
        if model is Project or not any(column.name == "project" for column in model._meta.concrete_fields):
            continue
        path = address(model, "change", row.pk)
        form = sent_form(world, "alice", path) | {"project": [str(world.other.project.pk)]}
        world["alice"].client.post(path, form)
        assert values_of(row)["project"] == world.acme.project.pk, model.__name__
        carried += 1
    assert carried > 10


def test_who_only_looks_writes_no_field(world: World) -> None:
    """Moderator, support and viewers send what the role Admin's own form sends: 403, and nothing was written."""
    someone = create_developer("someone").user
    rows = [world.acme.rows[model] for model in changeable(world, "admin")] + [someone]
    for row in rows:
        path = address(type(row), "change", row.pk)
        form = sent_form(world, "admin", path)
        for name in LOOKERS:
            with writes() as found:
                answer = world[name].client.post(path, form)
            assert (answer.status_code, found) == (403, []), (name, path)
