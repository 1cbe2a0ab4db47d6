"""Checkout sessions for subscriptions, one-time payments and cards that are saved, on the hosted page only."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from .. import ids
from ..billing import bank_debits, checkout_setup, lines, recovering, session_invoices, session_totals, sessions
from ..billing.catalog import cost, is_metered
from ..errors import StripeError, invalid, not_simulated, requires
from ..fields import filled, merged_metadata, required, smallest_charge, supported
from ..lookup import referred
from ..lookup import retrieve as find_one
from ..paging import page, page_of
from ..store import Context, Tx
from .customers import existing
from .prices import new_price

Object = dict[str, Any]

CREATABLE = {
    "after_expiration", "allow_promotion_codes", "automatic_tax", "billing_address_collection", "cancel_url", "client_reference_id",
    "consent_collection", "currency", "customer", "customer_creation", "customer_email", "customer_update",
    "discounts", "expires_at", "invoice_creation", "line_items", "locale", "metadata", "mode", "payment_intent_data",
    "payment_method_collection", "payment_method_types", "phone_number_collection", "setup_intent_data",
    "submit_type", "subscription_data", "success_url", "tax_id_collection", "ui_mode",
}  # fmt: skip
SUBSCRIPTION_DATA = {"description", "metadata", "trial_period_days", "trial_settings"}
SETUP_INTENT_DATA = {"description", "metadata"}
# What belongs to a purchase and is refused where none is made.
OF_PURCHASES = (
    "allow_promotion_codes", "automatic_tax", "discounts", "invoice_creation", "line_items", "tax_id_collection",
)  # fmt: skip
PAYMENT_INTENT_DATA = {"description", "metadata", "receipt_email", "setup_future_usage"}
MAX_LINE_ITEMS = {"subscription": 20, "payment": 100}
LIFE_SECONDS = 24 * 3600
SHORTEST_LIFE_SECONDS = 30 * 60


def create(tx: Tx, ctx: Context, params: Object) -> Object:
    """POST /v1/checkout/sessions."""
    supported(params, CREATABLE)
    mode = required(params, "mode")
    _check_switches(params, mode)
    customer = existing(tx, ctx, params["customer"]) if params.get("customer") else None
    if mode == "setup":
        return _create_setup(tx, ctx, params, customer)
    line_items = _line_items(tx, ctx, params.get("line_items") or [], mode)
    if (params.get("automatic_tax") or {}).get("enabled") and customer:
        _check_location(customer, params.get("customer_update") or {})
    if "sepa_debit" in (params.get("payment_method_types") or []):
        bank_debits.check_currency(line_items[0]["currency"])
    session = _session(tx, ctx, params, mode, customer, line_items[0]["currency"])
    private = {
        "line_items": line_items,
        "trial_days": (params.get("subscription_data") or {}).get("trial_period_days"),
        "subscription_data": _with_metadata(params.get("subscription_data")),
        "payment_intent_data": _with_metadata(params.get("payment_intent_data")),
        "discounts": params.get("discounts") or [],
        "customer_update": params.get("customer_update") or {},
    }
    session_totals.total_up(tx, ctx, session, private)
    total = session["amount_total"]
    if mode == "payment" and 0 < total < smallest_charge(session["currency"]):
        raise invalid(
            "The Checkout Session's total amount must convert to at least 50 cents. "
            f"This Checkout Session's total is {total} {line_items[0]['currency']}.",
            code="amount_too_small",
        )
    tx.insert(ctx, session, private)
    tx.schedule(ctx, "checkout.session", session["id"], session["expires_at"])
    return session


def _create_setup(tx: Tx, ctx: Context, params: Object, customer: Object | None) -> Object:
    """Add a session that saves a card; its setup intent is there from the beginning."""
    for name in OF_PURCHASES:
        if params.get(name):
            raise invalid(f"You can not pass `{name}` in `setup` mode.", name)
    if "sepa_debit" in (params.get("payment_method_types") or []):
        raise not_simulated("payment_method_types")
    if not params.get("payment_method_types"):
        required(params, "currency")
    session = _session(tx, ctx, params, "setup", customer, params.get("currency"))
    session |= {
        "amount_subtotal": None,
        "amount_total": None,
        "payment_method_collection": "always",
        "payment_status": "no_payment_required",
        "total_details": None,
    }
    intent = checkout_setup.new_intent(tx, ctx, session, _with_metadata(params.get("setup_intent_data")))
    session["setup_intent"] = intent["id"]
    tx.insert(ctx, session, {"line_items": [], "customer_update": params.get("customer_update") or {}})
    tx.schedule(ctx, "checkout.session", session["id"], session["expires_at"])
    return session


def _with_metadata(data: Object | None) -> Object:
    return {**(data or {}), "metadata": merged_metadata({}, (data or {}).get("metadata"))}


def _check_switches(params: Object, mode: str) -> None:
    """Refuse combinations that Stripe refuses and switches that would do nothing here."""
    if params.get("ui_mode", "hosted_page") != "hosted_page":
        raise not_simulated("ui_mode")
    if params.get("customer") and params.get("customer_email"):
        raise invalid("You may only specify one of these parameters: customer, customer_email.")
    if params.get("customer_creation") and mode == "subscription":
        raise invalid("`customer_creation` can only be used in `payment` and `setup` mode.", "customer_creation")
    if params.get("customer_creation") and params.get("customer"):
        raise invalid("You may only specify one of these parameters: customer, customer_creation.")
    if params.get("subscription_data") and mode != "subscription":
        raise invalid(f"You can not pass `subscription_data` in `{mode}` mode.", "subscription_data")
    if params.get("payment_intent_data") and mode != "payment":
        raise invalid(f"You can not pass `payment_intent_data` in `{mode}` mode.", "payment_intent_data")
    if params.get("setup_intent_data") and mode != "setup":
        raise invalid(f"You can not pass `setup_intent_data` in `{mode}` mode.", "setup_intent_data")
    if params.get("submit_type") and mode != "payment":
        raise invalid("`submit_type` can only be used in `payment` mode.", "submit_type")
    if params.get("payment_method_collection") and mode != "subscription":
        raise invalid("You can only set `payment_method_collection` if there are recurring prices.")
    if any(kind not in ("card", "sepa_debit") for kind in params.get("payment_method_types") or []):
        raise not_simulated("payment_method_types")
    if params.get("discounts") and params.get("allow_promotion_codes"):
        raise invalid(
            "You may only specify one of these parameters: allow_promotion_codes, discounts.", "allow_promotion_codes"
        )
    if len(params.get("discounts") or []) > 1:
        raise invalid("You can only apply one discount to a Checkout Session.", "discounts")
    if params.get("customer_update") and not params.get("customer"):
        raise invalid("`customer_update` can only be used with `customer`.", "customer_update")
    if (params.get("invoice_creation") or {}).get("enabled") and mode != "payment":
        raise invalid("`invoice_creation` can only be used in `payment` mode.", "invoice_creation")
    if params.get("after_expiration") and mode == "setup":
        raise not_simulated("after_expiration")
    _check_questions(params)
    supported(params.get("setup_intent_data") or {}, SETUP_INTENT_DATA, "setup_intent_data")
    supported(params.get("subscription_data") or {}, SUBSCRIPTION_DATA, "subscription_data")
    supported(params.get("payment_intent_data") or {}, PAYMENT_INTENT_DATA, "payment_intent_data")
    for name in ("success_url", "cancel_url"):
        if params.get(name) is not None:
            _check_url(params[name], name)
    required(params, "success_url")


def _check_questions(params: Object) -> None:
    """Refuse what the page cannot ask, or not without leave to write the answer down."""
    wants = params.get("consent_collection") or {}
    supported(wants, {"promotions", "terms_of_service"}, "consent_collection")
    collects = (params.get("tax_id_collection") or {}).get("enabled")
    if collects and params.get("customer") and (params.get("customer_update") or {}).get("name") != "auto":
        raise invalid(
            "Tax ID collection requires updating business name on the customer. To enable tax ID collection for an "
            "existing customer, please set `customer_update[name]` to `auto`."
        )


def _check_location(customer: Object, customer_update: Object) -> None:
    if customer_update.get("address") == "auto" or customer_update.get("shipping") == "auto":
        return
    if not (customer["address"] or {}).get("country"):
        raise invalid(
            "Automatic tax calculation in Checkout requires a valid address on the Customer. Add a valid address to "
            "the Customer or set either `customer_update[address]` to 'auto' or `customer_update[shipping]` to 'auto' "
            "to save the address entered in Checkout to the Customer.",
            code="customer_tax_location_invalid",
        )


def _check_url(url: str, param: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise invalid("Not a valid URL", param, "url_invalid")


def _line_items(tx: Tx, ctx: Context, wanted: list[Object], mode: str) -> list[Object]:
    if not wanted:
        raise requires("line_items")
    if len(wanted) > MAX_LINE_ITEMS[mode]:
        raise invalid(f"You can have at most {MAX_LINE_ITEMS[mode]} line items.", "line_items")
    found = [_line_item(tx, ctx, entry, f"line_items[{index}]") for index, entry in enumerate(wanted)]
    recurring = [item for item in found if item["price"]["recurring"]]
    if mode == "subscription" and not recurring:
        raise invalid("You must provide at least one recurring price in `subscription` mode when using prices.")
    if mode == "payment" and recurring:
        raise invalid(
            "You specified `payment` mode but passed a recurring price. Either switch to `subscription` mode or use "
            "only one-time prices."
        )
    if len({item["currency"] for item in found}) > 1:
        raise invalid("All line items must have the same currency.", "line_items")
    if len({(i["price"]["recurring"]["interval"], i["price"]["recurring"]["interval_count"]) for i in recurring}) > 1:
        raise invalid("All recurring prices of a Checkout Session must have the same interval.", "line_items")
    return found


def _line_item(tx: Tx, ctx: Context, wanted: Object, path: str) -> Object:
    supported(wanted, {"adjustable_quantity", "metadata", "price", "price_data", "quantity"}, path)
    if (wanted.get("adjustable_quantity") or {}).get("enabled"):
        raise not_simulated(f"{path}[adjustable_quantity]")
    if bool(wanted.get("price")) == bool(wanted.get("price_data")):
        raise invalid(f"You must specify either `price` or `price_data` in `{path}`.", path)
    if wanted.get("price"):
        price = referred(tx, ctx, "price", wanted["price"], f"{path}[price]")
        if not price["active"]:
            raise invalid("The price specified is inactive. This field only accepts active prices.", f"{path}[price]")
    else:
        # A price made on the spot is inactive: it cannot be used again.
        price = new_price(tx, ctx, wanted["price_data"], active=False)
    quantity = wanted.get("quantity")
    if is_metered(price) and quantity is not None:
        raise invalid(f"You cannot set the quantity for metered plans. Plan: {price['id']}", f"{path}[quantity]")
    if quantity is None and not is_metered(price):
        raise invalid(f"Quantity is required. Add `quantity` to `{path}`", path)
    if quantity is not None and quantity < 1:
        raise invalid(
            "This value must be greater than or equal to 1.", f"{path}[quantity]", "parameter_invalid_integer"
        )
    amount = cost(tx, ctx, price, quantity)
    return {
        "id": ids.new_id("item"),
        "object": "item",
        "adjustable_quantity": None,
        "amount_discount": 0,
        "amount_subtotal": amount,
        "amount_tax": 0,
        "amount_total": amount,
        "currency": price["currency"],
        "description": lines.product_name(tx, ctx, price),
        "metadata": merged_metadata({}, wanted.get("metadata")),
        "price": price,
        "quantity": quantity,
    }


def _expires_at(ctx: Context, params: Object) -> int:
    wanted = params.get("expires_at")
    if wanted is None:
        return ctx.now + LIFE_SECONDS
    if wanted < ctx.now + SHORTEST_LIFE_SECONDS - 60:
        raise invalid(
            "The `expires_at` timestamp must be at least 30 minutes from Checkout Session creation.", "expires_at"
        )
    if wanted > ctx.now + LIFE_SECONDS + 60:
        raise invalid(
            "The `expires_at` timestamp must be less than 24 hours from Checkout Session creation.", "expires_at"
        )
    return int(wanted)


# What every new session of this sandbox has in common.
BLANK: Object = {
    "object": "checkout.session",
    "after_expiration": None,
    "client_secret": None,
    "collected_information": None,
    "consent": None,
    "consent_collection": None,
    "currency_conversion": None,
    "custom_fields": [],
    "custom_text": {
        "after_submit": None,
        "shipping_address": None,
        "submit": None,
        "terms_of_service_acceptance": None,
    },
    "customer_account": None,
    "discounts": [],
    "integration_identifier": None,
    "invoice": None,
    "managed_payments": {"enabled": False},
    "origin_context": None,
    "payment_intent": None,
    "payment_link": None,
    "payment_method_configuration_details": None,
    "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
    "payment_method_types": ["card"],
    "payment_status": "unpaid",
    "permissions": None,
    "recovered_from": None,
    "saved_payment_method_options": None,
    "setup_intent": None,
    "shipping_address_collection": None,
    "shipping_cost": None,
    "shipping_options": [],
    "status": "open",
    "subscription": None,
    "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
    "ui_mode": "hosted_page",
    "wallet_options": None,
}


def _session(tx: Tx, ctx: Context, params: Object, mode: str, customer: Object | None, currency: str | None) -> Object:
    session_id = ids.new_id("checkout.session", livemode=ctx.livemode)
    payment_creation = params.get("customer_creation") or ("if_required" if not customer else None)
    wants = params.get("consent_collection")
    switched_on = {
        name: bool((params.get(name) or {}).get("enabled"))
        for name in ("automatic_tax", "phone_number_collection", "tax_id_collection")
    }
    return filled(
        BLANK,
        id=session_id,
        after_expiration=recovering.settings(params.get("after_expiration")),
        adaptive_pricing={"enabled": False} if mode == "payment" else None,
        allow_promotion_codes=params.get("allow_promotion_codes"),
        amount_subtotal=0,
        amount_total=0,
        automatic_tax={
            "enabled": switched_on["automatic_tax"],
            "liability": {"type": "self"} if switched_on["automatic_tax"] else None,
            "provider": "stripe" if switched_on["automatic_tax"] else None,
            "status": "complete" if switched_on["automatic_tax"] else None,
        },
        billing_address_collection=params.get("billing_address_collection"),
        cancel_url=params.get("cancel_url"),
        client_reference_id=params.get("client_reference_id"),
        consent_collection={
            "payment_method_reuse_agreement": None,
            "promotions": wants.get("promotions"),
            "terms_of_service": wants.get("terms_of_service"),
        }
        if wants
        else None,
        created=ctx.now,
        currency=currency,
        customer=customer["id"] if customer else None,
        customer_creation=payment_creation if mode != "subscription" else ("always" if not customer else None),
        customer_details=_known_details(params, customer),
        customer_email=params.get("customer_email"),
        expires_at=_expires_at(ctx, params),
        invoice_creation=session_invoices.settings(params.get("invoice_creation")) if mode == "payment" else None,
        livemode=ctx.livemode,
        locale=params.get("locale"),
        metadata=merged_metadata({}, params.get("metadata")),
        mode=mode,
        payment_method_types=params.get("payment_method_types") or ["card"],
        payment_method_collection=params.get("payment_method_collection")
        or ("always" if mode == "subscription" else "if_required"),
        phone_number_collection={"enabled": switched_on["phone_number_collection"]},
        submit_type=params.get("submit_type"),
        success_url=params.get("success_url"),
        tax_id_collection={
            "enabled": switched_on["tax_id_collection"],
            "required": (params.get("tax_id_collection") or {}).get("required", "never"),
        },
        url=f"{tx.store.public_url}/c/pay/{session_id}",
    )


def _known_details(params: Object, customer: Object | None) -> Object | None:
    email = customer["email"] if customer else params.get("customer_email")
    if not email:
        return None
    return {
        "address": None,
        "business_name": None,
        "email": email,
        "individual_name": None,
        "name": None,
        "phone": None,
        "tax_exempt": "none",
        "tax_ids": None,
    }


def retrieve(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/checkout/sessions/{id}."""
    return find_one(tx, ctx, "checkout.session", id)


def update(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/checkout/sessions/{id}: metadata only."""
    supported(params, {"metadata"})
    session = find_one(tx, ctx, "checkout.session", id)
    session["metadata"] = merged_metadata(session["metadata"], params.get("metadata"))
    return tx.save(ctx, session)


def expire(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/checkout/sessions/{id}/expire."""
    session = find_one(tx, ctx, "checkout.session", id)
    if session["status"] != "open":
        raise StripeError(
            'Only Checkout Sessions with a status in ["open"] can be expired. '
            f"This Checkout Session has a status of `{session['status']}`."
        )
    return sessions.expire(tx, ctx, session)


def list_line_items(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/checkout/sessions/{id}/line_items."""
    find_one(tx, ctx, "checkout.session", id)
    items = tx.private(ctx, "checkout.session", id)["line_items"]
    return page_of(items, params, f"/v1/checkout/sessions/{id}/line_items")


def list_all(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/checkout/sessions."""
    supported(
        params,
        {"created", "customer", "customer_details", "limit", "starting_after", "ending_before", "payment_intent",
         "status", "subscription"},
    )  # fmt: skip
    equal = {name: params.get(name) for name in ("customer", "payment_intent", "status", "subscription")}
    equal["customer_details.email"] = (params.get("customer_details") or {}).get("email")
    return page(tx, ctx, "checkout.session", params, "/v1/checkout/sessions", equal)


ROUTES = [
    ("POST", "/v1/checkout/sessions", create),
    ("GET", "/v1/checkout/sessions", list_all),
    ("GET", "/v1/checkout/sessions/{id}", retrieve),
    ("POST", "/v1/checkout/sessions/{id}", update),
    ("POST", "/v1/checkout/sessions/{id}/expire", expire),
    ("GET", "/v1/checkout/sessions/{id}/line_items", list_line_items),
]
