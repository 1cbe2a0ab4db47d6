"""What stands in answers and keys, in words for people who read neither."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from common.money import money_text

KINDS = {
    "mail": "Mail",
    "license_mail": "Mail",
    "alert": "Alert",
    "alert_webhook": "Alert",
    "app_event": "Told the app",
    "litellm": "Limits at LiteLLM",
    "github_invite": "Invitation at GitHub",
    "github_remove": "Removal at GitHub",
}
BUCKETS = {
    "bonus": "bonus",
    "purchased": "bought",
    "plan_daily": "of the plan, each day",
    "plan_periodic": "of the plan, each period",
}
WORD = re.compile(r"[a-z][a-z_.]*[a-z]")


def effect_in_words(kind: str, key: str) -> tuple[str, str]:
    """Split an effect's key into what people read and the rest: mail:receipt:pi_1 is ("Mail: receipt", "pi_1")."""
    _, _, rest = key.partition(":")
    what, _, about = rest.partition(":")
    name = KINDS.get(kind, kind.replace("_", " ").capitalize())
    if not WORD.fullmatch(what):
        return name, rest
    return f"{name}: {what if kind == 'app_event' else what.replace('_', ' ')}", about


def buckets_in_words(buckets: Mapping[str, int]) -> list[str]:
    """Name the credits of each bucket that holds any."""
    return [f"{held:,} {BUCKETS.get(name, name)}" for name, held in buckets.items() if held]


def answers_in_words(answers: Sequence[tuple[str, Any, bool]]) -> list[tuple[str, list[str]]]:
    """Say what a user's app is answered: subscription, entitlements, credits and payments, in this order."""
    titles = ("Subscription", "What the plan allows", "Credits", "Newest payments")
    tellers = (_subscription, _entitlements, _credits, _payments)
    return [
        (title, [f"Refused: {body['detail']}"] if refused else tell(body))
        for title, tell, (_, body, refused) in zip(titles, tellers, answers, strict=True)
    ]


def _subscription(body: Any) -> list[str]:
    if body is None:
        return ["None."]
    end = "ends" if body["cancel_at_period_end"] or body["cancel_at"] else "renews"
    until = f", {end} {_time(body['current_period_end'])}" if body["current_period_end"] else ""
    plan = body["plan_name"] or f"a price without a plan ({body['price_id']})"
    return [f"{plan}: {body['status']}{until}"]


def _entitlements(body: Any) -> list[str]:
    until = f", until {_time(body['plan_expires'])}" if body["plan_expires"] else ""
    lines = [f"{body['plan_name'] or 'No plan'} ({'active' if body['plan_active'] else 'not active'}{until})"]
    lines += [
        f"{name.replace('_', ' ')}: {'yes' if value is True else value}"
        for name, value in {**body["features"], **body["limits"]}.items()
        if value not in (None, False, 0, "")
        and (name != "compute_budget_duration" or body["limits"]["compute_budget_cents"])
    ]
    return lines


def _credits(body: Any) -> list[str]:
    owed = [f"{body['debt']:,} owed"] if body["debt"] else []
    return [f"{body['available']:,} can be spent", *buckets_in_words(body["buckets"]), *owed]


def _payments(body: Any) -> list[str]:
    lines = []
    for one in body:
        back = f", {money_text(one['refunded_amount_cents'], one['currency'])} given back"
        lines.append(
            f"{_time(one['created_at'])}: {money_text(one['amount_cents'], one['currency'])}, "
            f"{one['status'].replace('_', ' ')}{back if one['refunded_amount_cents'] else ''}"
            f"{', disputed' if one['disputed'] else ''} – {one['description'] or one['payment_intent_id']}"
        )
    return lines or ["None."]


def _time(text: str) -> str:
    return f"{text[:10]} {text[11:16]} UTC"
