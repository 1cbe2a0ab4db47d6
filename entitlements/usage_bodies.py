"""What the endpoints of usage are sent and what they answer. Quantities are exact: texts in answers, never floats."""

import datetime as dt
import json
import re
from decimal import Decimal
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from common.clock import from_unix
from common.drf_fields import PlainCharField
from entitlements.services.usage import BATCH_MAX
from projects.serializers import ExternalIdField

QUANTITY = re.compile(r"[0-9]{1,12}(\.[0-9]{1,6})?", re.ASCII)
UNIX_MAX = 253_402_300_799
KEY_CHARS_MAX = 255
METADATA_NAMES_MAX = 20
METADATA_CHARS_MAX = 2000
METADATA_DEPTH_MAX = 20
USER_ID_HELP = "The app's own id for the user. A server must name it; an end user's token may name itself only."
EXACT = "An exact number as a text."


@extend_schema_field({"oneOf": [{"type": "string", "pattern": "^[0-9]{1,12}(\\.[0-9]{1,6})?$"}, {"type": "integer"}]})
class QuantityField(serializers.Field[Decimal, Any, Any, Any]):
    """A quantity above zero: a JSON integer, or a text with at most six decimals. A float is not exact, and refused."""

    default_error_messages = {
        "not_exact": 'Give an integer, or a text like "0.25" with at most 12 digits before the point and 6 behind it.',
        "not_positive": "Give more than zero.",
    }

    def to_internal_value(self, data: Any) -> Decimal:
        if isinstance(data, bool) or not isinstance(data, int | str) or len(str(data)[:40]) > 19:
            self.fail("not_exact")
        if isinstance(data, int) and data <= 0:
            self.fail("not_positive")
        if not QUANTITY.fullmatch(str(data)):
            self.fail("not_exact")
        quantity = Decimal(data)
        if quantity <= 0:
            self.fail("not_positive")
        return quantity

    def to_representation(self, value: Any) -> Any:
        return str(value)


@extend_schema_field({"oneOf": [{"type": "string", "format": "date-time"}, {"type": "integer"}]})
class WhenField(serializers.DateTimeField):
    """A time: ISO-8601 with its offset, or Unix seconds."""

    default_error_messages = {"no_offset": "Give an offset from UTC, such as Z."}

    def to_internal_value(self, value: Any) -> dt.datetime:
        if type(value) is int and 0 <= value <= UNIX_MAX:
            return from_unix(value) or self.fail("invalid", format="ISO-8601")
        if not isinstance(value, str):
            self.fail("invalid", format="ISO-8601")
        return super().to_internal_value(value)

    def enforce_timezone(self, value: dt.datetime) -> dt.datetime:
        """Refuse a time of no place instead of guessing one."""
        if value.tzinfo is None:
            self.fail("no_offset")
        return value


@extend_schema_field({"type": "object", "additionalProperties": True})
class NotesField(serializers.Field[dict[str, Any], Any, Any, Any]):
    """A JSON object that is only kept: at most 20 names and 2,000 characters, nested no deeper than pages can read it back."""

    default_error_messages = {
        "not_an_object": "Give a JSON object.",
        "too_large": f"At most {METADATA_NAMES_MAX} names and {METADATA_CHARS_MAX} characters.",
        "odd": "Control characters are not allowed.",
        "too_deep": f"Nest at most {METADATA_DEPTH_MAX} objects and lists in each other.",
    }

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail("not_an_object")
        if _is_deeper(data, METADATA_DEPTH_MAX):
            self.fail("too_deep")
        try:
            text = json.dumps(data, ensure_ascii=False, allow_nan=False)
        except (ValueError, RecursionError):
            self.fail("too_large")
        if len(data) > METADATA_NAMES_MAX or len(text) > METADATA_CHARS_MAX:
            self.fail("too_large")
        # What PostgreSQL cannot hold: NUL, and halves of characters.
        if "\\u0000" in text or any(0xD800 <= ord(char) <= 0xDFFF for char in text):
            self.fail("odd")
        return dict(data)

    def to_representation(self, value: Any) -> Any:
        return value


def _is_deeper(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return any(_is_deeper(one, levels - 1) for one in inner) if levels else isinstance(value, dict | list)


def _key(**options: Any) -> PlainCharField:
    return PlainCharField(
        min_length=1,
        max_length=KEY_CHARS_MAX,
        trim_whitespace=False,
        help_text="Yours for this event: it counts once per project and mode, however often it is sent.",
        **options,
    )


def _meter(**options: Any) -> PlainCharField:
    return PlainCharField(min_length=1, max_length=64, help_text="A meter's code.", **options)


class UsageEventBody(serializers.Serializer[Any]):
    """One report of usage."""

    meter = _meter()
    quantity = QuantityField(default=Decimal(1))
    idempotency_key = _key()
    timestamp = WhenField(
        required=False, allow_null=True, help_text="When it happened, at most 35 days ago; now unless given."
    )
    metadata = NotesField(required=False)


ONE_EVENT = ("meter", "quantity", "idempotency_key", "timestamp", "metadata")


class UsageEventsBody(serializers.Serializer[Any]):
    """One report of a user's usage, or up to 1,000 in `events`: all of them are counted, or none."""

    user_id = ExternalIdField(required=False, allow_null=True, help_text=USER_ID_HELP)
    events = serializers.ListField(
        child=UsageEventBody(), required=False, min_length=1, max_length=BATCH_MAX, help_text="Instead of a single one."
    )
    meter = _meter(required=False)
    quantity = QuantityField(required=False)
    idempotency_key = _key(required=False)
    timestamp = WhenField(required=False, allow_null=True)
    metadata = NotesField(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Ask for one event or for `events`."""
        single = [name for name in ONE_EVENT if name in attrs]
        if "events" in attrs and single:
            raise serializers.ValidationError({single[0]: ["Give events, or one event's fields, not both."]})
        if "events" not in attrs:
            for name in ("meter", "idempotency_key"):
                if name not in attrs:
                    raise serializers.ValidationError({name: ["This field is required."]}, code="required")
        return attrs


class UsageOutcomeAnswer(serializers.Serializer[Any]):
    """What became of one report."""

    idempotency_key = serializers.CharField()
    status = serializers.ChoiceField(choices=["accepted", "duplicate"])
    late = serializers.BooleanField(
        help_text="It happened before the running period, whose predecessor is billed: it counts in the running one."
    )
    differs = serializers.BooleanField(
        help_text="The key was used before for another user, meter or quantity, which is what counts."
    )


class UsageEventsAnswer(serializers.Serializer[Any]):
    """What was counted."""

    accepted = serializers.IntegerField()
    duplicates = serializers.IntegerField(help_text="Keys that were used before: they count nothing again.")
    events = UsageOutcomeAnswer(many=True)


class CanExecuteBody(serializers.Serializer[Any]):
    """What somebody is about to use."""

    user_id = ExternalIdField(required=False, allow_null=True, help_text=USER_ID_HELP)
    meter = _meter()
    quantity = QuantityField(default=Decimal(1))


class WarningAnswer(serializers.Serializer[Any]):
    """A mark that would be reached."""

    code = serializers.ChoiceField(choices=["quota_80", "quota_95", "quota_exceeded"])
    message = serializers.CharField()


def _exact(help_text: str = EXACT, **options: Any) -> serializers.CharField:
    return serializers.CharField(help_text=help_text, **options)


class CanExecuteAnswer(serializers.Serializer[Any]):
    """Whether they may. Nothing is counted or kept back by asking."""

    allowed = serializers.BooleanField()
    reason = serializers.ChoiceField(choices=["quota_exceeded"], allow_null=True)
    meter = serializers.CharField()
    quantity = _exact()
    used = _exact("So far in this period.")
    included = _exact("What the plan includes; null without a limit.", allow_null=True)
    remaining = _exact(allow_null=True)
    percent = serializers.FloatField(allow_null=True, help_text="Used with this, of what is included; rounded down.")
    block_at_percent = serializers.IntegerField(
        allow_null=True, help_text="Beyond it nothing is allowed; null = never."
    )
    warnings = WarningAnswer(many=True)
    overage = _exact("Beyond what is included, with this.")
    overage_amount_cents = serializers.IntegerField(help_text="What that will be billed with.")
    currency = serializers.CharField()
    period_end = serializers.DateTimeField()


class MeterUsageAnswer(serializers.Serializer[Any]):
    """One meter in the running period."""

    meter = serializers.CharField()
    name = serializers.CharField()
    unit = serializers.CharField(help_text="What one is.")
    used = _exact()
    included = _exact("null without a limit.", allow_null=True)
    remaining = _exact(allow_null=True)
    percent = serializers.FloatField(allow_null=True)
    block_at_percent = serializers.IntegerField(allow_null=True)
    warning_percent = serializers.IntegerField(allow_null=True, help_text="80 or 95 once that is reached.")
    blocked = serializers.BooleanField(help_text="Further use is refused.")
    overage = _exact("Beyond what is included.")
    unit_amount = _exact("What one beyond costs, in minor units: 0.006 cents are 0.06 dollars a thousand.")
    overage_amount_cents = serializers.IntegerField(help_text="What will be billed for it, as it stands.")
    currency = serializers.CharField()
    late = _exact("How much of it was reported after its own period was billed.")
    billed_as = serializers.ChoiceField(choices=["invoice_item", "meter_event"])


class AmountAnswer(serializers.Serializer[Any]):
    """An amount in one currency."""

    currency = serializers.CharField()
    amount_cents = serializers.IntegerField()


class UsageChargeAnswer(serializers.Serializer[Any]):
    """What an earlier period's usage of one meter costs."""

    period_start = serializers.DateTimeField()
    period_end = serializers.DateTimeField()
    meter = serializers.CharField()
    used = _exact()
    included = _exact()
    overage = _exact()
    unit_amount = _exact()
    amount_cents = serializers.IntegerField()
    currency = serializers.CharField()
    status = serializers.ChoiceField(choices=["pending", "billed", "waived"])
    billed_as = serializers.ChoiceField(choices=["invoice_item", "meter_event"])
    invoice_id = serializers.CharField(allow_null=True)
    note = serializers.CharField(allow_null=True)


class UsageSummaryAnswer(serializers.Serializer[Any]):
    """Where a user is in the running period, before it is billed, and what earlier ones cost."""

    plan = serializers.CharField(allow_null=True, help_text="The code of the plan whose quotas count.")
    period_start = serializers.DateTimeField()
    period_end = serializers.DateTimeField()
    billable = serializers.BooleanField(help_text="Whether a subscription pays for what goes beyond.")
    meters = MeterUsageAnswer(many=True)
    overage_totals = AmountAnswer(many=True)
    charges = UsageChargeAnswer(many=True)
