"""What end users and servers send, and what they are answered, besides the shapes in `payments/schema.py`."""

import datetime as dt
from typing import Any

from rest_framework import serializers

from common.clock import from_unix
from common.drf_fields import OneOfField, PlainCharField, PlainEmailField, StrictBooleanField, WholeNumberField
from entitlements.entitlement_bodies import CreditsLeftAnswer, TokensLeftAnswer
from payments.schema import PaymentSerializer, SubscriptionSerializer, moment, text
from payments.services.checkout import PAYMENT, SUBSCRIPTION
from payments.services.objects.subscription_plan import KEPT_PLAN_KEY, KEPT_UNTIL_KEY
from payments.services.portal import FLOWS
from projects.origins import MAX_URL_LENGTH
from projects.serializers import ExternalIdField

# Stripe's limits: https://docs.stripe.com/api/metadata. Six keys are ours.
METADATA_KEYS_MAX = 44
METADATA_NAME_CHARS_MAX = 40
METADATA_VALUE_CHARS_MAX = 500
RESERVED_METADATA = frozenset({"project_id", "end_user_id", "external_user_id", "type", KEPT_PLAN_KEY, KEPT_UNTIL_KEY})
QUANTITY_MAX = 999_999
PROMO_CODE_CHARS_MAX = 500
PROMO_CODE_HELP = (
    "Applied to the page. 400 `promo_code_not_found`, `promo_code_expired` or `promo_code_not_applicable` when it gives "
    "nothing."
)
TRIAL_HELP = (
    "Begin with the plan's trial. 400 `trial_not_available` when it has none, `trial_used` after the user's first one."
)
PRORATION_BEHAVIORS = ["create_prorations", "none", "always_invoice"]
UNIX_MAX = 253_402_300_799
INTERVALS = ["month", "year"]


class MomentField(serializers.DateTimeField):
    """A time: ISO-8601, or Stripe's Unix seconds."""

    def to_internal_value(self, value: Any) -> dt.datetime:
        if type(value) is int and 0 <= value <= UNIX_MAX:
            return from_unix(value) or self.fail("invalid", format="ISO-8601")
        if not isinstance(value, str):
            self.fail("invalid", format="ISO-8601")
        return super().to_internal_value(value)


class MetadataField(serializers.DictField):
    """Texts, numbers and booleans under names, within Stripe's limits. Names that this service uses are left out."""

    default_error_messages = {
        "too_many": f"At most {METADATA_KEYS_MAX} names.",
        "bad_name": f"A name has 1 to {METADATA_NAME_CHARS_MAX} characters, without square brackets.",
        "bad_value": f"A value is a text, number or boolean of at most {METADATA_VALUE_CHARS_MAX} characters.",
    }

    def to_internal_value(self, data: Any) -> dict[str, str]:
        if not isinstance(data, dict):
            self.fail("not_a_dict", input_type=type(data).__name__)
        given = {name: value for name, value in data.items() if name not in RESERVED_METADATA}
        if len(given) > METADATA_KEYS_MAX:
            self.fail("too_many")
        return {self._name(name): self._value(value) for name, value in given.items()}

    def _name(self, name: str) -> str:
        if not 0 < len(name) <= METADATA_NAME_CHARS_MAX or not name.isprintable() or "[" in name or "]" in name:
            self.fail("bad_name")
        return name

    def _value(self, value: Any) -> str:
        shown = str(value).lower() if isinstance(value, bool) else str(value)
        odd = any((ord(char) < 32 and char not in "\t\n\r") or 0xD800 <= ord(char) <= 0xDFFF for char in shown)
        if not isinstance(value, str | int | float) or len(shown) > METADATA_VALUE_CHARS_MAX or odd:
            self.fail("bad_value")
        return shown


def address(**options: Any) -> PlainCharField:
    """Describe an address that a buyer comes back to; whether it is allowed is decided by the project's origins."""
    return PlainCharField(min_length=1, max_length=MAX_URL_LENGTH, **options)


class CheckoutBody(serializers.Serializer[Any]):
    """What to buy: a Stripe price, or one of the project's plans."""

    price_id = PlainCharField(
        required=False, allow_null=True, min_length=1, max_length=255, help_text="Required unless `plan` is given."
    )
    success_url = address(help_text="`{CHECKOUT_SESSION_ID}` is replaced by Stripe.")
    cancel_url = address()
    mode = OneOfField(choices=[SUBSCRIPTION, PAYMENT], default=SUBSCRIPTION)
    quantity = WholeNumberField(default=1, min_value=1, max_value=QUANTITY_MAX)
    metadata = MetadataField(required=False, allow_null=True)
    allow_existing_subscription = StrictBooleanField(default=False)
    plan = PlainCharField(
        required=False, allow_null=True, min_length=1, max_length=64, help_text="A plan's code or alias."
    )
    interval = OneOfField(choices=INTERVALS, default="month", allow_null=True, help_text="With `plan`.")
    promo_code = PlainCharField(
        required=False, allow_null=True, min_length=1, max_length=PROMO_CODE_CHARS_MAX, help_text=PROMO_CODE_HELP
    )
    trial = StrictBooleanField(default=False, allow_null=True, help_text=TRIAL_HELP)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Ask for exactly one of price_id and plan."""
        if not attrs.get("price_id") and not attrs.get("plan"):
            raise serializers.ValidationError({"price_id": ["Give price_id or plan."]}, code="required")
        if attrs.get("price_id") and attrs.get("plan"):
            raise serializers.ValidationError({"plan": ["Give price_id or plan, not both."]})
        return attrs


class CheckoutAnswer(serializers.Serializer[Any]):
    """Where to send the buyer."""

    session_id = serializers.CharField(help_text="Stripe's id (cs_...).")
    checkout_url = serializers.CharField()


class CheckoutStateAnswer(serializers.Serializer[Any]):
    """What became of a checkout session, as Stripe says at this moment."""

    session_id = serializers.CharField()
    status = serializers.ChoiceField(
        choices=["open", "complete", "expired", "failed"],
        help_text="`complete` and `unpaid` while a delayed payment is under way; `failed` when it did not come.",
    )
    payment_status = serializers.ChoiceField(choices=["paid", "unpaid", "no_payment_required"])
    subscription = SubscriptionSerializer(allow_null=True)
    payment = PaymentSerializer(allow_null=True)


class PortalBody(serializers.Serializer[Any]):
    """Where the portal leads back to, and what it opens at."""

    return_url = address()
    flow = OneOfField(choices=list(FLOWS), required=False, allow_null=True)


class PortalAnswer(serializers.Serializer[Any]):
    """Where to send the user. The address is short-lived."""

    portal_url = serializers.CharField()


class CancelBody(serializers.Serializer[Any]):
    """When to cancel, and why."""

    cancel_immediately = StrictBooleanField(default=False)
    reason = PlainCharField(required=False, allow_null=True, allow_blank=True, max_length=500, multiline=True)
    comment = PlainCharField(required=False, allow_null=True, allow_blank=True, max_length=500, multiline=True)


class CancelAnswer(serializers.Serializer[Any]):
    """The subscription after the change."""

    subscription_id = serializers.CharField()
    status = serializers.CharField()
    message = serializers.CharField()
    cancel_at = moment()
    cancelled_at = moment()


class UpdateBody(serializers.Serializer[Any]):
    """The price to move to, or the plan: then the interval that is paid now is kept unless another is given."""

    new_price_id = PlainCharField(
        required=False, allow_null=True, min_length=1, max_length=255, help_text="Required unless `plan` is given."
    )
    plan = PlainCharField(
        required=False, allow_null=True, min_length=1, max_length=64, help_text="A plan's code or alias."
    )
    interval = OneOfField(choices=INTERVALS, required=False, allow_null=True, help_text="With `plan`.")
    proration_behavior = OneOfField(choices=PRORATION_BEHAVIORS, default="create_prorations")
    proration_date = MomentField(required=False, allow_null=True, help_text="ISO-8601, or Unix seconds.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Ask for exactly one of new_price_id and plan."""
        if not attrs.get("new_price_id") and not attrs.get("plan"):
            raise serializers.ValidationError({"new_price_id": ["Give new_price_id or plan."]}, code="required")
        if attrs.get("new_price_id") and attrs.get("plan"):
            raise serializers.ValidationError({"plan": ["Give new_price_id or plan, not both."]})
        return attrs


class PreviewLineAnswer(serializers.Serializer[Any]):
    """One line of the invoice, before taxes that are added to it."""

    description = serializers.CharField()
    amount_cents = serializers.IntegerField()
    proration = serializers.BooleanField(help_text="For a part of a period that was paid or is paid now.")
    period_start = moment()
    period_end = moment()


class PreviewAnswer(serializers.Serializer[Any]):
    """What a change costs. Hand `proration_date` back with update-subscription: it then costs exactly this."""

    subscription_id = serializers.CharField()
    price_id = serializers.CharField()
    currency = serializers.CharField()
    proration_behavior = serializers.CharField()
    proration_date = serializers.DateTimeField()
    amount_due_cents = serializers.IntegerField(help_text="Charged by the change itself.")
    credit_cents = serializers.IntegerField(help_text="Kept for later invoices, when the change gives money back.")
    subtotal_cents = serializers.IntegerField(
        help_text="This and the following are of the invoice that bills the change."
    )
    discount_cents = serializers.IntegerField()
    tax_cents = serializers.IntegerField()
    total_cents = serializers.IntegerField()
    next_invoice_cents = serializers.IntegerField(
        allow_null=True, help_text="What the next invoice will charge, when the change is billed with that one."
    )
    next_invoice_at = moment()
    lines = PreviewLineAnswer(many=True)
    message = serializers.CharField()


class UpdateAnswer(serializers.Serializer[Any]):
    """The subscription after the change."""

    subscription_id = serializers.CharField()
    status = serializers.CharField()
    price_id = serializers.CharField()
    message = serializers.CharField()


class ServerCheckoutBody(serializers.Serializer[Any]):
    """Who buys which tier. Addresses that are left out come from the project's defaults."""

    user_id = ExternalIdField(help_text="The app's own id for the user.")
    email = PlainEmailField()
    tier = PlainCharField(min_length=1, max_length=64, help_text="A plan's code or alias.")
    interval = OneOfField(choices=INTERVALS, default="month", allow_null=True)
    promo_code = PlainCharField(
        required=False, allow_null=True, min_length=1, max_length=PROMO_CODE_CHARS_MAX, help_text=PROMO_CODE_HELP
    )
    trial = StrictBooleanField(default=False, allow_null=True, help_text=TRIAL_HELP)
    success_url = address(required=False, allow_null=True)
    cancel_url = address(required=False, allow_null=True)


class ServerPortalBody(serializers.Serializer[Any]):
    """Whose portal to open."""

    user_id = ExternalIdField(help_text="The app's own id for the user.")
    return_url = address(required=False, allow_null=True)


class StatusAnswer(serializers.Serializer[Any]):
    """What a user of the app is on. A user who never paid is on the free tier."""

    app_id = serializers.CharField(help_text="The project's slug.")
    user_id = serializers.CharField(help_text="The app's own id for the user.")
    tier = serializers.CharField(help_text="The plan's code; `free` when the user is on none.")
    stripe_customer_id = text()
    stripe_subscription_id = text()
    plan_active = serializers.BooleanField()
    plan_expires = moment()
    current_period_end = moment()
    credits = CreditsLeftAnswer()
    token_budget = TokensLeftAnswer()
