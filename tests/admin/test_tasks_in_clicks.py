"""What support is asked for, done by links and buttons that are on the pages, and how many clicks it takes from the dashboard."""

import datetime as dt
from typing import Any

import pytest
from django.utils import timezone

from entitlements.models import Entitlement, PlanPrice
from licenses.models import License
from moderation.models import ActionLog
from notifications.models import OutboxRow
from payments.models import StripeCredentials, WebhookEvent
from projects.models import Project, Role
from tests.admin.clicks import Person
from tests.admin.desk import make_desk
from tests.admin.test_payments_pages import sign_in
from tests.cast import AppUser
from tests.conftest import Sandbox
from tests.licenses.licensing import license_in_hand
from tests.payments.actors import create_developer, create_project
from tests.payments.endpoints import save_keys
from tests.payments.rows import create_plan
from tests.payments.shop import Shop, connect_stripe, open_checkout
from tests.payments.test_go_live import public as public


@pytest.fixture
def shop(acme: Project, sandbox: Sandbox) -> Shop:
    """Acme, wired to a Stripe account of its own."""
    account = sandbox.create_account("Acme")
    connect_stripe(acme, account, live=False)
    return Shop(acme, account, sandbox)


def logged(project: Project, action: str) -> ActionLog:
    return ActionLog.objects.for_project(project).get(action=action)


def at(person: Person, project: Project, mode: str = "test") -> Person:
    return person.open(f"/admin/?mode={mode}&project={project.pk}")


def test_she_says_that_she_paid_and_has_no_access_in_four_clicks(shop: Shop, dana: AppUser) -> None:
    price_id = shop.price(1200)
    plan = create_plan(shop.project, code="maker", name="Maker")
    PlanPrice.objects.create(project=shop.project, plan=plan, mode="test", stripe_price_id=price_id, amount_cents=1200)
    # She pays, closes the window, and no webhook ever comes.
    opened = open_checkout(dana, price_id)
    assert shop.pay(opened["checkout_url"]).status_code == 303
    held = Entitlement.objects.for_project(shop.project).filter(end_user=dana.end_user, active=True)
    assert not held.exists()
    support = at(Person(sign_in(group="Support")), shop.project)
    support.press("Search", q=dana.end_user.email)
    assert "A checkout is open and was not finished, as far as this service was told." in support.html
    support.follow("Read from Stripe now")
    support.press("Go on", reason="She paid and has no access")
    support.press("Yes, do it")
    assert support.clicks == 4
    assert held.get().plan == plan and "Maker" in support.html
    assert "A checkout is open" not in support.html


def test_a_payment_goes_back_and_access_with_it_in_four_clicks() -> None:
    desk = make_desk("Refunds")
    moderator = at(Person(sign_in(group="Moderator")), desk.project)
    moderator.press("Search", q=desk.user.external_id)
    moderator.follow("Refund", to=str(desk.payment.pk))
    moderator.press("Go on", reason="Bought by mistake", access="revoke", cancel_subscription="on")
    assert OutboxRow.objects.for_project(desk.project).filter(kind="refund").count() == 0
    moderator.press("Yes, refund 24.00 USD")
    assert moderator.clicks == 4
    (row,) = [one for one in OutboxRow.objects.for_project(desk.project) if one.payload.get("access") == "revoke"]
    assert row.payload["amount_cents"] == 2400
    assert row.payload["cancel_subscription_id"] == desk.subscription.stripe_subscription_id
    assert ActionLog.objects.for_project(desk.project).filter(reason="Bought by mistake").exists()


def test_a_dead_letter_is_replayed_in_four_clicks() -> None:
    desk = make_desk("Dead letters")
    moderator = at(Person(sign_in(group="Moderator")), desk.project)
    moderator.follow("1", to="#dead").follow("customer.subscription.updated")
    assert "It broke. 8 attempts so far. It was given up." in moderator.html
    moderator.press("Replay")
    assert WebhookEvent.objects.get(pk=desk.dead.pk).status == "dead"
    moderator.press("Yes, do it", reason="Mended upstream")
    assert moderator.clicks == 4
    assert WebhookEvent.objects.get(pk=desk.dead.pk).status != "dead"
    assert logged(desk.project, "webhook_event.replay").reason == "Mended upstream"


def test_a_stuck_licence_is_found_and_its_holder_invited_again_in_four_clicks() -> None:
    project = create_project("Licences")
    row, nameless = license_in_hand(project), license_in_hand(project)
    long_ago = timezone.now() - dt.timedelta(days=9)
    License.objects.filter(pk=row.pk).update(first_invited_at=long_ago, purchased_at=long_ago)
    License.objects.filter(pk=nameless.pk).update(state="pending", username="", purchased_at=long_ago)
    developer = at(Person(sign_in(project=project, role=Role.DEVELOPER)), project)
    developer.follow("2", to="stuck=yes")
    assert f"{nameless.pk}/act/?deed=resend_mail" in developer.html
    developer.follow("Invite again", to=str(row.pk))
    developer.press("Go on", reason="The invitation expired")
    assert License.objects.get(pk=row.pk).state == "invited"
    developer.press("Yes, do it")
    assert developer.clicks == 4
    assert License.objects.get(pk=row.pk).state == "username_submitted"
    assert logged(project, "license.invite_again").reason == "The invitation expired"
    # Who only looks is offered nothing of it.
    viewer = at(Person(sign_in(project=project, role=Role.VIEWER)), project).follow("1", to="stuck=yes")
    assert str(nameless.pk) in viewer.html and "?deed=" not in viewer.html


def test_why_a_webhook_fails_is_two_clicks_away() -> None:
    desk = make_desk("Failing")
    rows = StripeCredentials.objects.for_project(desk.project)
    rows.update(webhook_status="missing_events", webhook_error="Not delivered: invoice.paid")
    viewer = at(Person(sign_in(project=desk.project, role=Role.VIEWER)), desk.project)
    assert "Not delivered: invoice.paid" in viewer.html
    viewer.follow(desk.project.name)
    assert "It broke." in viewer.html and "Not delivered: invoice.paid" in viewer.html
    viewer.follow("customer.subscription.updated")
    assert viewer.clicks == 2 and "It was given up." in viewer.html


def test_a_signing_secret_is_replaced_in_three_clicks(sandbox: Sandbox) -> None:
    shop = Shop(create_project("Secrets"), sandbox.create_account("Acme"), sandbox)
    save_keys(create_developer(shop.project), shop)
    before = StripeCredentials.objects.for_project(shop.project).get(mode="test")
    developer = at(Person(sign_in(project=shop.project, role=Role.DEVELOPER)), shop.project)
    # Without a reason, or without saying that it is meant, nothing is replaced.
    roll_page = f"/admin/projects/{shop.project.pk}/test/roll-secret/"
    for unmeant in ({"reason": " ", "confirmed": "yes"}, {"reason": "Somebody left"}):
        assert developer.client.post(roll_page, unmeant).status_code == 200
    assert StripeCredentials.objects.for_project(shop.project).get(mode="test").version == before.version
    developer.follow(shop.project.name).follow("Replace the signing secret")
    developer.press("Yes, replace the secret", reason="Somebody left")
    assert developer.clicks == 3
    after = StripeCredentials.objects.for_project(shop.project).get(mode="test")
    assert after.webhook_endpoint_id not in ("", before.webhook_endpoint_id)
    assert after.previous_webhook_endpoint_id == before.webhook_endpoint_id and after.previous_webhook_secret
    assert logged(shop.project, "webhook_secret.roll_reason").reason == "Somebody left"
    assert after.get_secret("webhook_secret") not in developer.html
    # Who only reads is offered neither, and is refused.
    readers: list[dict[str, Any]] = [
        {"project": shop.project, "role": Role.VIEWER},
        {"group": "Support"},
        {"group": "Moderator"},
    ]
    for who in readers:
        reader = sign_in(**who)
        page = Person(reader).open(f"/admin/projects/{shop.project.pk}/desk/?mode=test")
        assert "Replace the signing secret" not in page.html and "Examine the key" not in page.html
        roll = {"reason": "x", "confirmed": "yes"}
        assert reader.post(roll_page, roll).status_code == 403
        assert reader.post(f"/admin/projects/{shop.project.pk}/test/check/", {"what": "endpoint"}).status_code == 403


def test_the_key_is_examined_and_live_opened_from_the_projects_page(sandbox: Sandbox) -> None:
    shop = Shop(create_project("Opening"), sandbox.create_account("Acme"), sandbox)
    save_keys(create_developer(shop.project), shop)
    developer = at(Person(sign_in(project=shop.project, role=Role.DEVELOPER)), shop.project)
    developer.follow(shop.project.name).press("Examine the key")
    assert "The key has every permission that is needed." in developer.html
    assert "A restricted key" in developer.html
    developer.press("Check the endpoint and mend it")
    assert "Webhook endpoint: managed" in developer.html
    for reason in ("", " ", "x" * 1001, "a\x00b"):
        developer.press("Run the checks, and open live payments when all are right", reason=reason)
        assert "Nothing was done: Say why" in developer.html
    developer.press("Run the checks, and open live payments when all are right", reason="We launch")
    assert "Not right yet: Live keys, Webhook endpoint, Signed probe, Something to sell in live mode." in developer.html
    assert shop.account.test_secret_key not in developer.html


def test_live_payments_are_opened_for_a_reason_that_is_kept(sandbox: Sandbox, public: str) -> None:
    shop = Shop(create_project("Launching"), sandbox.create_account("Acme"), sandbox)
    save_keys(create_developer(shop.project), shop, mode="live")
    price = {"mode": "live", "stripe_price_id": shop.price(1000, live=True), "amount_cents": 1000}
    PlanPrice.objects.create(project=shop.project, plan=create_plan(shop.project), **price)
    keys = StripeCredentials.objects.for_project(shop.project).filter(mode="live")
    developer = sign_in(project=shop.project, role=Role.DEVELOPER)
    page, check = (f"/admin/projects/{shop.project.pk}/{leaf}/" for leaf in ("desk", "live/check"))
    assert developer.post(check, {"what": "live"}).status_code == 302
    assert (keys.get().opened_at, keys.get().probed_at) == (None, None)
    person = Person(developer).open(page)
    person.press("Run the checks, and open live payments when all are right", reason="We launch")
    assert "Every check is green: live payments are open." in person.html and keys.get().opened_at is not None
    assert logged(shop.project, "live.open").reason == "We launch"
    # Open as it is, it is looked at again without asking why.
    assert "Every check is green" in person.press("Run the checks again").html
