"""What the control page's buttons do to an object. Each is one call, offered only where it makes sense.

Invariant: a button does nothing that Stripe's API or a switch of `control.py` could not do; it runs through the same
handlers, so its events and errors are theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .. import delivery
from ..billing import delayed, disputes, refunding, renewals, tax_ids
from ..dispatch import Router
from ..errors import StripeError
from ..events import Journal
from ..resources import invoices, payment_intents, payment_methods, prices, setup_intents
from ..store import Context, Store, Tx
from ..timeline import at_time_of

Object = dict[str, Any]
DUPLICATES = 5
DAY = 86400


@dataclass(frozen=True)
class Field:
    """What a button asks for first."""

    name: str
    label: str
    kind: str = "text"
    hint: str = ""


@dataclass(frozen=True)
class Call:
    """All that an action needs: the transaction, whose object it is, and what was typed."""

    router: Router
    tx: Tx
    ctx: Context
    obj: Object
    fields: dict[str, str]

    def api(self, method: str, path: str, **params: Any) -> Object:
        """Call an operation of Stripe's API in this transaction."""
        match = self.router.match(method, path)
        answer: Object = match.handler(self.tx, self.ctx, params, **match.path_params)
        return answer

    def number(self, name: str) -> int | None:
        """Read a whole number that may be left out. Raises: StripeError 400."""
        text = self.fields.get(name, "").strip()
        if not text:
            return None
        if not text.isdigit():
            raise StripeError(f"{name} must be a whole number.")
        return int(text)


@dataclass(frozen=True)
class Action:
    """One button: on which objects, when, and what it does."""

    name: str
    label: str
    object_type: str
    run: Callable[[Call], Object]
    when: Callable[[Object], bool] = lambda obj: True
    fields: tuple[Field, ...] = ()
    is_grave: bool = False


def _status(*wanted: str) -> Callable[[Object], bool]:
    return lambda obj: obj.get("status") in wanted


def _renew(outcome: str) -> Callable[[Call], Object]:
    return lambda call: renewals.renew(call.tx, call.ctx, call.obj["id"], outcome=outcome)


def _post(path: str, **params: Any) -> Callable[[Call], Object]:
    return lambda call: call.api("POST", path.format(id=call.obj["id"]), **params)


def _refund(call: Call) -> Object:
    amount = call.number("amount")
    return call.api("POST", "/v1/refunds", charge=call.obj["id"], **({} if amount is None else {"amount": amount}))


def _authenticate(success: bool) -> Callable[[Call], Object]:
    return lambda call: payment_intents.authenticate(call.tx, call.ctx, call.obj["id"], success=success)


def _roll(call: Call) -> Object:
    return {**call.obj, "secret": delivery.roll_secret(call.tx, call.ctx, call.obj["id"])}


def _resend(times: int) -> Callable[[Call], Object]:
    def run(call: Call) -> Object:
        for _ in range(times):
            delivery.resend(call.tx, call.ctx, call.obj["id"])
        return call.obj

    return run


def _dispute(*, inquiry: bool) -> Callable[[Call], Object]:
    def run(call: Call) -> Object:
        journal = Journal()
        made = disputes.open_dispute(call.tx, call.ctx, journal, call.obj, reason="fraudulent", inquiry=inquiry)
        journal.release(call.tx, call.ctx)
        return made

    return run


def _close_dispute(*, won: bool) -> Callable[[Call], Object]:
    def run(call: Call) -> Object:
        journal = Journal()
        disputes.close(call.tx, call.ctx, journal, call.obj, won=won)
        journal.release(call.tx, call.ctx)
        return call.obj

    return run


def _warn(call: Call) -> Object:
    journal = Journal()
    warning = disputes.warn(call.tx, call.ctx, journal, call.obj)
    journal.release(call.tx, call.ctx)
    return warning


def _settle_refund(*, failed: bool) -> Callable[[Call], Object]:
    return lambda call: refunding.settle(call.tx, call.ctx, call.obj["id"], failed=failed)


def _is_disputable(obj: Object) -> bool:
    return bool(obj["paid"]) and not obj["disputed"]


def _settle_debit(*, failed: bool) -> Callable[[Call], Object]:
    return lambda call: delayed.settle(call.tx, call.ctx, call.obj, failed=failed)


def _on_object(operation: Callable[[Tx, Context, Object], Object]) -> Callable[[Call], Object]:
    return lambda call: operation(call.tx, call.ctx, call.obj)


def _authenticate_setup(success: bool) -> Callable[[Call], Object]:
    return lambda call: setup_intents.authenticate(call.tx, call.ctx, call.obj["id"], success=success)


def _verify(outcome: str) -> Callable[[Call], Object]:
    return lambda call: tax_ids.settle(call.tx, call.ctx, call.obj, outcome)


def _is_card(obj: Object) -> bool:
    return bool(obj["type"] == "card" and obj["customer"])


def _verifies(outcome: str) -> Callable[[Object], bool]:
    return lambda obj: obj["verification"]["status"] not in (outcome, "unavailable")


DISPUTE_OPEN = _status("needs_response", "under_review", "warning_needs_response", "warning_under_review")
RENEWABLE = _status("active", "trialing", "past_due", "unpaid")
ACTIONS = [
    Action("renew", "Renew, paid", "subscription", _renew("paid"), RENEWABLE),
    Action("renew_by_card", "Renew, as its card does", "subscription", _renew("card"), RENEWABLE),
    Action("fail_renewal", "Fail its renewal", "subscription", _renew("declined"), RENEWABLE),
    Action(
        "cancel_at_period_end",
        "Cancel at the end of the period",
        "subscription",
        _post("/v1/subscriptions/{id}", cancel_at_period_end=True),
        lambda obj: RENEWABLE(obj) and not obj["cancel_at"],
    ),
    Action(
        "keep",
        "Undo the cancellation",
        "subscription",
        _post("/v1/subscriptions/{id}", cancel_at_period_end=False),
        lambda obj: RENEWABLE(obj) and bool(obj["cancel_at_period_end"]),
    ),
    Action(
        "end_trial",
        "End its trial now",
        "subscription",
        _post("/v1/subscriptions/{id}", trial_end="now"),
        _status("trialing"),
    ),
    Action(
        "pause",
        "Pause",
        "subscription",
        lambda call: renewals.pause(call.tx, call.ctx, call.obj["id"]),
        _status("active", "trialing"),
    ),
    Action(
        "resume",
        "Resume",
        "subscription",
        lambda call: renewals.resume(call.tx, call.ctx, call.obj["id"]),
        _status("paused"),
    ),
    Action(
        "expire",
        "Let its 23 hours pass",
        "subscription",
        lambda call: renewals.expire(call.tx, call.ctx, call.obj["id"]),
        _status("incomplete"),
    ),
    Action(
        "cancel",
        "Cancel now",
        "subscription",
        lambda call: call.api("DELETE", f"/v1/subscriptions/{call.obj['id']}"),
        _status("active", "trialing", "past_due", "unpaid", "paused", "incomplete"),
        is_grave=True,
    ),
    Action(
        "refund",
        "Refund",
        "charge",
        _refund,
        lambda obj: bool(obj["paid"]) and not obj["refunded"],
        (Field("amount", "Amount in minor units", "number", "Empty: all that is left."),),
    ),
    Action("dispute", "Dispute it", "charge", _dispute(inquiry=False), _is_disputable, is_grave=True),
    Action("inquire", "Ask about it (inquiry)", "charge", _dispute(inquiry=True), _is_disputable),
    Action("warn", "Warn of fraud", "charge", _warn, lambda obj: bool(obj["paid"])),
    Action("win", "Decide for the merchant", "dispute", _close_dispute(won=True), DISPUTE_OPEN),
    Action("lose", "Decide for the cardholder", "dispute", _close_dispute(won=False), DISPUTE_OPEN, is_grave=True),
    Action("settle", "Let it succeed", "refund", _settle_refund(failed=False), _status("pending")),
    Action("fail", "Let it fail", "refund", _settle_refund(failed=True), _status("pending", "succeeded")),
    Action("pay", "Pay", "invoice", _post("/v1/invoices/{id}/pay"), _status("open")),
    Action("finalize", "Finalize", "invoice", _post("/v1/invoices/{id}/finalize"), _status("draft")),
    Action(
        "fail_finalization",
        "Fail its finalization",
        "invoice",
        _on_object(invoices.fail_finalization),
        _status("draft"),
        is_grave=True,
    ),
    Action(
        "mark_uncollectible",
        "Give it up as uncollectible",
        "invoice",
        _post("/v1/invoices/{id}/mark_uncollectible"),
        _status("open"),
        is_grave=True,
    ),
    Action("void", "Void", "invoice", _post("/v1/invoices/{id}/void"), _status("open"), is_grave=True),
    Action("authenticate", "Authenticate", "payment_intent", _authenticate(True), _status("requires_action")),
    Action(
        "fail_authentication",
        "Fail the authentication",
        "payment_intent",
        _authenticate(False),
        _status("requires_action"),
    ),
    Action("authenticate", "Authenticate", "setup_intent", _authenticate_setup(True), _status("requires_action")),
    Action(
        "fail_authentication",
        "Fail the authentication",
        "setup_intent",
        _authenticate_setup(False),
        _status("requires_action"),
    ),
    Action(
        "expire_soon", "Let it expire this month", "payment_method", _on_object(payment_methods.expire_soon), _is_card
    ),
    Action("expire", "Let its last month be over", "payment_method", _on_object(payment_methods.expire), _is_card),
    Action("renew", "Let the network replace it", "payment_method", _on_object(payment_methods.renew), _is_card),
    Action(
        "detach",
        "Detach",
        "payment_method",
        _post("/v1/payment_methods/{id}/detach"),
        lambda obj: bool(obj["customer"]),
        is_grave=True,
    ),
    Action("verify", "Verify it", "tax_id", _verify("verified"), _verifies("verified")),
    Action("refuse", "Find it wrong", "tax_id", _verify("unverified"), _verifies("unverified"), is_grave=True),
    Action("delete", "Delete (as the Dashboard may)", "price", _on_object(prices.remove), is_grave=True),
    Action("settle", "Let the debit be paid", "payment_intent", _settle_debit(failed=False), _status("processing")),
    Action("fail", "Let the debit fail", "payment_intent", _settle_debit(failed=True), _status("processing")),
    Action("expire", "Expire", "checkout.session", _post("/v1/checkout/sessions/{id}/expire"), _status("open")),
    Action("roll", "Roll its secret", "webhook_endpoint", _roll, is_grave=True),
    Action(
        "disable",
        "Disable",
        "webhook_endpoint",
        _post("/v1/webhook_endpoints/{id}", disabled=True),
        _status("enabled"),
    ),
    Action(
        "enable",
        "Enable",
        "webhook_endpoint",
        _post("/v1/webhook_endpoints/{id}", disabled=False),
        _status("disabled"),
    ),
    Action("resend", "Send again", "event", _resend(1)),
    Action("duplicate", f"Send {DUPLICATES} times at once", "event", _resend(DUPLICATES)),
]


def offered(obj: Object) -> list[Action]:
    """List the buttons that make sense for an object as it is."""
    return [action for action in ACTIONS if action.object_type == obj["object"] and action.when(obj)]


def carry_out(
    store: Store, router: Router, ctx: Context, object_type: str, object_id: str, name: str, fields: dict[str, str]
) -> Object:
    """Press a button. Raises: StripeError (404 unknown object or button, else what the operation refuses with)."""
    refusal: StripeError | None = None
    result: Object = {}
    with store.transaction() as tx:
        obj = tx.get(ctx, object_type, object_id)
        if obj is None:
            raise StripeError(f"No such {object_type}: {object_id}", http_status=404)
        found = next((action for action in offered(obj) if action.name == name), None)
        if found is None:
            raise StripeError(f"{name} is not possible for {object_id} as it is now.", http_status=409)
        try:
            result = found.run(Call(router, tx, at_time_of(tx, ctx, obj), obj, fields))
        except StripeError as error:
            # A declined payment leaves its traces, as it does behind the API.
            if not error.keep_effects:
                raise
            refusal = error
    if refusal:
        raise refusal
    return result
