"""Several projects on one Stripe account, their buyers, and everything that may happen to a buyer, in any order.

What happens is done at Stripe by its own API, so that our side learns of it by events alone.
"""

import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from entitlements.models import Plan, PlanPrice
from payments.services.customers import ensure_customer, user_metadata
from payments.webhooks import HANDLERS
from projects.models import EndUser, Project
from tests.cast import AppUser, create_app_user
from tests.payments.actors import create_project
from tests.payments.deliveries import control, keys_were_saved, process_all, send, set_webhook_secret
from tests.payments.rows import create_plan
from tests.payments.shop import Shop, connect_stripe, open_checkout

MAKER, PRO = 1000, 2500
PLANS = {MAKER: "maker", PRO: "pro"}
MODES = ("test", "live")
TRIAL_DAYS = 14
RUNNING = ("active", "past_due", "trialing")
# How somebody's first purchase is made; those after it are made by the app's server.
AT_CHECKOUT: dict[str, dict[str, Any]] = {
    "plain": {},
    "quantity": {"quantity": 3},
    "trial": {"trial": True},
    "code": {},
}
WAYS = ["server", "server", "server", *AT_CHECKOUT]


@dataclass
class Buyer:
    """An end user of one project who pays in one mode and currency, with at most one subscription at a time."""

    world: "World"
    user: AppUser
    mode: str
    currency: str
    way: str
    subscription_id: str = ""
    customer_id: str = ""

    @property
    def project(self) -> Project:
        """The project whose app they use."""
        return self.end_user.project

    @property
    def end_user(self) -> EndUser:
        """Their row with us."""
        return self.user.end_user

    @property
    def path(self) -> str:
        """The subscription's path in the API."""
        return f"subscriptions/{self.subscription_id}"

    @property
    def subscription(self) -> dict[str, Any]:
        """The subscription as Stripe has it; an empty one before the purchase."""
        return self.api("GET", self.path) if self.subscription_id else {"status": "none"}

    def api(self, method: str, path: str, **form: Any) -> dict[str, Any]:
        """Call Stripe's API in the buyer's mode; a refusal fails the test."""
        return self.world.shop.api(method, path, live=self.mode == "live", **form)

    def price(self, amount: int) -> str:
        """Return the price of a plan for this buyer."""
        return self.world.price(self.project, self.mode, self.currency, amount)

    def intents(self, status: str = "succeeded") -> list[dict[str, Any]]:
        """The buyer's payments at Stripe, newest first."""
        found = self.world.objects(self.mode, "payment_intents", customer=self.customer_id) if self.customer_id else []
        return [intent for intent in found if intent["status"] == status]

    def buy(self) -> None:
        """Subscribe, unless a subscription is running."""
        if self.subscription["status"] in (*RUNNING, "incomplete", "unpaid", "paused"):
            return
        if not self.customer_id and self.way in AT_CHECKOUT:
            self._buy_at_checkout()
            return
        if not self.customer_id:
            self.customer_id = ensure_customer(
                project=self.project, mode=self.mode, end_user=self.end_user
            ).stripe_customer_id
        # A card that paid a checkout belongs to that subscription alone, so that a customer has no default yet.
        self.use_card("pm_card_visa")
        metadata = {f"metadata[{key}]": value for key, value in user_metadata(self.project, self.end_user).items()}
        wanted = {"customer": self.customer_id, "items[0][price]": self.price(MAKER)} | metadata
        self.subscription_id = self.api("POST", "subscriptions", **wanted)["id"]

    def _buy_at_checkout(self) -> None:
        """Subscribe on Stripe's page, as the service opens it."""
        more = AT_CHECKOUT[self.way] | ({"promo_code": self._make_code()} if self.way == "code" else {})
        query = f"?test_mode={str(self.mode == 'test').lower()}"
        opened = open_checkout(self.user, self.price(MAKER), query=query, **more)
        paid = self.world.shop.pay(opened["checkout_url"])
        assert paid.status_code == 303, paid.text
        session = self.api("GET", f"checkout/sessions/{opened['session_id']}")
        self.customer_id, self.subscription_id = session["customer"], session["subscription"]

    def _make_code(self) -> str:
        coupon = self.api("POST", "coupons", percent_off=25, duration="once")["id"]
        code = f"SAVE{uuid.uuid4().hex[:8].upper()}"
        promotion = {"promotion[type]": "coupon", "promotion[coupon]": coupon}
        self.api("POST", "promotion_codes", **promotion, code=code)
        return code

    def use_card(self, card: str) -> None:
        """Pay with another card from now on."""
        if self.customer_id:
            method = self.api("POST", f"payment_methods/{card}/attach", customer=self.customer_id)["id"]
            settings = {"invoice_settings[default_payment_method]": method}
            self.api("POST", f"customers/{self.customer_id}", **settings)

    def renew(self) -> None:
        """Pay for the next period."""
        if self.subscription["status"] in ("active", "trialing"):
            control(self.world.shop, f"{self.path}/renew", outcome="paid")

    def fail(self) -> None:
        """Have the card declined at the turn of the period."""
        if self.subscription["status"] in ("active", "past_due"):
            control(self.world.shop, f"{self.path}/renew", outcome="declined")

    def recover(self) -> None:
        """Pay what is open."""
        found = self.subscription
        if found["status"] == "past_due":
            self.api("POST", f"invoices/{found['latest_invoice']}/pay")

    def switch(self) -> None:
        """Change to the other price, billed at once."""
        found = self.subscription
        if found["status"] == "active":
            item = found["items"]["data"][0]
            other = PRO if item["price"]["unit_amount"] == MAKER else MAKER
            change = {"items[0][id]": item["id"], "items[0][price]": self.price(other)}
            self.api("POST", self.path, **change, proration_behavior="always_invoice")

    def end_later(self) -> None:
        """Cancel with the period, or take that back."""
        found = self.subscription
        if found["status"] == "active":
            self.api("POST", self.path, cancel_at_period_end=str(not found["cancel_at_period_end"]).lower())

    def end_now(self) -> None:
        """Cancel at once."""
        if self.subscription["status"] in (*RUNNING, "unpaid"):
            self.api("DELETE", self.path)

    def refund_a_part(self) -> None:
        """Give 1.00 of the newest payment back."""
        self._refund(amount=100)

    def refund_all(self) -> None:
        """Give the rest of the newest payment back."""
        self._refund()

    def _refund(self, **more: Any) -> None:
        for intent in self.intents()[:1]:
            charge = self.api("GET", f"charges/{intent['latest_charge']}")
            if not charge["disputed"] and charge["amount"] - charge["amount_refunded"] >= more.get("amount", 1):
                self.api("POST", "refunds", payment_intent=intent["id"], **more)

    def dispute(self) -> None:
        """Question the newest payment at the bank."""
        for intent in self.intents()[:1]:
            charge = self.api("GET", f"charges/{intent['latest_charge']}")
            if not charge["disputed"] and not charge["amount_refunded"]:
                control(self.world.shop, f"charges/{charge['id']}/dispute")

    def win(self) -> None:
        """Have the bank decide for the shop."""
        self._close("won")

    def lose(self) -> None:
        """Have the bank decide for the buyer."""
        self._close("lost")

    def _close(self, outcome: str) -> None:
        for dispute in self.world.objects(self.mode, "disputes"):
            mine = {intent["id"] for intent in self.intents()}
            if dispute["payment_intent"] in mine and dispute["status"] in ("needs_response", "under_review"):
                control(self.world.shop, f"disputes/{dispute['id']}/close", outcome=outcome)


ACTIONS: dict[str, Callable[[Buyer], None]] = {
    "buy": Buyer.buy, "renew": Buyer.renew, "fail": Buyer.fail, "recover": Buyer.recover, "switch": Buyer.switch,
    "end_later": Buyer.end_later, "end_now": Buyer.end_now, "refund_a_part": Buyer.refund_a_part,
    "refund_all": Buyer.refund_all, "dispute": Buyer.dispute, "win": Buyer.win, "lose": Buyer.lose,
}  # fmt: skip


@dataclass
class World:
    """One Stripe account, the projects that share it, and who buys from them."""

    shop: Shop
    projects: list[Project]
    buyers: list[Buyer] = field(default_factory=list)
    _prices: dict[tuple[str, str, int], str] = field(default_factory=dict)

    def objects(self, mode: str, path: str, **query: Any) -> list[dict[str, Any]]:
        """Read all pages of a list of one mode, newest first."""
        found: list[dict[str, Any]] = []
        while True:
            after = {"starting_after": found[-1]["id"]} if found else {}
            page = self.shop.api("GET", path, live=mode == "live", limit=100, **query, **after)
            found += page["data"]
            if not page["has_more"]:
                return found

    def price(self, project: Project, mode: str, currency: str, amount: int) -> str:
        """Return the price of a plan, made at its first sale; projects that share the account sell by the same prices."""
        key = (mode, currency, amount)
        if key not in self._prices:
            self._prices[key] = self.shop.price(amount, currency=currency, live=mode == "live")
        price_id = self._prices[key]
        plan = Plan.objects.get(project=project, code=PLANS[amount])
        PlanPrice.objects.get_or_create(project=project, mode=mode, stripe_price_id=price_id, defaults={"plan": plan})
        return price_id

    def events(self, mode: str) -> list[dict[str, Any]]:
        """Return every event of the account in one mode that an endpoint gets, oldest first."""
        return [event for event in reversed(self.objects(mode, "events")) if event["type"] in HANDLERS]


def create_world(sandbox: Any, chance: random.Random | None = None) -> World:
    """Make two projects that share one account, and four buyers.

    Two pay one project in one mode in two currencies, one pays it in the other mode, and one pays the other project.
    Without chance the first buyer pays the first project in test mode, in dollars, and everybody by the app's server.
    """
    account = sandbox.create_account("Shared")
    made = [create_project(f"Shop {number}", allowed_origins=["https://app.example"]) for number in range(2)]
    for project in made:
        connect_stripe(project, account)
        for mode in MODES:
            keys_were_saved(project, mode)
            set_webhook_secret(project, mode)
        for code in PLANS.values():
            create_plan(project, code=code, trial_days=TRIAL_DAYS)
    world = World(Shop(made[0], account, sandbox), made)
    one, other = chance.sample(made, 2) if chance else made
    mode, other_mode = chance.sample(MODES, 2) if chance else MODES
    for project, paying, currency in (
        (one, mode, "usd"), (one, other_mode, "eur"), (one, mode, "eur"), (other, mode, "eur"),
    ):  # fmt: skip
        user = create_app_user(project, "buyer")
        world.buyers.append(Buyer(world, user, paying, currency, chance.choice(WAYS) if chance else "server"))
    return world


@dataclass(frozen=True)
class Post:
    """How deliveries go astray: the shares that are lost or come twice, in an order that a seed decides."""

    chance: random.Random
    lost: float = 0.0
    doubled: float = 0.1

    def plan(self, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Say what arrives, in which order."""
        arriving = [event for event in events if self.chance.random() >= self.lost]
        arriving += [event for event in arriving if self.chance.random() < self.doubled]
        self.chance.shuffle(arriving)
        return arriving


def deliver_to_all(world: World, post: Post, mode: str, events: list[dict[str, Any]]) -> None:
    """Deliver events to the endpoint of every project, to each in an order of its own, some of them before others are processed."""
    for project in world.projects:
        arriving = post.plan(events)
        pause = post.chance.randint(0, len(arriving))
        for number, event in enumerate(arriving):
            if number == pause:
                process_all(project)
            answer = send(project, event, mode=mode)
            assert answer.status_code == 200, answer.content
        process_all(project)
