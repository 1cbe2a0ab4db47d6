"""What the endpoints of licences take and answer, for the OpenAPI document."""

from typing import Any

from rest_framework import serializers

from common.drf_fields import PlainCharField, StrictBooleanField, WholeNumberField
from licenses.models import LicenseState
from licenses.services.access import ENDED, NOT_PAID, PROCESSING, UNPAID
from licenses.services.progress import Progress

STATUSES = list(LicenseState.values)
STEPS = [*STATUSES, str(Progress.SELLER), str(Progress.FAILED), ENDED, UNPAID, PROCESSING, NOT_PAID]
KEY_CHARS_MAX = 64
DEVICE_CHARS_MAX = 255


class LicenseSerializer(serializers.Serializer[Any]):
    """A licence."""

    id = serializers.UUIDField()
    project_id = serializers.UUIDField()
    user_id = serializers.UUIDField(allow_null=True, help_text="Our EndUser; a guest's licence has none.")
    external_user_id = serializers.CharField(allow_null=True)
    is_test_mode = serializers.BooleanField()
    product = serializers.CharField(help_text="The product's code.")
    product_name = serializers.CharField()
    status = serializers.ChoiceField(choices=STATUSES)
    email = serializers.CharField(allow_null=True, help_text="As the buyer gave it at the checkout.")
    github_username = serializers.CharField(allow_null=True)
    username_problem = serializers.CharField(
        allow_null=True, help_text="unknown_username or not_a_person, when another one has to be given."
    )
    invitation_ended_as = serializers.CharField(allow_null=True, help_text="expired or declined.")
    amount_cents = serializers.IntegerField(help_text="What was paid, in minor units of `currency`.")
    currency = serializers.CharField()
    payment_intent_id = serializers.CharField(allow_null=True)
    purchased_at = serializers.DateTimeField()
    username_submitted_at = serializers.DateTimeField(allow_null=True)
    invited_at = serializers.DateTimeField(allow_null=True)
    activated_at = serializers.DateTimeField(allow_null=True)
    revoked_at = serializers.DateTimeField(allow_null=True)


class MyLicensesAnswer(serializers.Serializer[Any]):
    """A user's licences, newest first."""

    licenses = LicenseSerializer(many=True)


class LicenseListAnswer(serializers.Serializer[Any]):
    """A page of licences, newest first."""

    licenses = LicenseSerializer(many=True)
    total = serializers.IntegerField(required=False, help_text="Left out with `cursor`.")
    page = serializers.IntegerField(required=False, help_text="Left out with `cursor`.")
    page_size = serializers.IntegerField()
    next_cursor = serializers.CharField(required=False, allow_null=True)


class LicenseMetricsAnswer(serializers.Serializer[Any]):
    """How the licences of a mode fare."""

    sold = serializers.IntegerField()
    revoked = serializers.IntegerField()
    by_status = serializers.DictField(child=serializers.IntegerField())
    invited = serializers.IntegerField(help_text="Who was ever sent an invitation.")
    accepted = serializers.IntegerField(help_text="Of those, who came in.")
    conversion = serializers.FloatField(allow_null=True, help_text="accepted / invited; null before any invitation.")
    average_accept_seconds = serializers.FloatField(
        allow_null=True, help_text="From the first invitation to the grant, on average."
    )
    stuck_pending = serializers.IntegerField(help_text="No username for more than 24 hours.")
    stuck_submitted = serializers.IntegerField(help_text="A username, and not invited for more than 24 hours.")
    stuck_invited = serializers.IntegerField(help_text="First invited more than 7 days ago and not in.")


class LicenseAccessAnswer(serializers.Serializer[Any]):
    """Where a licence stands, for whoever has its link."""

    step = serializers.ChoiceField(choices=STEPS, help_text="The licence's status, or what comes before and between.")
    product_name = serializers.CharField()
    is_test_mode = serializers.BooleanField()
    revision = serializers.IntegerField(
        help_text="Hand it back when a username is changed, so that no other tab is undone."
    )
    delayed_until = serializers.DateTimeField(allow_null=True, help_text="Until when GitHub takes no invitation.")
    invitation_url = serializers.CharField(allow_null=True)
    repository_url = serializers.CharField(allow_null=True)
    clone_command = serializers.CharField(allow_null=True)
    instructions = serializers.CharField(allow_null=True)
    has_key = serializers.BooleanField()
    key_ending = serializers.CharField(allow_null=True, help_text="The last characters of the key that was shown.")
    license = LicenseSerializer(allow_null=True)


class SubmitUsernameBody(serializers.Serializer[Any]):
    """Whom to let in."""

    github_username = PlainCharField(min_length=1, max_length=100)
    replace = StrictBooleanField(default=False, help_text="Take it in place of the one that was given before.")
    revision = WholeNumberField(
        required=False, allow_null=True, min_value=0, max_value=2_000_000_000, help_text="What is replaced."
    )


class MakeKeyBody(serializers.Serializer[Any]):
    """Ask for the licence key, which is shown once."""

    replace = StrictBooleanField(default=False, help_text="Make another one; the old one stops working at once.")


class MadeKeyAnswer(serializers.Serializer[Any]):
    """A licence key, the only time that it is shown."""

    license_key = serializers.CharField()
    activation_limit = serializers.IntegerField()


class VerifyKeyBody(serializers.Serializer[Any]):
    """A licence key of a project's app, and perhaps the device that asks."""

    project = PlainCharField(
        min_length=1, max_length=63, help_text="The project's slug: a key of another one is not valid."
    )
    license_key = PlainCharField(min_length=1, max_length=KEY_CHARS_MAX)
    device_id = PlainCharField(
        required=False, allow_null=True, min_length=1, max_length=DEVICE_CHARS_MAX, help_text="Kept as a hash only."
    )


class DeviceBody(VerifyKeyBody):
    """A licence key and a device."""

    device_id = PlainCharField(min_length=1, max_length=DEVICE_CHARS_MAX, help_text="Kept as a hash only.")


class ActivateKeyBody(DeviceBody):
    """A licence key and the device that is to use it."""

    device_name = PlainCharField(required=False, allow_blank=True, default="", max_length=255)


class KeyAnswer(serializers.Serializer[Any]):
    """A valid licence key."""

    valid = serializers.BooleanField()
    product = serializers.CharField()
    activated = serializers.BooleanField(help_text="Whether this device uses it.")
    activations = serializers.IntegerField(help_text="On how many devices it is in use.")
    activation_limit = serializers.IntegerField()
