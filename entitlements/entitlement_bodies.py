"""What the endpoints of entitlements take and answer."""

from typing import Any

from rest_framework import serializers

from projects.serializers import ExternalIdField

UNLIMITED = "Null: no limit."


class LimitsAnswer(serializers.Serializer[Any]):
    """What a plan allows. 0 = nothing, null = no limit."""

    credits_per_day = serializers.IntegerField()
    credits_per_period = serializers.IntegerField()
    token_budget = serializers.IntegerField(allow_null=True, help_text="Tokens per period. Null: no limit.")
    file_size_mb = serializers.IntegerField(allow_null=True)
    requests_per_minute = serializers.IntegerField(allow_null=True)
    tokens_per_minute = serializers.IntegerField(allow_null=True)
    compute_budget_cents = serializers.IntegerField(allow_null=True, help_text="US cents per duration.")
    compute_budget_duration = serializers.CharField()


class CreditsLeftAnswer(serializers.Serializer[Any]):
    """What can be spent, today's credits included. Units: whole credits."""

    available = serializers.IntegerField()
    reserved = serializers.IntegerField()
    debt = serializers.IntegerField()
    buckets = serializers.DictField(child=serializers.IntegerField())


class TokensLeftAnswer(serializers.Serializer[Any]):
    """A token budget as it was written down at most a second ago; `tokens/budget` has the exact one. Units: whole tokens."""

    limit = serializers.IntegerField(allow_null=True, help_text=UNLIMITED)
    used = serializers.IntegerField()
    remaining = serializers.IntegerField(allow_null=True, help_text=UNLIMITED)
    period_start = serializers.DateTimeField(allow_null=True)
    period_end = serializers.DateTimeField(allow_null=True)


class EntitlementsAnswer(serializers.Serializer[Any]):
    """What a user is entitled to now."""

    plan = serializers.CharField(
        help_text="The plan's code; `free` when the user is on none, `unknown` for a price on no plan."
    )
    plan_name = serializers.CharField(allow_null=True)
    features = serializers.DictField(help_text="What the plan's owner wrote down, by name.")
    limits = LimitsAnswer()
    credits = CreditsLeftAnswer()
    token_budget = TokensLeftAnswer()
    plan_active = serializers.BooleanField()
    plan_expires = serializers.DateTimeField(allow_null=True)
    epoch = serializers.IntegerField(help_text="Entitlement tokens with a lower epoch are worth nothing.")


class UserEntitlementsAnswer(EntitlementsAnswer):
    """The same, with whose they are."""

    user_id = serializers.CharField(help_text="The app's own id for the user.")


class EntitlementTokenBody(serializers.Serializer[Any]):
    """Whose token."""

    user_id = ExternalIdField(
        required=False,
        help_text="The app's own id for the user. A server must name it; an end user's token may name itself only.",
    )


class EntitlementTokenAnswer(serializers.Serializer[Any]):
    """A signed entitlement token."""

    token = serializers.CharField(
        help_text="EdDSA, `typ` ent+jwt, `aud` entitlements:{project id}, `sub` the app's own user id."
    )
    token_type = serializers.CharField()
    expires_in = serializers.IntegerField(help_text="Seconds.")


class EpochAnswer(serializers.Serializer[Any]):
    """The lowest epoch that still counts for a user."""

    user_id = serializers.CharField()
    epoch = serializers.IntegerField()


class EpochsAnswer(serializers.Serializer[Any]):
    """Who lost something lately."""

    epochs = EpochAnswer(many=True)
    since = serializers.DateTimeField(help_text="What to ask with next time.")
    has_more = serializers.BooleanField(help_text="Ask again right away.")
