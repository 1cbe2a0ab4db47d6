"""The shapes of a project's billing policy and of a subscription's history, for requests and the OpenAPI document."""

from typing import Any

from rest_framework import serializers

from common.drf_fields import OneOfField, PlainCharField, StrictBooleanField, WholeNumberField
from payments.models import BillingPolicy, SubscriptionChange
from payments.schema import ListSerializer, moment, text
from payments.services.billing_policy import ENTITLEABLE, GRACE_HOURS_MAX

STATUSES_HINT = f"Among {', '.join(ENTITLEABLE)}. past_due gives access for grace_hours and is not named here."
DISPUTE_HINT = "When a dispute takes access away: lost, opened (as soon as there is one), or never."


class BillingPolicySerializer(serializers.Serializer[Any]):
    """Who has access, what a refund or dispute takes away, and what checkout asks for. Both modes alike."""

    project_id = serializers.UUIDField()
    entitled_statuses = serializers.ListField(child=serializers.CharField(), help_text=STATUSES_HINT)
    grace_hours = serializers.IntegerField(help_text="Access after the first failed payment of a period.")
    full_refund_revokes = serializers.BooleanField(help_text="A full refund of what was paid last ends access.")
    dispute_revokes = serializers.ChoiceField(choices=BillingPolicy.DisputeAction.values, help_text=DISPUTE_HINT)
    billing_address_collection = serializers.BooleanField()
    tax_id_collection = serializers.BooleanField()
    automatic_tax = serializers.BooleanField()
    allow_promotion_codes = serializers.BooleanField()
    updated_at = serializers.DateTimeField(allow_null=True, help_text="Null when the defaults were never changed.")


class BillingPolicyChangeSerializer(serializers.Serializer[Any]):
    """What to change. A field that is left out keeps its value."""

    entitled_statuses = serializers.ListField(
        child=PlainCharField(min_length=1, max_length=32), required=False, max_length=8, help_text=STATUSES_HINT
    )
    grace_hours = WholeNumberField(required=False, min_value=0, max_value=GRACE_HOURS_MAX)
    full_refund_revokes = StrictBooleanField(required=False)
    dispute_revokes = OneOfField(choices=BillingPolicy.DisputeAction.values, required=False, help_text=DISPUTE_HINT)
    billing_address_collection = StrictBooleanField(required=False)
    tax_id_collection = StrictBooleanField(required=False)
    automatic_tax = StrictBooleanField(required=False)
    allow_promotion_codes = StrictBooleanField(required=False)


class SubscriptionChangeSerializer(serializers.Serializer[Any]):
    """One change of a subscription: the fields that differ, before and after, and what made us look."""

    id = serializers.UUIDField()
    kind = serializers.CharField(
        help_text="created, renewed, status, plan, quantity, access, cancellation, trial, pause, period or other."
    )
    before = serializers.DictField(help_text="Fields of the shape Subscription, and what decides about access.")
    after = serializers.DictField()
    source = serializers.ChoiceField(choices=SubscriptionChange.Source.values)  # type: ignore[assignment]
    event_id = text(help_text="Stripe's id (evt_...), when an event made us look.")
    event_type = text()
    happened_at = moment()
    recorded_at = serializers.DateTimeField()


class SubscriptionHistorySerializer(ListSerializer):
    """The changes of one subscription, newest first."""

    history = SubscriptionChangeSerializer(many=True)
