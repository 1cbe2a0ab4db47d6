"""The shapes of the endpoints about what is kept about one person."""

from typing import Any

from rest_framework import serializers

from common.drf_fields import PlainCharField
from projects.serializers import ExternalIdField


class AboutPersonSerializer(serializers.Serializer[Any]):
    """Whose data a document holds."""

    end_user_id = serializers.UUIDField()
    project_id = serializers.UUIDField()
    made_at = serializers.DateTimeField()


class PersonalDataSerializer(serializers.Serializer[Any]):
    """Everything that is kept about an end user, table by table."""

    about = AboutPersonSerializer()
    tables = serializers.DictField(
        child=serializers.ListField(child=serializers.DictField()),
        help_text="Rows of each table, with the columns' names.",
    )


class AnonymizeSerializer(serializers.Serializer[Any]):
    """POST …/anonymize."""

    confirm = ExternalIdField(help_text="The app's own id of the user, once more: there is no way back.")
    reason = PlainCharField(
        max_length=1000, multiline=True, help_text="Kept in the action log. Do not name the person."
    )


class AnonymizedSerializer(serializers.Serializer[Any]):
    """What was done."""

    end_user_id = serializers.UUIDField()
    rows = serializers.DictField(child=serializers.IntegerField(), help_text="How many rows of what were touched.")
