"""What always holds of money, whatever the amounts: totals, discounts, taxes, prorations, refunds, replays."""

from __future__ import annotations

from fractions import Fraction
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sandbox.billing.proration import prorated
from sandbox.billing.totals import Priced, discounted, spread
from tests.sandbox.lives import item_of, latest_invoice, make_customer, switch
from tests.sandbox.stripe_api import Api, create_price, flatten

over_http = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
amounts = st.integers(min_value=50, max_value=500_000)
COUPONS = st.one_of(
    st.builds(lambda percent: {"percent_off": percent, "amount_off": None}, st.integers(1, 100)),
    st.builds(lambda amount: {"percent_off": None, "amount_off": amount}, st.integers(1, 400_000)),
)
MONTH = 31 * 86400


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**7), min_size=1, max_size=6))
def test_an_amount_is_spread_without_loss_and_never_beyond_its_share(amount: int, shares: list[int]) -> None:
    parts = spread(amount, shares)
    assert sum(parts) == (amount if sum(shares) else 0)
    assert all(part == 0 for part, share in zip(parts, shares, strict=True) if share == 0)


@given(
    st.lists(st.tuples(st.integers(-(10**6), 10**6), st.booleans()), min_size=1, max_size=5),
    st.lists(COUPONS, max_size=3),
)
def test_discounts_take_no_line_below_zero(lines: list[tuple[int, bool]], coupons: list[dict[str, Any]]) -> None:
    priced = [Priced(amount, discountable=allowed) for amount, allowed in lines]
    off = discounted(priced, coupons)
    for index, line in enumerate(priced):
        taken = sum(parts[index] for parts in off)
        assert 0 <= taken <= max(line.amount, 0)
        assert line.discountable or taken == 0


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(60, MONTH), st.integers(0, 60))
def test_a_change_and_its_reversal_within_a_minute_net_to_zero(old: int, new: int, left: int, later: int) -> None:
    lines = [
        prorated(-old, left, MONTH),
        prorated(new, left, MONTH),
        prorated(-new, left - later, MONTH),
        prorated(old, left - later, MONTH),
    ]
    # What a minute of the difference is really worth; beyond it only the halves of the four roundings.
    worth = Fraction(abs(new - old) * later, MONTH)
    assert abs(sum(lines)) <= worth + 2
    if later == 0:
        ties = [Fraction(amount * left, MONTH).denominator == 2 for amount in (old, new)]
        # Ties go down on both sides: a half credited and a half charged are one unit apart.
        assert sum(lines) == -sum(ties)


@over_http
@given(
    st.lists(
        st.tuples(amounts, st.integers(1, 5), st.sampled_from(["exclusive", "inclusive"])), min_size=1, max_size=3
    ),
    st.lists(COUPONS, max_size=2),
    st.booleans(),
    st.integers(-5000, 5000),
)
def test_an_invoice_is_its_lines_less_discounts_plus_tax(
    api: Api, lines: list[tuple[int, int, str]], coupons: list[dict[str, Any]], taxed: bool, balance: int
) -> None:
    customer = make_customer(api, address={"country": "DE"}, balance=balance)["id"]
    product = api.post("/v1/products", name="Maker")["id"]
    month = {"interval": "month"}
    prices = [
        api.post("/v1/prices", product=product, currency="usd", unit_amount=a, tax_behavior=b, recurring=month)["id"]
        for a, _, b in lines
    ]
    made = [
        api.post("/v1/coupons", duration="forever", currency="usd" if each["amount_off"] else None, **each)["id"]
        for each in coupons
    ]
    subscription = api.post(
        "/v1/subscriptions",
        customer=customer,
        items=[{"price": price, "quantity": line[1]} for price, line in zip(prices, lines, strict=True)],
        discounts=[{"coupon": each} for each in made],
        automatic_tax={"enabled": taxed},
    )
    invoice = latest_invoice(api, subscription)
    rows = invoice["lines"]["data"]
    assert [row["amount"] for row in rows] == [amount * quantity for amount, quantity, _ in lines]
    off = sum(entry["amount"] for entry in invoice["total_discount_amounts"])
    tax = {"exclusive": 0, "inclusive": 0}
    for entry in invoice["total_taxes"]:
        tax[entry["tax_behavior"]] += entry["amount"]
    assert invoice["subtotal"] == sum(row["amount"] for row in rows)
    assert invoice["total"] == invoice["subtotal"] - off + tax["exclusive"]
    assert invoice["total_excluding_tax"] == invoice["total"] - tax["exclusive"] - tax["inclusive"]
    assert off == sum(entry["amount"] for row in rows for entry in row["discount_amounts"])
    assert sum(tax.values()) == sum(entry["amount"] for row in rows for entry in row["taxes"])
    assert bool(invoice["total_taxes"]) == taxed
    # Nothing is lost between invoice, card and balance.
    assert invoice["total"] + balance == invoice["amount_due"] + invoice["ending_balance"]
    assert invoice["status"] == "paid" and invoice["amount_paid"] == invoice["amount_due"] >= 0
    assert api.get(f"/v1/customers/{customer}")["balance"] == invoice["ending_balance"]
    charged = sum(charge["amount"] for charge in api.get("/v1/charges", customer=customer)["data"])
    assert charged == invoice["amount_paid"]


@over_http
@given(amounts, amounts, st.integers(0, 100), st.one_of(st.none(), st.integers(1, 99)))
def test_a_change_and_its_reversal_at_one_moment_leave_nothing_pending(
    api: Api, old: int, new: int, part: int, percent: int | None
) -> None:
    discounts = []
    if percent:
        discounts = [{"coupon": api.post("/v1/coupons", percent_off=percent, duration="forever")["id"]}]
    first = create_price(api, old)
    customer = make_customer(api)["id"]
    started = api.post("/v1/subscriptions", customer=customer, items=[{"price": first["id"]}], discounts=discounts)
    start, end = item_of(started)["current_period_start"], item_of(started)["current_period_end"]
    at = start + (end - start) * part // 100
    other = create_price(api, new, product=first["product"])
    switch(api, started, other["id"], proration_date=at)
    switch(api, started, first["id"], proration_date=at)
    pending = api.get("/v1/invoiceitems", customer=customer, pending=True)["data"]
    assert len(pending) == 4
    # At most a unit for each pair whose exact amount is a half.
    assert -2 <= sum(item["amount"] for item in pending) <= 0


@over_http
@given(amounts, st.lists(st.integers(1, 600_000), min_size=1, max_size=6))
def test_refunds_never_exceed_their_charge(api: Api, amount: int, wanted: list[int]) -> None:
    paid = api.post("/v1/payment_intents", amount=amount, currency="usd", confirm=True, payment_method="pm_card_visa")
    charge = paid["latest_charge"]
    left = amount
    for each in wanted:
        fits = each <= left
        api.post("/v1/refunds", 200 if fits else 400, charge=charge, amount=each)
        left -= each if fits else 0
    after = api.get(f"/v1/charges/{charge}", expand=["refunds"])
    refunded = sum(refund["amount"] for refund in after["refunds"]["data"])
    assert after["amount_refunded"] == refunded == amount - left <= amount
    assert after["refunded"] == (left == 0)


OPERATIONS = st.one_of(
    st.builds(
        lambda name: ("/v1/customers", {"name": name}),
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=40),
    ),
    st.builds(lambda name: ("/v1/products", {"name": name}), st.text("abc äöü%&=+", min_size=1, max_size=20)),
    st.builds(lambda part: ("/v1/coupons", {"percent_off": part, "duration": "once"}), st.integers(-5, 120)),
    st.builds(
        lambda amount, card: (
            "/v1/payment_intents",
            {"amount": amount, "currency": "usd", "confirm": True, "payment_method": card},
        ),
        st.integers(1, 100_000),
        st.sampled_from(["pm_card_visa", "pm_card_chargeDeclined", "pm_card_authenticationRequired"]),
    ),
    st.builds(lambda amount: ("/v1/setup_intents", {"description": str(amount)}), amounts),
)


@over_http
@given(st.lists(OPERATIONS, min_size=1, max_size=4))
def test_a_replay_is_the_same_to_the_byte_and_does_nothing(
    api: Api, operations: list[tuple[str, dict[str, Any]]]
) -> None:
    for path, params in operations:
        headers = {"Idempotency-Key": str(uuid4()), "Content-Type": "application/x-www-form-urlencoded"}
        body = urlencode(list(flatten(params)))
        first = api.http.post(path, content=body, headers=headers)
        seen = api.get("/v1/events", limit=1)["data"]
        again = api.http.post(path, content=body, headers=headers)
        if first.status_code in (200, 402):
            assert (again.status_code, again.content) == (first.status_code, first.content)
            assert again.headers["Idempotent-Replayed"] == "true"
        else:
            assert again.status_code == first.status_code == 400
        assert api.get("/v1/events", limit=1)["data"] == seen
