"""The shapes of reports, for requests, answers and the OpenAPI document."""

from typing import Any

from rest_framework import serializers

from common.drf_fields import OneOfField, PlainCharField
from moderation.models import ReviewItem
from moderation.services.reports import CATEGORIES, TEXT_CHARS_MAX
from projects.serializers import ExternalIdField

STATUSES = ReviewItem.Status.values


class ReportByDeveloperSerializer(serializers.Serializer[Any]):
    """POST /projects/{id}/reports."""

    category = OneOfField(choices=list(CATEGORIES))
    text = PlainCharField(min_length=1, max_length=TEXT_CHARS_MAX, multiline=True, help_text="What happened.")
    about_user_id = ExternalIdField(
        required=False, allow_null=True, help_text="The app's own id of the user whom it is about."
    )
    reference = PlainCharField(
        max_length=255,
        required=False,
        allow_null=True,
        help_text="The app's id of what it is about, such as a post or payment.",
    )


class ReportSerializer(ReportByDeveloperSerializer):
    """POST /payments/reports: an end user's token speaks for itself, a server names who reports."""

    user_id = ExternalIdField(
        required=False, allow_null=True, help_text="Who reports. A server must name them; a token may name itself only."
    )


class SentReportSerializer(serializers.Serializer[ReviewItem]):
    """What whoever reports is told."""

    id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=STATUSES)
    category = serializers.CharField(source="details.category")
    created_at = serializers.DateTimeField()


class ReadReportSerializer(serializers.ModelSerializer[ReviewItem]):
    """A report as the project's members see it."""

    category = serializers.CharField(source="details.category", default="other")
    text = serializers.CharField(source="details.text", default="")
    reference = serializers.CharField(source="details.reference", default="")
    about_user_id = serializers.SerializerMethodField()
    reported_by = serializers.SerializerMethodField()

    class Meta:
        model = ReviewItem
        fields = [
            "id", "status", "category", "text", "reference", "about_user_id", "reported_by", "created_at", "resolved_at",
        ]  # fmt: skip
        read_only_fields = fields

    def get_about_user_id(self, item: ReviewItem) -> str | None:
        """Return the app's own id of whom it is about."""
        return item.end_user.external_id if item.end_user else None

    def get_reported_by(self, item: ReviewItem) -> str:
        """Say what kind of caller reported: end_user, server or developer."""
        return str((item.details.get("reported_by") or {}).get("kind", ""))


class ReportListSerializer(serializers.Serializer[Any]):
    """GET /projects/{id}/reports."""

    reports = ReadReportSerializer(many=True)
    total = serializers.IntegerField(required=False)
    page = serializers.IntegerField(required=False)
    page_size = serializers.IntegerField(required=False)
    next_cursor = serializers.CharField(required=False, allow_null=True)
