"""Deeds that ask Stripe at once, or end a user: who may least does them, and whoever else there is changes nothing."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from moderation.models import ActionLog
from payments.models import ReconcileRun, StripeCredentials, Subscription
from projects.models import EndUser, Project, Role
from tests.admin.test_payments_pages import sign_in
from tests.cast import create_app_user
from tests.conftest import Sandbox
from tests.payments.actors import create_developer, create_project
from tests.payments.endpoints import save_keys
from tests.payments.shop import Shop, open_checkout
from tests.roles.conftest import writes
from tests.roles.test_deeds_by_role import DETAILED, LISTED, OF_A_PAGE

DEVELOPER, OWNER, SUPPORT = "developer", "owner", "support"


@pytest.fixture
def shop(acme: Project, sandbox: Sandbox) -> Shop:
    """A project with keys, whose webhook endpoint is made."""
    shop = Shop(acme, sandbox.create_account("Carried"), sandbox)
    save_keys(create_developer(shop.project), shop)
    return shop


def steps(shop: Shop, buyer: EndUser, leaver: EndUser) -> Iterator[tuple[str, list[Any], dict[str, str], str, str]]:
    """Yield each deed: its address, what it is posted with, who may least, and what the action log calls it."""
    keys = [shop.project.pk, "test"]
    yield "backoffice:sync-user", [buyer.pk, "test"], {}, SUPPORT, "stripe.read_now"
    bought = Subscription.objects.for_project(shop.project).get()
    yield "admin:payments_subscription_sync", [bought.pk], {}, SUPPORT, "stripe.read_now"
    yield "backoffice:check-project", keys, {"what": "key"}, DEVELOPER, ""
    yield "backoffice:check-project", keys, {"what": "endpoint"}, DEVELOPER, "webhook_endpoint.check"
    yield "backoffice:roll-secret", keys, {}, DEVELOPER, "webhook_secret.roll_reason"
    yield "backoffice:reconcile-project", keys, {}, DEVELOPER, "reconcile.ask"
    yield "backoffice:personal-data", [leaver.pk], {}, DEVELOPER, "end_user.hand_out"
    yield "backoffice:anonymise-user", [leaver.pk], {"confirm": leaver.external_id}, OWNER, "end_user.anonymise"


def test_who_may_least_does_what_asks_stripe_or_ends_a_user(shop: Shop) -> None:
    """S6, S47: support reads, developers change keys, owners erase; each leaves a line with who, and why where it is asked."""
    buyer, leaver = create_app_user(shop.project, "buyer"), create_app_user(shop.project, "leaver")
    paid = shop.pay(open_checkout(buyer, shop.price(1200))["checkout_url"])
    assert paid.status_code == 303
    people = {
        SUPPORT: sign_in(group="Support"),
        DEVELOPER: sign_in(project=shop.project, role=Role.DEVELOPER),
        OWNER: sign_in(project=shop.project, role=Role.OWNER),
    }
    viewer, stranger = (
        sign_in(project=shop.project, role=Role.VIEWER),
        sign_in(project=create_project("Else"), role=Role.OWNER),
    )
    before = StripeCredentials.objects.for_project(shop.project).get(mode="test").webhook_endpoint_id
    done = set()
    for name, key, form, who, action in steps(shop, buyer.end_user, leaver.end_user):
        path, why = reverse(name, args=key), f"Because of {name}"
        sent = {"confirmed": "yes", "reason": why, "request": "6f1c1f6e-7d0c-4d2a-9f55-0c8f6f2f7a11"} | form
        below = [viewer, stranger, *(people[one] for one in people if one not in may(name))]
        for other in below:
            with writes() as found:
                assert other.post(path, sent).status_code in (302, 403, 404), (name, who)
            assert found == [], (name, found)
        answer = people[who].post(path, sent)
        assert answer.status_code == (200 if "personal" in name else 302), (name, answer.content.decode()[:2000])
        if "personal" in name:
            assert leaver.end_user.external_id in b"".join(answer).decode()
        if action:
            check_line(shop, people[who], action, why if "check" not in name and "personal" not in name else "")
        done.add(name)
    assert StripeCredentials.objects.for_project(shop.project).get(mode="test").webhook_endpoint_id not in ("", before)
    assert ReconcileRun.objects.for_project(shop.project).exists()
    assert EndUser.objects.get(pk=leaver.end_user.pk).anonymised_at is not None
    assert EndUser.objects.get(pk=buyer.end_user.pk).anonymised_at is None
    assert {deed.view for deed in [*LISTED, *DETAILED, *OF_A_PAGE] if not deed.carried_out} == done


def may(name: str) -> set[str]:
    """Name who of this test's people may do a deed, as the table says."""
    known = {"olga": OWNER, "alice": DEVELOPER, "support": SUPPORT}
    deed = next(deed for deed in [*DETAILED, *OF_A_PAGE] if deed.view == name)
    return {known[one] for one in deed.may if one in known}


def check_line(shop: Shop, client: Client, action: str, why: str) -> None:
    line = ActionLog.objects.for_project(shop.project).latest("at", "id")
    assert (line.action, line.reason, str(line.actor_id)) == (action, why, client.session["_auth_user_id"])
    assert line.at and line.subject and line.actor_label
