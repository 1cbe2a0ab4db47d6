"""What the endpoints of credits are sent and what they answer. Amounts are whole credits."""

from typing import Any

from rest_framework import serializers

from common.drf_fields import PlainCharField, WholeNumberField
from common.schema import ErrorSerializer
from entitlements.models import CreditTransaction
from entitlements.services.ledger import AMOUNT_MAX, BATCH_MAX, TTL_SECONDS, TTL_SECONDS_MAX
from entitlements.usage_bodies import USER_ID_HELP, NotesField
from projects.serializers import ExternalIdField

DESCRIPTION_CHARS_MAX = 500
TRANSACTION_KINDS = CreditTransaction.Kind.choices


def whole_amount(**options: Any) -> WholeNumberField:
    """Describe an amount: a JSON integer above zero."""
    return WholeNumberField(min_value=1, max_value=AMOUNT_MAX, **options)


def description() -> PlainCharField:
    """Describe what an amount is for."""
    return PlainCharField(
        default="", allow_blank=True, max_length=DESCRIPTION_CHARS_MAX, help_text="Shown in the history."
    )


class UserBody(serializers.Serializer[Any]):
    """Whose credits."""

    user_id = ExternalIdField(required=False, allow_null=True, help_text=USER_ID_HELP)


class CreditCheckBody(UserBody):
    """How much is wanted."""

    amount = whole_amount()


class CreditSpendItem(serializers.Serializer[Any]):
    """One amount, and what for."""

    amount = whole_amount()
    description = description()
    metadata = NotesField(required=False, help_text="Kept with the transaction.")


class CreditSpendBody(UserBody):
    """What to spend: one amount, or several in `items`, which are spent together or not at all."""

    amount = whole_amount(required=False, help_text="Required unless `items` is given.")
    description = description()
    metadata = NotesField(required=False, help_text="Kept with the transaction.")
    items = serializers.ListField(child=CreditSpendItem(), required=False, min_length=1, max_length=BATCH_MAX)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Ask for exactly one of amount and items."""
        if "amount" in attrs and "items" in attrs:
            raise serializers.ValidationError({"items": ["Give amount or items, not both."]})
        if "amount" not in attrs and "items" not in attrs:
            raise serializers.ValidationError({"amount": ["Give amount or items."]}, code="required")
        return attrs


class CreditReserveBody(UserBody):
    """What to set aside, and for how long at most."""

    amount = whole_amount()
    ttl_seconds = WholeNumberField(default=TTL_SECONDS, min_value=1, max_value=TTL_SECONDS_MAX)
    description = description()
    metadata = NotesField(required=False, help_text="Kept with the transaction.")


class CreditReleaseBody(UserBody):
    """Which reservation to give back."""

    reservation_id = serializers.UUIDField()


class CreditCommitBody(CreditReleaseBody):
    """Which reservation to spend, and how much of it."""

    amount = whole_amount(
        required=False, allow_null=True, help_text="Left out: all of it. The rest can be spent again."
    )
    description = description()
    metadata = NotesField(required=False, help_text="Kept with the transaction.")


class CreditBucketsAnswer(serializers.Serializer[Any]):
    """What can be spent, by where it comes from."""

    plan_daily = serializers.IntegerField(help_text="Until the next midnight in UTC.")
    plan_periodic = serializers.IntegerField(help_text="Until the plan's period ends.")
    bonus = serializers.IntegerField()
    purchased = serializers.IntegerField()


class CreditBalanceAnswer(serializers.Serializer[Any]):
    """What somebody has."""

    available = serializers.IntegerField(help_text="What can be spent now.")
    reserved = serializers.IntegerField(help_text="Set aside; not part of `available`.")
    debt = serializers.IntegerField(help_text="Owed after a refund; settled by what is bought or given next.")
    buckets = CreditBucketsAnswer()
    resets_at = serializers.DateTimeField(help_text="When daily credits begin anew.")


class CreditCheckAnswer(serializers.Serializer[Any]):
    """Whether an amount could be spent now."""

    allowed = serializers.BooleanField()
    required = serializers.IntegerField()  # type: ignore[assignment]
    available = serializers.IntegerField()
    deficit = serializers.IntegerField()


class InsufficientCreditsAnswer(ErrorSerializer):
    """How many credits are missing."""

    required = serializers.IntegerField()  # type: ignore[assignment]
    available = serializers.IntegerField()
    deficit = serializers.IntegerField()


class CreditPostedAnswer(serializers.Serializer[Any]):
    """One spend."""

    transaction_id = serializers.UUIDField()
    amount = serializers.IntegerField()
    balance = serializers.IntegerField(help_text="What could be spent after it.")
    created_at = serializers.DateTimeField()


class CreditSpendAnswer(serializers.Serializer[Any]):
    """What was spent."""

    amount = serializers.IntegerField(help_text="Altogether.")
    balance = serializers.IntegerField(help_text="What can be spent after it.")
    spends = CreditPostedAnswer(many=True)


class CreditReservationAnswer(serializers.Serializer[Any]):
    """What is set aside."""

    reservation_id = serializers.UUIDField()
    amount = serializers.IntegerField()
    balance = serializers.IntegerField(help_text="What can be spent besides.")
    expires_at = serializers.DateTimeField(help_text="When it is given back by itself.")
    created_at = serializers.DateTimeField()


class CreditReservationEndAnswer(serializers.Serializer[Any]):
    """How a reservation ended."""

    reservation_id = serializers.UUIDField()
    transaction_id = serializers.UUIDField()
    spent = serializers.IntegerField()
    returned = serializers.IntegerField(
        help_text="What can be spent again; less what had expired or was owed meanwhile."
    )
    balance = serializers.IntegerField()
    created_at = serializers.DateTimeField()


class CreditTransactionAnswer(serializers.Serializer[Any]):
    """Something that happened to the credits."""

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=TRANSACTION_KINDS)
    amount = serializers.IntegerField(help_text="By how much what can be spent went up or down.")
    balance = serializers.IntegerField(help_text="What could be spent then.")
    spent = serializers.IntegerField(allow_null=True, help_text="What was spent of a reservation.")
    bucket = serializers.CharField(allow_null=True)
    reservation_id = serializers.UUIDField(allow_null=True)
    description = serializers.CharField()
    metadata = serializers.JSONField()
    created_at = serializers.DateTimeField()


class CreditHistoryAnswer(serializers.Serializer[Any]):
    """Transactions, newest first."""

    transactions = CreditTransactionAnswer(many=True)
    total = serializers.IntegerField(required=False)
    page = serializers.IntegerField(required=False)
    page_size = serializers.IntegerField()
    next_cursor = serializers.CharField(required=False, allow_null=True)
