"""What a plan and a price may say: the one place that knows it, for the API, the admin and declared files alike.

Invariant: a limit of 0 gives nothing and null is no limit; neither is ever reached by an odd value, which is refused by name.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from entitlements.models.plans import BudgetDuration, Plan, PlanPrice

INT32_MAX = 2**31 - 1
# What JavaScript and JSON readers keep exactly.
SAFE_INTEGER_MAX = 2**53 - 1
CREDITS_MAX = 1_000_000_000
TRIAL_DAYS_MAX = 730
RANK_MAX = 1_000_000
ALIASES_MAX = 20
FEATURES_MAX = 50
FEATURE_TEXT_CHARS_MAX = 255
AMOUNT_CENTS_MAX = 99_999_999
PLANS_MAX = 100
PRICES_MAX = 100
INTERVALS = tuple(PlanPrice.Interval.values)
DURATIONS = tuple(BudgetDuration.values)
CODE = re.compile(r"[A-Za-z0-9_-]{1,64}")
FEATURE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
CURRENCY = re.compile(r"[a-z]{3}")
# Printable ASCII without spaces: what Stripe's ids and lookup keys are made of.
STRIPE_NAME = re.compile(r"[!-~]+")
# Shown to everybody who looks at the plans, so that a key in the wrong place must not pass.
LOOKS_LIKE_A_KEY = re.compile(r"(sk|rk|pk|ak|whsec)_")


@dataclass(frozen=True)
class Limit:
    """One limit: how large it may be, whether it may be left open, and what it limits."""

    maximum: int
    may_be_null: bool
    about: str


LIMITS: dict[str, Limit] = {
    "credits_per_day": Limit(CREDITS_MAX, False, "Credits granted each UTC day; what is left of them ends with it."),
    "credits_per_period": Limit(CREDITS_MAX, False, "Credits granted once for each paid period."),
    "token_budget": Limit(SAFE_INTEGER_MAX, True, "Tokens for each paid period."),
    "file_size_mb": Limit(INT32_MAX, True, "The largest file, in megabytes."),
    "requests_per_minute": Limit(INT32_MAX, True, "Requests per minute."),
    "tokens_per_minute": Limit(INT32_MAX, True, "Model tokens per minute."),
    "compute_budget_cents": Limit(SAFE_INTEGER_MAX, True, "US cents for model calls per compute_budget_duration."),
}
DURATION = "compute_budget_duration"
LIMIT_NAMES = (*LIMITS, DURATION)
FLAGS = ("internal", "free", "archived")
# What a plan says besides its code.
PLAN_FIELDS = ("name", "aliases", "rank", *FLAGS, "trial_days", "features", *LIMIT_NAMES)


def limits_of(plan: Plan) -> dict[str, Any]:
    """Return a plan's limits by name; null is no limit."""
    return {name: getattr(plan, name) for name in LIMIT_NAMES}


def describe_plan(plan: Plan) -> str:
    """Write in one line what a plan gives, for the page that sells it; empty when it names nothing that people read."""
    facts = [
        (plan.credits_per_day, f"{plan.credits_per_day:,} credits a day"),
        (plan.credits_per_period, f"{plan.credits_per_period:,} credits per period"),
        (plan.token_budget, f"{plan.token_budget or 0:,} tokens per period"),
        (plan.file_size_mb, f"files up to {plan.file_size_mb or 0:,} MB"),
        (plan.requests_per_minute, f"{plan.requests_per_minute or 0:,} requests a minute"),
    ]
    return ", ".join(text for value, text in facts if value)


def problem_of_field(name: str, value: Any) -> str | None:
    """Say what is wrong with a field of a plan and how to mend it; None when nothing is."""
    if name in LIMITS:
        return _problem_of_limit(LIMITS[name], value)
    if name in FLAGS:
        return None if type(value) is bool else "Give true or false."
    if name == "rank":
        return problem_of_number(value, -RANK_MAX, RANK_MAX)
    if name == "trial_days":
        return problem_of_number(value, 0, TRIAL_DAYS_MAX)
    return {
        DURATION: lambda: None if value in DURATIONS else f"Give one of: {', '.join(DURATIONS)}.",
        "code": lambda: problem_of_code(value),
        "name": lambda: problem_of_text(value, 255),
        "aliases": lambda: _problem_of_aliases(value),
        "features": lambda: problem_of_features(value),
    }[name]()


def problem_of_number(value: Any, least: int, most: int) -> str | None:
    """Say what is wrong with a whole number."""
    fits = type(value) is int and least <= value <= most
    return None if fits else f"Give a whole number from {least:,} to {most:,}."


def problem_of_text(value: Any, most: int, *, least: int = 1) -> str | None:
    """Say what is wrong with a line of text."""
    if not isinstance(value, str) or not least <= len(value) <= most or (least and not value.strip()):
        return f"Give a text of {least} to {most} characters."
    return None if _is_plain(value) else "Control characters are not allowed."


def problem_of_code(value: Any) -> str | None:
    """Say what is wrong with a plan's code or alias."""
    fits = isinstance(value, str) and CODE.fullmatch(value)
    return None if fits else "Give 1 to 64 letters, digits, hyphens and underscores."


def problem_of_features(features: Any) -> str | None:
    """Say what is wrong with a plan's features: an object of names to booleans, numbers and short texts."""
    if not isinstance(features, Mapping):
        return 'Give an object of names, such as {"runs": "priority", "export": true}.'
    if len(features) > FEATURES_MAX:
        return f"Give at most {FEATURES_MAX} features."
    for name, value in features.items():
        if not isinstance(name, str) or not FEATURE_NAME.fullmatch(name):
            return "A feature's name begins with a letter and has at most 64 letters, digits, _, . and -."
        if not _is_feature_value(value):
            return f"{name}: give true, false, a number, or a text of at most {FEATURE_TEXT_CHARS_MAX} characters."
    return None


def problem_of_price(name: str, value: Any) -> str | None:
    """Say what is wrong with a field of a price and how to mend it; None when nothing is."""
    if name == "amount_cents":
        wrong = problem_of_number(value, 0, AMOUNT_CENTS_MAX)
        return f"{wrong} It is in the currency's minor unit: 1299 is 12.99 USD." if wrong else None
    if name == "currency":
        fits = isinstance(value, str) and CURRENCY.fullmatch(value)
        return None if fits else "Give three lower-case letters, such as usd."
    if name == "interval":
        return None if value in INTERVALS else f"Give one of: {', '.join(INTERVALS)}."
    if name == "active":
        return None if type(value) is bool else "Give true or false."
    most = 255 if name == "price_id" else 200
    if not isinstance(value, str) or len(value) > most or not STRIPE_NAME.fullmatch(value):
        return f"Give 1 to {most} characters without spaces."
    return "This looks like a key; a price's name is shown to everybody." if LOOKS_LIKE_A_KEY.match(value) else None


def _problem_of_limit(limit: Limit, value: Any) -> str | None:
    if value is None and limit.may_be_null:
        return None
    wrong = problem_of_number(value, 0, limit.maximum)
    if wrong is None:
        return None
    return f"{wrong} 0 gives nothing" + (" and null is no limit." if limit.may_be_null else ".")


def _problem_of_aliases(value: Any) -> str | None:
    if not isinstance(value, list) or any(problem_of_code(alias) for alias in value):
        return 'Give a list of words, each of 1 to 64 letters, digits, hyphens and underscores: ["agency"].'
    if len(value) > ALIASES_MAX:
        return f"Give at most {ALIASES_MAX} aliases."
    return "Name each alias once." if len(set(value)) != len(value) else None


def _is_feature_value(value: Any) -> bool:
    if isinstance(value, bool):
        return True
    if isinstance(value, int):
        return abs(value) <= SAFE_INTEGER_MAX
    if isinstance(value, float):
        return math.isfinite(value)
    return isinstance(value, str) and len(value) <= FEATURE_TEXT_CHARS_MAX and _is_plain(value)


def _is_plain(text: str) -> bool:
    """Say whether a text has no control characters and no lone surrogates, which the database or a page cannot hold."""
    return not any(ord(char) < 32 or 0x7F <= ord(char) < 0xA0 or 0xD800 <= ord(char) <= 0xDFFF for char in text)
