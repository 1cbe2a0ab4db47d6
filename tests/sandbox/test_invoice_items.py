"""Invoice items that name a draft are on it at once."""

from __future__ import annotations

from tests.sandbox.lives import event_types, make_customer
from tests.sandbox.stripe_api import Api


def test_an_item_that_names_a_draft_is_a_line_of_it_and_is_charged_with_it(api: Api) -> None:
    customer = make_customer(api)["id"]
    draft = api.post("/v1/invoices", customer=customer, currency="usd")
    span = {"start": 1_760_000_000, "end": 1_762_592_000}
    item = api.post(
        "/v1/invoiceitems", customer=customer, amount=750, currency="usd", invoice=draft["id"], period=span,
        description="Overage", metadata={"charge": "1"},
    )  # fmt: skip
    assert (item["invoice"], item["period"]) == (draft["id"], span)
    held = api.get(f"/v1/invoices/{draft['id']}")
    assert (held["total"], held["amount_due"], held["lines"]["total_count"]) == (750, 750, 1)
    (line,) = held["lines"]["data"]
    assert (line["amount"], line["description"], line["period"], line["metadata"]) == (
        750, "Overage", span, {"charge": "1"},
    )  # fmt: skip
    assert event_types(api)[-2:] == ["invoiceitem.created", "invoice.updated"]
    # It does not wait for another invoice besides.
    other = api.post("/v1/invoices", customer=customer, pending_invoice_items_behavior="include")
    assert other["total"] == 0
    api.post(f"/v1/invoices/{draft['id']}/finalize")
    assert api.post(f"/v1/invoices/{draft['id']}/pay")["amount_paid"] == 750


def test_only_a_draft_of_the_same_customer_and_currency_takes_an_item(api: Api) -> None:
    customer, stranger = make_customer(api)["id"], make_customer(api)["id"]
    draft = api.post("/v1/invoices", customer=customer, currency="usd")["id"]
    wanted = {"customer": customer, "amount": 100, "currency": "usd", "invoice": draft}
    for change, param in (
        ({"customer": stranger}, "invoice"),
        ({"currency": "eur"}, "currency"),
        ({"invoice": "in_nothing"}, "invoice"),
    ):
        assert api.post("/v1/invoiceitems", 400, **wanted | change)["error"]["param"] == param
    api.post(f"/v1/invoices/{draft}/finalize")
    assert api.post("/v1/invoiceitems", 400, **wanted)["error"]["param"] == "invoice"
    assert api.get("/v1/invoiceitems", customer=customer)["data"] == []
