"""Licences in tests: products on sale, an organisation at GitHub, buying one, and doing what workers do."""

import datetime as dt
import re
import uuid
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.db.models.functions import Now
from django.test import Client

from licenses.models import GitHubConnection, License, LicenseProduct, LicenseProductPrice, LicenseSeat
from licenses.services.access_tokens import mint_access_token
from licenses.services.polling import poll_invitations
from notifications.models import OutboxRow
from notifications.services.outbox import executor_of
from notifications.services.running import carry_out_row
from projects.models import Project
from tests.github import TEAM, Organization, create_organization
from tests.payments.deliveries import deliver, events_of, set_webhook_secret, stored
from tests.payments.shop import Shop

CHECKOUT = "/api/v1/payments/lifetime-checkout"
ACCESS = "/api/v1/license-access"
KEYS = "/api/v1/license-keys"
PAGE = "/license-access"
LONG_AGO = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
KINDS = ("github_invite", "github_remove", "license_mail")


@dataclass(frozen=True)
class LicenseShop:
    """A project that sells licences: its Stripe account, its organisation at GitHub."""

    shop: Shop
    org: Organization

    @property
    def project(self) -> Project:
        """Whose licences they are."""
        return self.shop.project

    def visitor(self) -> Client:
        """Return a browser at an address of the test's own: limits count per address."""
        return Client(REMOTE_ADDR=f"2001:db8:{self.project.pk.hex[-4:]}:{self.project.pk.hex[-8:-4]}::1")

    def open(self, product: str = "kit", *, query: str = "", headers: Any = None, **more: Any) -> Any:
        """Ask for a checkout as anybody may."""
        body = {"project": self.project.slug, "product": product} | more
        return self.visitor().post(f"{CHECKOUT}{query}", body, content_type="application/json", headers=headers or {})

    def checkout(self, product: str = "kit", **more: Any) -> dict[str, Any]:
        """Open a checkout; a refusal fails the test."""
        answer = self.open(product, **more)
        assert answer.status_code == 200, answer.content
        return dict(answer.json())

    def buy(self, product: str = "kit", *, delivered: bool = True, **more: Any) -> "Holder":
        """Buy a licence on Stripe's page and come back; without `delivered` no event has come yet."""
        opened = self.checkout(product, **more)
        paid = self.shop.pay(opened["checkout_url"])
        assert paid.status_code == 303, paid.text
        back = parse_qs(urlsplit(paid.headers["Location"]).query)
        holder = Holder(self, back["session"][0], back["token"][0])
        if delivered:
            self.deliver_new()
        return holder

    def deliver_new(self) -> None:
        """Deliver what the account sent since the last time, oldest first."""
        known = set(stored(self.project).values_list("event_id", flat=True))
        deliver(self.shop, [event for event in events_of(self.shop) if event["id"] not in known])

    def effects(self, **more: Any) -> Any:
        """Return the outbox rows of licences, oldest first."""
        rows = OutboxRow.objects.for_project(self.project).filter(kind__in=KINDS).filter(**more)
        return rows.order_by("created_at", "id")

    def work(self, *kinds: str) -> int:
        """Carry out what is due of licences, as a worker does; returns how many rows that were."""
        done = 0
        while True:
            row = self.effects(status="pending", kind__in=kinds or KINDS, next_attempt_at__lte=Now()).first()
            if row is None:
                return done
            work_off(row)
            done += 1

    def poll(self) -> int:
        """Ask GitHub about invitations now, whatever the pace."""
        LicenseSeat.objects.for_project(self.project).filter(next_check_at__isnull=False).update(next_check_at=LONG_AGO)
        return poll_invitations()

    def keys(self) -> list[str]:
        """Name what licences have caused, without ids."""
        return [re.sub(r":[0-9a-f-]{36}", "", row.effect_key) for row in self.effects()]


@dataclass(frozen=True)
class Holder:
    """Somebody with the signed link of one licence."""

    at: LicenseShop
    session_id: str
    token: str

    @property
    def license(self) -> License:
        """The licence as it is now."""
        rows = License.objects.for_project(self.at.project).select_related("product", "end_user")
        return rows.get(stripe_session_id=self.session_id)

    def call(self, method: str, leaf: str, body: Any = None, **headers: str) -> Any:
        """Use the API with the link's token."""
        used = {"Authorization": f"Bearer {self.token}"} | headers
        if method == "GET":
            return self.at.visitor().get(f"{ACCESS}/{leaf}", headers=used)
        return self.at.visitor().post(f"{ACCESS}/{leaf}", body or {}, content_type="application/json", headers=used)

    def status(self) -> dict[str, Any]:
        """Read where the licence stands."""
        answer = self.call("GET", "status")
        assert answer.status_code == 200, answer.content
        return dict(answer.json())

    def submit(self, username: str, **more: Any) -> Any:
        """Say whom to let in."""
        return self.call("POST", "submit-username", {"github_username": username} | more)

    def invited(self, login: str) -> "Holder":
        """Say whom to let in and have them invited."""
        answer = self.submit(login)
        assert answer.status_code == 200, answer.content
        self.at.work()
        assert self.license.state == "invited", self.license.state
        return self

    def active(self, login: str) -> "Holder":
        """Say whom to let in, have them accept, and have that found out."""
        self.invited(login)
        self.at.org.answer(login)
        assert self.at.poll() == 1
        self.at.work()
        assert self.license.state == "active", self.license.state
        return self

    def page(self, **query: Any) -> Any:
        """Open the page in a browser of one's own."""
        return self.at.visitor().get(PAGE, {"session": self.session_id, "token": self.token} | query)

    def press(self, action: str, **form: Any) -> Any:
        """Send one of the page's forms."""
        return self.at.visitor().post(PAGE, {"session": self.session_id, "token": self.token, "action": action} | form)

    def refund(self) -> None:
        """Have the payment refunded in Stripe's dashboard, and the news come."""
        self.at.shop.api("POST", "refunds", payment_intent=self.license.payment_intent_id)
        self.at.deliver_new()


def create_product(project: Project, code: str = "kit", *, cents: int = 4900, **more: Any) -> LicenseProduct:
    """Put a licence on sale in test mode; `mode`, `currency`, `stripe_price_id` and `lookup_key` are its price's."""
    names = {"mode", "currency", "stripe_price_id", "lookup_key"}
    price = {name: value for name, value in more.items() if name in names}
    fields = {name: value for name, value in more.items() if name not in names}
    defaults = {"name": "Acme Kit", "repository": "acme/kit", "instructions": "Run make."}
    product = LicenseProduct.objects.create(project=project, code=code, **defaults | fields)
    LicenseProductPrice.objects.create(project=project, product=product, amount_cents=cents, **{"mode": "test"} | price)
    return product


def license_in_hand(project: Project) -> License:
    """Have a licence whose invitation has expired, with a key to come: everything that its holder can do succeeds."""
    product = LicenseProduct.objects.for_project(project).filter(code="kit").first() or create_product(
        project, activation_limit=2
    )
    return License.objects.create(
        project=project,
        mode="test",
        product=product,
        email="buyer@example.com",
        stripe_session_id=f"cs_test_{uuid.uuid4().hex}",
        amount_cents=4900,
        currency="usd",
        state="invited",
        revision=1,
        username="mona",
        github_user_id=1,
        purchased_at=Now(),
        username_submitted_at=Now(),
        first_invited_at=Now(),
        invited_at=Now(),
        invitation_ended_as="expired",
        invitation_ended_at=Now(),
    )


def connect_github(project: Project, url: str, mode: str = "test") -> Organization:
    """Connect a project to an organisation of its own, as far as licences need it."""
    org = create_organization(url)
    row = GitHubConnection(project=project, mode=mode, organization=org.login, team_slug=TEAM)
    row.set_token(org.token)
    row.save()
    return org


def open_license_shop(shop: Shop, **product: Any) -> LicenseShop:
    """Sell a licence in a shop that is connected to GitHub."""
    set_webhook_secret(shop.project)
    create_product(shop.project, **product)
    return LicenseShop(shop, connect_github(shop.project, shop.sandbox.url))


def work_off(row: OutboxRow) -> OutboxRow:
    """Lease one row and carry it out, whatever else waits."""
    assert executor_of(row.kind) is not None
    row.lease_token = uuid.uuid4()
    OutboxRow.objects.filter(pk=row.pk).update(status="processing", lease_token=row.lease_token)
    carry_out_row(row)
    row.refresh_from_db()
    return row


def link_of(row: License, purpose: str = "m") -> str:
    """Sign a link as a mail does."""
    return mint_access_token(project_id=row.project_id, license_id=row.pk, purpose=purpose)
