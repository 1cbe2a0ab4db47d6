"""The contract's shapes for the OpenAPI document. `payments/serializers.py` renders them; a test compares the two."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema_field
from rest_framework import serializers

from common.drf_fields import PlainCharField, StrictBooleanField
from payments.models import Transaction
from payments.models.billing import STATUS_PRECEDENCE
from payments.services.stripe_config import MAX_KEY_LENGTH

SUBSCRIPTION_STATUSES = sorted(STATUS_PRECEDENCE)
PAYMENT_STATUSES = sorted(Transaction.Status.values)


def text(**options: Any) -> serializers.CharField:
    """Describe a text that may be null."""
    return serializers.CharField(allow_null=True, **options)


def moment() -> serializers.DateTimeField:
    """Describe a time in UTC that may be null."""
    return serializers.DateTimeField(allow_null=True)


class SubscriptionSerializer(serializers.Serializer[Any]):
    """A Stripe subscription of one end user."""

    id = serializers.UUIDField()
    project_id = serializers.UUIDField()
    user_id = serializers.UUIDField(allow_null=True, help_text="The end user's id here.")
    external_user_id = text(help_text="The app's own id for the end user.")
    is_test_mode = serializers.BooleanField()
    subscription_id = serializers.CharField(help_text="Stripe's id (sub_...).")
    customer_id = text(help_text="Stripe's id (cus_...).")
    price_id = text(help_text="Stripe's id (price_...).")
    status = serializers.CharField(help_text=f"Stripe's own string: {', '.join(SUBSCRIPTION_STATUSES)}.")
    plan_name = text()
    plan_code = text()
    plan_active = serializers.BooleanField(help_text="Whether the plan gives access now.")
    plan_expires = serializers.DateTimeField(allow_null=True, help_text="When access ends unless something is paid.")
    quantity = serializers.IntegerField()
    current_period_start = moment()
    current_period_end = moment()
    trial_end = moment()
    cancel_at_period_end = serializers.BooleanField()
    cancel_at = moment()
    cancelled_at = moment()
    created_at = serializers.DateTimeField()


@extend_schema_field({"type": "integer", "default": 0})
class ZeroByDefaultField(serializers.IntegerField):
    """An amount that is always there, and 0 unless something happened."""


class PaymentSerializer(serializers.Serializer[Any]):
    """One movement of money. Amounts are whole minor units of the currency (yen for JPY)."""

    id = serializers.UUIDField()
    project_id = serializers.UUIDField()
    subscription_id = serializers.UUIDField(allow_null=True, help_text="The subscription's id here, not Stripe's.")
    user_id = serializers.UUIDField(allow_null=True)
    external_user_id = text()
    is_test_mode = serializers.BooleanField()
    payment_intent_id = serializers.CharField(help_text="Stripe's id; the invoice's where no PaymentIntent exists.")
    invoice_id = text()
    status = serializers.ChoiceField(choices=PAYMENT_STATUSES)
    amount_cents = serializers.IntegerField()
    currency = serializers.CharField(help_text="Lower case.")
    refunded_amount_cents = ZeroByDefaultField()
    description = text()
    receipt_url = text()
    invoice_pdf = text()
    failure_code = text()
    disputed = serializers.BooleanField()
    created_at = serializers.DateTimeField()


class AggregatedSubscriptionSerializer(SubscriptionSerializer):
    """A subscription, with the name of its project."""

    project_name = serializers.CharField()
    provider = serializers.ChoiceField(choices=["stripe"])


class AggregatedPaymentSerializer(PaymentSerializer):
    """A payment, with the name of its project."""

    project_name = serializers.CharField()
    provider = serializers.ChoiceField(choices=["stripe"])


class ListSerializer(serializers.Serializer[Any]):
    """A page with a total, or with `cursor` the next cursor instead."""

    total = serializers.IntegerField(required=False, help_text="Left out with cursor.")
    page = serializers.IntegerField(required=False, help_text="Left out with cursor.")
    page_size = serializers.IntegerField()
    next_cursor = serializers.CharField(required=False, allow_null=True, help_text="With cursor only; null at the end.")


class SubscriptionListSerializer(ListSerializer):
    """Subscriptions, newest first."""

    subscriptions = SubscriptionSerializer(many=True)


class PaymentListSerializer(ListSerializer):
    """Payments, newest first."""

    payments = PaymentSerializer(many=True)


class AggregatedSubscriptionListSerializer(ListSerializer):
    """Subscriptions of all the caller's projects, newest first."""

    subscriptions = AggregatedSubscriptionSerializer(many=True)


class AggregatedPaymentListSerializer(ListSerializer):
    """Payments of all the caller's projects, newest first."""

    payments = AggregatedPaymentSerializer(many=True)


class DeveloperProjectSerializer(serializers.Serializer[Any]):
    """A project and how far its payments are set up. `is_active` is the project's own flag."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    description = text()
    has_payment_config = serializers.BooleanField()
    has_test_credentials = serializers.BooleanField()
    has_live_credentials = serializers.BooleanField()
    test_configured_at = moment()
    live_configured_at = moment()
    is_active = serializers.BooleanField()
    created_at = serializers.DateTimeField()


class DeveloperProjectListSerializer(serializers.Serializer[Any]):
    """All projects of the caller."""

    projects = DeveloperProjectSerializer(many=True)
    total = serializers.IntegerField()


class CurrencyStatsSerializer(serializers.Serializer[Any]):
    """One currency's figures, in its minor units."""

    currency = serializers.CharField()
    revenue_cents = serializers.IntegerField(help_text="Collected less refunds.")
    refunded_cents = serializers.IntegerField()
    payments = serializers.IntegerField()


class StatsSerializer(serializers.Serializer[Any]):
    """Figures over all the caller's projects in one mode."""

    total_projects = serializers.IntegerField()
    projects_with_config = serializers.IntegerField()
    projects_with_test = serializers.IntegerField()
    projects_with_live = serializers.IntegerField()
    total_subscriptions = serializers.IntegerField()
    active_subscriptions = serializers.IntegerField(help_text="Active or trialing.")
    total_payments = serializers.IntegerField()
    successful_payments = serializers.IntegerField(help_text="Collected, whether refunded later or not.")
    total_revenue_cents = serializers.IntegerField(help_text="Collected less refunds, in `currency` only.")
    currency = serializers.ChoiceField(choices=["usd"])
    by_currency = CurrencyStatsSerializer(many=True)


class ConfigSerializer(serializers.Serializer[Any]):
    """A project's Stripe configuration. Keys are shown as masks only."""

    id = serializers.UUIDField()
    project_id = serializers.UUIDField()
    is_active = serializers.BooleanField()
    has_test_credentials = serializers.BooleanField()
    has_live_credentials = serializers.BooleanField()
    test_secret_key_masked = text(help_text="For instance sk_test_...aBcD.")
    test_publishable_key_masked = text()
    test_webhook_secret_masked = text()
    live_secret_key_masked = text()
    live_publishable_key_masked = text()
    live_webhook_secret_masked = text()
    test_configured_at = moment()
    live_configured_at = moment()
    test_account_id = text()
    live_account_id = text()
    test_last_event_at = moment()
    live_last_event_at = moment()
    test_webhook_status = text(
        help_text="managed when this service looks after the endpoint, by_hand, or what is wrong."
    )
    live_webhook_status = text()
    test_webhook_error = text(help_text="What is wrong with the endpoint, and what mends it.")
    live_webhook_error = text()
    test_last_failure_at = moment()
    live_last_failure_at = moment()
    test_oldest_pending_at = moment()
    live_oldest_pending_at = moment()
    test_dead_events = serializers.IntegerField(help_text="Dead letters; counted up to 10,000.")
    live_dead_events = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    updated_at = moment()


def _key(hint: str) -> PlainCharField:
    # An empty text is refused by the service, which says how to keep a value.
    return PlainCharField(
        required=False, allow_null=True, allow_blank=True, max_length=MAX_KEY_LENGTH, write_only=True, help_text=hint
    )


class ConfigChangeSerializer(serializers.Serializer[Any]):
    """Keys to save. One that is absent or null keeps what is stored."""

    test_secret_key = _key("sk_test_... or rk_test_...")
    test_publishable_key = _key("pk_test_...")
    test_webhook_secret = _key("whsec_...")
    live_secret_key = _key("sk_live_... or rk_live_...")
    live_publishable_key = _key("pk_live_...")
    live_webhook_secret = _key("whsec_...")
    confirm_account_change = StrictBooleanField(
        required=False, default=False, help_text="Accept a key of another Stripe account than before."
    )


class CredentialsToValidateSerializer(serializers.Serializer[Any]):
    """A key to try out. It is not stored."""

    secret_key = PlainCharField(min_length=1, max_length=MAX_KEY_LENGTH, write_only=True)
    is_test_mode = StrictBooleanField(required=False, default=True)


class VerdictSerializer(serializers.Serializer[Any]):
    """Whether Stripe takes the key."""

    valid = serializers.BooleanField()
    message = serializers.CharField()


class WebhookUrlsSerializer(serializers.Serializer[Any]):
    """Where Stripe delivers the project's events to."""

    test_webhook_url = serializers.URLField()
    live_webhook_url = serializers.URLField()


TEST_MODE = OpenApiParameter(
    "test_mode", {"type": "boolean", "default": True}, OpenApiParameter.QUERY, description="Picks the mode."
)
OPTIONAL_TEST_MODE = OpenApiParameter("test_mode", bool, OpenApiParameter.QUERY, description="Left out: both modes.")
PROJECT_ID = OpenApiParameter("project_id", {"type": "string", "format": "uuid"}, OpenApiParameter.QUERY)
SUBSCRIPTION_STATUS = OpenApiParameter("status", str, OpenApiParameter.QUERY, enum=SUBSCRIPTION_STATUSES)
PAYMENT_STATUS = OpenApiParameter("status", str, OpenApiParameter.QUERY, enum=PAYMENT_STATUSES)
