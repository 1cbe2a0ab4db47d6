"""Every deed of the admin, as each role: who may is asked first and says why; who may not gets 403, and nothing was written."""

import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import IntegrityError, transaction
from django.urls import reverse

from common import clock
from moderation.models import ActionLog, ReviewItem
from notifications.models import OutboxRow, WebhookEndpoint
from tests.payments.rows import create_payment
from tests.roles.conftest import World, writes

EVERYBODY = ("admin", "moderator", "support", "alice", "victor", "vivian", "charlie")
# Developers of another project: they have the right there, and find nothing of this one to use it on.
ELSEWHERE = {"vivian", "charlie"}
MONEY = {"admin", "moderator"}
ACTING = MONEY | {"alice"}
READING = ACTING | {"support"}


@dataclass(frozen=True)
class Deed:
    """Something that can be done: to which row, with what, and by whom. `asks` is whether it asks first, and why."""

    label: str
    name: str
    may: set[str]
    form: dict[str, Any] = field(default_factory=dict)
    asks: bool = True
    # Whether it can be carried out here: what calls Stripe at once, or needs a state of its own, has tests of its own.
    carried_out: bool = True
    # A page of its own says what follows and asks why; its button does it.
    asks_twice: bool = True


def dead_letter(world: World, **fields: Any) -> Any:
    values = {"kind": "test", "payload": {}, "status": "dead"} | fields
    return OutboxRow.objects.create(
        project=world.acme.project, mode="test", effect_key=f"test:{uuid.uuid4()}", cause="a test", **values
    )


def open_item(world: World) -> ReviewItem:
    return ReviewItem.objects.create(
        project=world.acme.project, mode="test", kind="report", cause_key=f"test:{uuid.uuid4()}", title="Reported"
    )


LISTED = [
    Deed("payments.WebhookEvent", "replay_selected", ACTING),
    Deed("notifications.OutboxRow", "replay_selected", ACTING),
    Deed("notifications.OutboxRow", "resend_selected", READING),
    Deed("notifications.WebhookEndpoint", "switch_off", ACTING),
    Deed("notifications.WebhookEndpoint", "switch_on", ACTING),
    Deed("notifications.WebhookDelivery", "replay_selected", ACTING),
    Deed("moderation.ReviewItem", "approve_selected", ACTING),
    Deed("moderation.ReviewItem", "dismiss_selected", ACTING),
    Deed("moderation.ReviewItem", "act_selected", ACTING, {"deed": "dismiss"}),
    Deed("moderation.ReviewItem", "take_selected", ACTING, asks=False, carried_out=False),
    Deed("payments.StripeConfig", "check_endpoints", {"admin", "alice"}),
    Deed("payments.StripeConfig", "deactivate_selected", {"admin", "alice"}),
    Deed("entitlements.ProvisionedUser", "read_again", READING, asks=False, carried_out=False),
]
DETAILED = [
    Deed("payments.Transaction", "refund", MONEY, {"amount": "1.00", "access": "keep"}),
    Deed("payments.Subscription", "cancel", ACTING, {"change": "cancel_at_period_end"}),
    Deed("payments.Subscription", "comp", ACTING, {"days": "7"}),
    Deed("payments.Subscription", "sync", READING, carried_out=False),
    Deed("entitlements.CreditWallet", "adjust", ACTING, {"amount": "3"}),
    Deed("licenses.License", "act", READING, {"deed": "resend_mail"}),
    Deed("moderation.ReviewItem", "act", ACTING, {"deed": "approve"}),
]
OF_A_USER = [
    Deed("backoffice:give-plan", "mode", ACTING, {"plan": "maker"}),
    Deed("backoffice:sync-user", "mode", READING, carried_out=False),
    Deed("backoffice:ban-user", "", ACTING, asks_twice=False),
    Deed("backoffice:unban-user", "", ACTING, asks_twice=False),
    Deed("backoffice:anonymise-user", "", {"admin"}, {"confirm": "x"}, carried_out=False),
]


def test_every_deed_of_the_admin_is_here() -> None:
    """S6, S47: so that the next test leaves none out; no deed shows a secret, and support has none that moves money or replays."""
    known = {(deed.label, deed.name) for deed in [*LISTED, *DETAILED]}
    found = set()
    for model, page in admin.site._registry.items():
        names = [*(page.actions or ()), *(getattr(page, "actions_detail", None) or ())]
        found |= {(model._meta.label, name if isinstance(name, str) else name.__name__) for name in names}
    assert found == known
    assert [name for _, name in found if "reveal" in name or "show" in name] == []
    supports = {deed.name for deed in [*LISTED, *DETAILED, *OF_A_USER] if "support" in deed.may}
    assert supports == {"resend_selected", "read_again", "sync", "act", "mode"}
    assert [deed.label for deed in OF_A_USER if "support" in deed.may] == ["backoffice:sync-user"]


def row_of(world: World, deed: Deed) -> Any:
    """Return the row that the deed is done to, in a state in which it can be."""
    if deed.label == "notifications.OutboxRow":
        mail = {"kind": "mail", "status": "done", "payload": {"template": "receipt", "to": None, "context": {}}}
        return dead_letter(world, **(mail if deed.name == "resend_selected" else {}))
    if deed.label.startswith("notifications.Webhook"):
        WebhookEndpoint.objects.for_project(world.acme.project).update(disabled_at=None, disabled_reason="")
        if deed.name == "switch_on":
            WebhookEndpoint.objects.for_project(world.acme.project).update(
                disabled_at=clock.now(), disabled_reason="by_hand"
            )
    if deed.label == "moderation.ReviewItem":
        return open_item(world)
    if deed.name == "refund":
        return create_payment(world.acme.project)
    return world.acme.rows[apps.get_model(deed.label)]


def press(world: World, name: str, deed: Deed, row: Any, **more: str) -> Any:
    """Post a deed as somebody; returns the answer and what was written."""
    model: Any = apps.get_model(deed.label) if "." in deed.label else None
    if deed in OF_A_USER:
        arguments = [world.acme.rows[apps.get_model("projects", "EndUser")].pk, *(["test"] if deed.name else [])]
        path, form = reverse(deed.label, args=arguments), dict(deed.form)
    elif deed in DETAILED:
        path = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{deed.name}", args=[row.pk])
        form = {"request": str(uuid.uuid4()), **deed.form}
    else:
        path = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        form = {"action": deed.name, "_selected_action": [str(row.pk)], **deed.form}
    form.setdefault("request", str(uuid.uuid4()))
    with writes() as found:
        answer = world[name].client.post(path, form | more)
    return answer, found


@pytest.mark.parametrize("deed", [*LISTED, *DETAILED, *OF_A_USER], ids=lambda deed: f"{deed.label}-{deed.name}")
def test_who_may_is_asked_and_who_may_not_changes_nothing(world: World, deed: Deed) -> None:
    """S6, S7, S47: 403 and no write for who has no right; who has leaves a line with who, when, what and why."""
    row = None if deed in OF_A_USER else row_of(world, deed)
    for name in EVERYBODY:
        if name in deed.may:
            if deed.asks:
                _is_asked(world, name, deed, row)
            continue
        answer, found = press(world, name, deed, row, confirmed="yes", reason="Because.")
        assert found == [], f"{name} changed something: {found}"
        refused = (200, 302, 403, 404) if name in ELSEWHERE else (403,)
        assert answer.status_code in refused, (name, answer.status_code)
        if name == "charlie":
            assert world.acme.traces_in(_without_what_was_asked(answer)) == set()
    if deed.carried_out:
        _is_carried_out(world, sorted(deed.may)[-1], deed, row)


def _is_asked(world: World, name: str, deed: Deed, row: Any) -> None:
    for more in ({"reason": "Because."}, {"confirmed": "yes", "reason": " "})[0 if deed.asks_twice else 1 :]:
        answer, found = press(world, name, deed, row, **more)
        asks = deed.carried_out or answer.status_code == 200
        assert found == [] and answer.status_code in (200, 302) and asks, (name, more, answer.status_code, found)


def _is_carried_out(world: World, name: str, deed: Deed, row: Any) -> None:
    why = f"Because {uuid.uuid4()}"
    answer, found = press(world, name, deed, row, confirmed="yes", reason=why)
    assert answer.status_code == 302, answer.content.decode()[:3000]
    line = ActionLog.objects.for_project(world.acme.project).get(reason=why)
    assert (line.actor_id, line.actor_label) == (world[name].user.pk, world[name].user.email)
    assert line.at and line.action and line.subject
    assert any("moderation_actionlog" in sql for sql in found)


def _without_what_was_asked(answer: Any) -> str:
    """Return the page without the row's own id, which whoever asked has sent."""
    if answer.status_code in (302, 403, 404):
        return ""
    return str(answer.content.decode())


def test_the_action_log_refuses_every_change(world: World) -> None:
    """S47: append-only, for a superuser, too."""
    line = ActionLog.objects.for_project(world.acme.project).earliest("at")
    tries: list[Callable[[], Any]] = [
        lambda: ActionLog.objects.filter(pk=line.pk).update(action="another"),
        lambda: ActionLog.objects.filter(pk=line.pk).delete(),
    ]
    for change in tries:
        with pytest.raises(IntegrityError, match="append-only"), transaction.atomic():
            change()
    root = world["root"].client
    for page in ("change", "delete"):
        path = reverse(f"admin:moderation_actionlog_{page}", args=[line.pk])
        assert root.post(path, {"post": "yes"}).status_code == 403
