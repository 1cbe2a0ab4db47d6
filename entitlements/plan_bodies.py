"""The shapes of plans and their prices, for requests, answers and the OpenAPI document."""

from collections.abc import Mapping
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from common.drf_fields import OneOfField, PlainCharField, StrictBooleanField, WholeNumberField
from common.modes import TEST
from entitlements.models import Plan, PlanPrice
from entitlements.services.plan_fields import (
    AMOUNT_CENTS_MAX,
    DURATION,
    DURATIONS,
    FEATURES_MAX,
    INTERVALS,
    LIMITS,
    RANK_MAX,
    TRIAL_DAYS_MAX,
    limits_of,
    problem_of_code,
    problem_of_features,
)

FEATURES_HINT = (
    "What the app may switch on, by name: true, false, a number or a short text. The whole object is replaced."
)
LIMITS_HINT = "0 gives nothing at all; null is no limit."
PRICE_ID_HINT = "Stripe's price (price_...). Without it and lookup_key the price waits for manage.py setup_stripe."
FEATURES_SCHEMA = {
    "type": "object",
    "maxProperties": FEATURES_MAX,
    "additionalProperties": {"oneOf": [{"type": "boolean"}, {"type": "number"}, {"type": "string"}]},
}


@extend_schema_field(FEATURES_SCHEMA)
class FeaturesField(serializers.Field[Any, Any, Any, Any]):
    """An object of names to booleans, numbers and short texts."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """Take it as it is, or say which name is wrong."""
        if problem := problem_of_features(data):
            raise serializers.ValidationError(problem)
        return dict(data)

    def to_representation(self, value: Any) -> Any:
        """Show it as it is."""
        return value


class CodeField(PlainCharField):
    """A plan's code or alias."""

    def to_internal_value(self, data: Any) -> str:
        """Take a code. Raises ValidationError."""
        value = super().to_internal_value(data)
        if problem := problem_of_code(value):
            raise serializers.ValidationError(problem)
        return value


class LimitsSerializer(serializers.Serializer[Any]):
    """A plan's limits. 0 gives nothing at all; null is no limit."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Make the fields from the one table of limits."""
        fields: dict[str, serializers.Field[Any, Any, Any, Any]] = {
            name: serializers.IntegerField(min_value=0, allow_null=limit.may_be_null, help_text=limit.about)
            for name, limit in LIMITS.items()
        }
        return fields | {DURATION: serializers.ChoiceField(choices=list(DURATIONS))}


class LimitsChangeSerializer(serializers.Serializer[Any]):
    """Limits to set. One that is left out keeps its value."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Make the fields from the one table of limits."""
        fields: dict[str, serializers.Field[Any, Any, Any, Any]] = {
            name: WholeNumberField(
                required=False,
                allow_null=limit.may_be_null,
                min_value=0,
                max_value=limit.maximum,
                help_text=limit.about,
            )
            for name, limit in LIMITS.items()
        }
        return fields | {DURATION: OneOfField(choices=list(DURATIONS), required=False)}

    def to_internal_value(self, data: Any) -> Any:
        """Refuse a limit that does not exist: it would look as if it were set."""
        unknown = [name for name in data if name not in self.fields] if isinstance(data, Mapping) else []
        if unknown:
            known = ", ".join(self.fields)
            raise serializers.ValidationError(
                {str(name)[:64]: [f"There is no such limit; there are {known}."] for name in unknown}
            )
        return super().to_internal_value(data)


class ChangePlanSerializer(serializers.Serializer[Any]):
    """PUT of a plan. What is left out is kept."""

    name = PlainCharField(max_length=255, required=False)
    aliases = serializers.ListField(child=CodeField(max_length=64), required=False, max_length=20)
    rank = WholeNumberField(required=False, min_value=-RANK_MAX, max_value=RANK_MAX, help_text="Orders upgrades.")
    internal = StrictBooleanField(required=False, help_text="Given by hand and never sold or shown.")
    free = StrictBooleanField(required=False, help_text="What somebody without a paid plan is on; at most one.")
    archived = StrictBooleanField(required=False, help_text="Not sold any more; whoever is on it stays on it.")
    trial_days = WholeNumberField(required=False, min_value=0, max_value=TRIAL_DAYS_MAX)
    features = FeaturesField(required=False, help_text=FEATURES_HINT)
    limits = LimitsChangeSerializer(required=False, help_text=LIMITS_HINT)

    def flat(self) -> dict[str, Any]:
        """Return what was given, the limits beside the other fields, as the services take it."""
        given = dict(self.validated_data)
        return given | dict(given.pop("limits", {}))


class CreatePlanSerializer(ChangePlanSerializer):
    """POST of a plan."""

    code = CodeField(max_length=64, help_text="Names the plan in checkouts and never changes.")
    name = PlainCharField(max_length=255)


class ChangePriceSerializer(serializers.Serializer[Any]):
    """PUT of a price. What is left out is kept; a price that is at Stripe keeps its amount."""

    interval = OneOfField(choices=list(INTERVALS), required=False)
    currency = PlainCharField(required=False, min_length=3, max_length=3, help_text="Lower case.")
    amount_cents = WholeNumberField(
        required=False, min_value=0, max_value=AMOUNT_CENTS_MAX, help_text="In minor units."
    )
    price_id = PlainCharField(required=False, max_length=255, allow_blank=True, help_text=PRICE_ID_HINT)
    lookup_key = PlainCharField(required=False, max_length=200, allow_blank=True)
    active = StrictBooleanField(required=False, help_text="Whether it is for sale.")

    def validate_currency(self, value: str) -> str:
        """Write it as Stripe does."""
        return value.lower()


class CreatePriceSerializer(ChangePriceSerializer):
    """POST of a price."""

    is_test_mode = StrictBooleanField(required=False, default=True)
    interval = OneOfField(choices=list(INTERVALS), required=False, default="month")


class PriceSerializer(serializers.Serializer[Any]):
    """A price of a plan in one mode. Units: minor units of the currency."""

    id = serializers.UUIDField()
    is_test_mode = serializers.SerializerMethodField()
    interval = serializers.ChoiceField(choices=list(INTERVALS))
    currency = serializers.CharField()
    amount_cents = serializers.IntegerField(help_text="0 with a price_id: Stripe has not been asked yet.")
    price_id = serializers.SerializerMethodField(help_text=PRICE_ID_HINT)
    lookup_key = serializers.SerializerMethodField()
    active = serializers.BooleanField()
    warning = serializers.SerializerMethodField(help_text="What differs at Stripe.")
    created_at = serializers.DateTimeField()

    def get_is_test_mode(self, price: PlanPrice) -> bool:
        """Say in which mode it is sold."""
        return price.mode == TEST

    def get_price_id(self, price: PlanPrice) -> str | None:
        """Return Stripe's id."""
        return price.stripe_price_id or None

    def get_lookup_key(self, price: PlanPrice) -> str | None:
        """Return Stripe's lookup key."""
        return price.lookup_key or None

    def get_warning(self, price: PlanPrice) -> str | None:
        """Return what differs."""
        return price.warning or None


class PlanSerializer(serializers.Serializer[Any]):
    """A plan with its limits, and its prices in both modes."""

    id = serializers.UUIDField()
    code = serializers.CharField()
    name = serializers.CharField()
    aliases = serializers.ListField(child=serializers.CharField())
    rank = serializers.IntegerField()
    internal = serializers.BooleanField()
    free = serializers.BooleanField()
    archived = serializers.BooleanField()
    trial_days = serializers.IntegerField()
    features = FeaturesField()
    limits = serializers.SerializerMethodField()
    prices = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField()

    @extend_schema_field(LimitsSerializer)
    def get_limits(self, plan: Plan) -> dict[str, Any]:
        """Return the limits by name."""
        return limits_of(plan)

    @extend_schema_field(PriceSerializer(many=True))
    def get_prices(self, plan: Plan) -> Any:
        """Return all prices, in both modes."""
        return PriceSerializer(plan.prices.all(), many=True).data


class PlanListSerializer(serializers.Serializer[Any]):
    """GET of a project's plans."""

    plans = PlanSerializer(many=True)
    total = serializers.IntegerField(required=False)
    page = serializers.IntegerField(required=False)
    page_size = serializers.IntegerField(required=False)
    next_cursor = serializers.CharField(required=False, allow_null=True)


class PublicPriceSerializer(serializers.Serializer[Any]):
    """What a plan costs. Units: minor units of the currency."""

    interval = serializers.ChoiceField(choices=list(INTERVALS))
    currency = serializers.CharField()
    amount_cents = serializers.IntegerField()
    price_id = serializers.SerializerMethodField(
        help_text="For POST checkout-session, which also takes plan and interval."
    )

    def get_price_id(self, price: PlanPrice) -> str | None:
        """Return Stripe's id; null where a lookup key finds the price."""
        return price.stripe_price_id or None


class PublicPlanSerializer(serializers.Serializer[Any]):
    """A plan as everybody may see it, with what it costs in one mode."""

    code = serializers.CharField()
    name = serializers.CharField()
    rank = serializers.IntegerField()
    free = serializers.BooleanField()
    trial_days = serializers.IntegerField()
    features = FeaturesField()
    limits = serializers.SerializerMethodField()
    prices = serializers.SerializerMethodField()

    @extend_schema_field(LimitsSerializer)
    def get_limits(self, plan: Plan) -> dict[str, Any]:
        """Return the limits by name."""
        return limits_of(plan)

    @extend_schema_field(PublicPriceSerializer(many=True))
    def get_prices(self, plan: Plan) -> Any:
        """Return what can be bought, the month first."""
        return PublicPriceSerializer(plan.prices_on_sale, many=True).data  # type: ignore[attr-defined]


class PublicPlansSerializer(serializers.Serializer[Any]):
    """GET of what a project sells."""

    project = serializers.CharField(help_text="The project's slug.")
    is_test_mode = serializers.BooleanField()
    plans = PublicPlanSerializer(many=True)
