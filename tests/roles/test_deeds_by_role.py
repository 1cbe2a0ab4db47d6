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

from backoffice.urls import urlpatterns
from common import clock
from moderation.models import ActionLog, ReviewItem
from notifications.models import OutboxRow, WebhookEndpoint
from tests.payments.rows import create_payment
from tests.roles.conftest import World, writes

EVERYBODY = ("admin", "moderator", "support", "olga", "alice", "victor", "vivian", "charlie")
# Developers of another project: they have the right there, and find nothing of this one to use it on.
ELSEWHERE = {"vivian", "charlie"}
MONEY = {"admin", "moderator"}
ACTING = MONEY | {"alice", "olga"}
READING = ACTING | {"support"}
# Who may change the project's keys.
KEYS = {"admin", "alice", "olga"}


@dataclass(frozen=True)
class Deed:
    """Something that can be done: to which row, with what, and by whom. `asks` is whether it asks first, and why."""

    label: str
    name: str
    may: set[str]
    form: dict[str, Any] = field(default_factory=dict)
    asks: bool = True
    # Whether it is carried out here: what asks Stripe at once, or ends the user, is in test_deeds_carried_out.py.
    carried_out: bool = True
    # A page of its own says what follows and asks why; its button does it.
    asks_twice: bool = True

    @property
    def view(self) -> str:
        """The name of the address that the deed is posted to."""
        if ":" in self.label:
            return self.label
        page = "changelist" if self in LISTED else self.name
        return f"admin:{self.label.lower().replace('.', '_')}_{page}"


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
    Deed("moderation.ReviewItem", "take_selected", ACTING, asks=False),
    Deed("payments.StripeConfig", "check_endpoints", KEYS),
    Deed("payments.StripeConfig", "deactivate_selected", KEYS),
    Deed("entitlements.ProvisionedUser", "read_again", READING, asks=False),
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
# Pages of the back office's own. The name is "mode" where there is a page for each mode.
OF_A_PAGE = [
    Deed("backoffice:give-plan", "mode", ACTING, {"plan": "maker"}),
    Deed("backoffice:sync-user", "mode", READING, carried_out=False),
    Deed("backoffice:ban-user", "", ACTING, asks_twice=False),
    Deed("backoffice:unban-user", "", ACTING, asks_twice=False),
    Deed("backoffice:personal-data", "", KEYS, asks=False, carried_out=False),
    Deed("backoffice:anonymise-user", "", {"admin", "olga"}, {"confirm": "x"}, carried_out=False),
    Deed("backoffice:check-project", "mode", KEYS, {"what": "key"}, asks=False, carried_out=False),
    Deed("backoffice:roll-secret", "mode", KEYS, carried_out=False),
    Deed("backoffice:reconcile-project", "mode", KEYS, carried_out=False),
]
# Addresses of the admin's own that change no row of a project, or have tests of their own.
NO_DEEDS = {
    "admin:backoffice_export_file": "sends a file: tests/admin/test_exports.py",
    "admin:auth_user_password_change": "tests/roles/test_users_by_role.py",
}


def test_every_deed_of_the_admin_is_here() -> None:
    """S6, S47: so that the next test leaves none out; no deed shows a secret, and support has none that moves money or replays."""
    known = {(deed.label, deed.name) for deed in [*LISTED, *DETAILED]}
    found = set()
    for model, page in admin.site._registry.items():
        names = [*(page.actions or ()), *(getattr(page, "actions_detail", None) or ())]
        found |= {(model._meta.label, name if isinstance(name, str) else name.__name__) for name in names}
    assert found == known
    assert [name for _, name in found if "reveal" in name or "show" in name] == []
    supports = {deed.name for deed in [*LISTED, *DETAILED, *OF_A_PAGE] if "support" in deed.may}
    assert supports == {"resend_selected", "read_again", "sync", "act", "mode"}
    assert [deed.label for deed in OF_A_PAGE if "support" in deed.may] == ["backoffice:sync-user"]


def test_every_address_of_the_admin_that_takes_a_form_is_here(world: World) -> None:
    """S6: derived from the routes; who may do everything posts an empty form to each, and nothing was written."""
    takes = {
        f"admin:{route.name}"
        for page in admin.site._registry.values()
        for route in page.get_urls()
        if _is_own(page, route)
    }
    assert takes - {deed.view for deed in DETAILED} == set(NO_DEEDS)
    keys = {"end_user_id": "projects.EndUser", "project_id": "projects.Project", "event_id": "payments.WebhookEvent"}
    posted = set()
    for route in urlpatterns:
        found = {
            name: "test" if name == "mode" else world.acme.rows[apps.get_model(keys[name])].pk
            for name in route.pattern.converters
        }
        with writes() as written:
            answer = world["root"].client.post(reverse(f"backoffice:{route.name}", kwargs=found), {})
        personal = route.name == "personal-data"
        assert written == [] or personal, (route.name, written)
        if answer.status_code != 405:
            posted.add(f"backoffice:{route.name}")
    assert posted == {deed.label for deed in OF_A_PAGE}


def _is_own(page: Any, route: Any) -> bool:
    """Say whether an address is none of those that every model has."""
    usual = {
        f"{page.opts.app_label}_{page.opts.model_name}_{name}"
        for name in ("changelist", "add", "history", "delete", "change")
    }
    return route.name is not None and route.name not in usual


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
    if deed in OF_A_PAGE:
        about = "Project" if deed.label.endswith(("-project", "-secret")) else "EndUser"
        arguments = [world.acme.rows[apps.get_model("projects", about)].pk, *(["test"] if deed.name else [])]
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


@pytest.mark.parametrize("deed", [*LISTED, *DETAILED, *OF_A_PAGE], ids=lambda deed: f"{deed.label}-{deed.name}")
def test_who_may_is_asked_and_who_may_not_changes_nothing(world: World, deed: Deed) -> None:
    """S6, S7, S47: 403 and no write for who has no right; who has leaves a line with who, when, what and why."""
    row = None if deed in OF_A_PAGE else row_of(world, deed)
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
    lines = ActionLog.objects.for_project(world.acme.project)
    # What changes nothing of the customer's asks for no reason.
    line = lines.get(reason=why) if deed.asks else lines.latest("at")
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
