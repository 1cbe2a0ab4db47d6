"""The shapes of what a project sets about its mails and alerts, for requests, answers and the OpenAPI document."""

from dataclasses import asdict
from typing import Any

from rest_framework import serializers

from common.drf_fields import OneOfField, PlainCharField, PlainEmailField, StrictBooleanField, WholeNumberField
from notifications.models import AlertKind, AlertTarget, Brand
from notifications.services.alert_rules import UNITS
from notifications.services.brand import FIELDS, FOOTER_CHARS_MAX
from notifications.services.settings import ADDRESSES_MAX, FIGURE_MAX, MINUTES_MAX, rules_of
from projects.models import Project

KINDS = AlertKind.values
SHIPPED = "Left out or null: as it ships for the kind."


class BrandSerializer(serializers.Serializer[Any]):
    """How a project's mails are signed and look, in both modes. Null: the default."""

    project_id = serializers.UUIDField()
    from_name = serializers.CharField(allow_null=True)
    from_address = serializers.CharField(allow_null=True)
    reply_to = serializers.CharField(allow_null=True)
    color = serializers.CharField(allow_null=True)
    logo_url = serializers.CharField(allow_null=True)
    footer_text = serializers.CharField(allow_null=True)


class PutBrandSerializer(serializers.Serializer[Any]):
    """PUT: what is left out, null or empty is the default again."""

    from_name = PlainCharField(
        max_length=100, required=False, allow_null=True, allow_blank=True, help_text="Whom mails come from."
    )
    from_address = PlainCharField(
        max_length=254,
        required=False,
        allow_null=True,
        allow_blank=True,
        help_text="Of a domain that the operator allows.",
    )
    reply_to = PlainCharField(max_length=254, required=False, allow_null=True, allow_blank=True)
    color = PlainCharField(
        max_length=7, required=False, allow_null=True, allow_blank=True, help_text="Of buttons, as #rrggbb."
    )
    logo_url = PlainCharField(
        max_length=2048,
        required=False,
        allow_null=True,
        allow_blank=True,
        help_text="Public, https, shown 40 pixels high.",
    )
    footer_text = PlainCharField(
        max_length=FOOTER_CHARS_MAX, multiline=True, required=False, allow_null=True, allow_blank=True
    )


class AlertRuleSerializer(serializers.Serializer[Any]):
    """The rule that holds for a kind. Units: `threshold` and `recovers_at` are in `unit`."""

    kind = serializers.ChoiceField(choices=KINDS)
    is_own = serializers.BooleanField(help_text="Set by the project; else it is the operator's or ships.")
    is_enabled = serializers.BooleanField()
    threshold = serializers.IntegerField(help_text="An incident opens here.")
    recovers_at = serializers.IntegerField(help_text="It ends after the calm minutes at or below this.")
    window_minutes = serializers.IntegerField(help_text="How far back is looked, for what is counted over time.")
    calm_minutes = serializers.IntegerField()
    unit = serializers.CharField()


class AlertSettingsSerializer(serializers.Serializer[Any]):
    """When a project is alerted, and who is told."""

    project_id = serializers.UUIDField()
    rules = AlertRuleSerializer(many=True)
    mail_to = serializers.ListField(child=serializers.CharField(), help_text="Empty: the project's owners.")
    webhook_url = serializers.CharField(
        allow_null=True, help_text="Viewers see its host only: the rest may hold a token."
    )
    webhook_secret_masked = serializers.CharField(allow_null=True)


class PutAlertRuleSerializer(serializers.Serializer[Any]):
    """A rule of the project's own."""

    kind = OneOfField(choices=KINDS)
    is_enabled = StrictBooleanField(required=False, default=True)
    threshold = WholeNumberField(required=False, allow_null=True, min_value=1, max_value=FIGURE_MAX, help_text=SHIPPED)
    recovers_at = WholeNumberField(
        required=False, allow_null=True, min_value=0, max_value=FIGURE_MAX, help_text=f"Below the threshold. {SHIPPED}"
    )
    window_minutes = WholeNumberField(
        required=False, allow_null=True, min_value=1, max_value=MINUTES_MAX["window_minutes"], help_text=SHIPPED
    )
    calm_minutes = WholeNumberField(
        required=False, allow_null=True, min_value=1, max_value=MINUTES_MAX["calm_minutes"], help_text=SHIPPED
    )


class PutAlertSettingsSerializer(serializers.Serializer[Any]):
    """PUT: everything is replaced, but a secret that is left out or null is kept while there is a listener."""

    rules = serializers.ListField(child=PutAlertRuleSerializer(), required=False, max_length=len(KINDS))
    mail_to = serializers.ListField(child=PlainEmailField(), required=False, max_length=ADDRESSES_MAX)
    webhook_url = PlainCharField(
        max_length=2048,
        required=False,
        allow_null=True,
        allow_blank=True,
        help_text="Called with alert.opened and alert.recovered, signed as Standard Webhooks has it.",
    )
    webhook_secret = PlainCharField(
        max_length=200,
        required=False,
        allow_null=True,
        trim_whitespace=False,
        write_only=True,
        help_text="whsec_ and 24 to 64 random bytes in base64, the same at the listener. Never shown.",
    )


def render_brand(project: Project, row: Brand | None) -> Any:
    """Return what a project has set, and null for the rest."""
    shown = {name: (getattr(row, name) or None) if row else None for name in FIELDS}
    return BrandSerializer({"project_id": project.pk, **shown}).data


def render_alert_settings(project: Project, row: AlertTarget | None, *, whole: bool) -> Any:
    """Return the rules that hold and who is told; `whole` with the path of the listener's address. One query."""
    rules = [
        {"kind": kind.value, "is_own": is_own, "unit": UNITS[kind], **asdict(rule)}
        for kind, (rule, is_own) in rules_of(project).items()
    ]
    url = (row.webhook_url if whole else row.webhook_url_masked) if row else ""
    return AlertSettingsSerializer(
        {
            "project_id": project.pk,
            "rules": rules,
            "mail_to": row.mail_to if row else [],
            "webhook_url": url or None,
            "webhook_secret_masked": (row.webhook_secret_masked or None) if row else None,
        }
    ).data
