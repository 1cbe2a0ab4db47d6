"""What a project's keys may do, and whether it sells in live mode: the checks of the back office, for developers' programs."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from common.modes import mode_of
from common.query import read_test_mode
from common.schema import IDEMPOTENCY_KEY, error_responses
from payments.schema import TEST_MODE, moment, text
from payments.services.go_live import GoLive, read_go_live, try_to_open
from payments.services.key_doctor import examine_key
from payments.services.shapes import utc_text
from payments.views.developer import TAGS, DeveloperView
from projects.idempotent_view import idempotent
from projects.models import Role


class GoLiveCheckSerializer(serializers.Serializer[Any]):
    """One thing that must be right before live mode sells."""

    name = serializers.CharField(help_text="keys, endpoint, probe or plans.")
    title = serializers.CharField()
    ok = serializers.BooleanField()
    message = serializers.CharField()
    mend = text(help_text="What to do when it is not right.")


class GoLiveSerializer(serializers.Serializer[Any]):
    """Whether a project sells in live mode. Opened once, it stays open; what turns red later is an alert."""

    is_open = serializers.BooleanField()
    opened_at = moment()
    is_green = serializers.BooleanField(help_text="Whether every check is right now.")
    checks = GoLiveCheckSerializer(many=True)


class KeyFindingSerializer(serializers.Serializer[Any]):
    """Whether the stored key has one permission, and what stops working without it."""

    permission = serializers.CharField(help_text="As Stripe's Dashboard names it.")
    ok = serializers.BooleanField()
    message = serializers.CharField()
    features = text(help_text="What needs it.")


class KeyDiagnosisSerializer(serializers.Serializer[Any]):
    """What the stored secret key may do."""

    is_test_mode = serializers.BooleanField()
    findings = KeyFindingSerializer(many=True)


class GoLiveView(DeveloperView):
    @extend_schema(
        operation_id="read_go_live",
        tags=TAGS,
        responses={200: GoLiveSerializer, **error_responses(401, 403, 404, 429)},
    )
    def get(self, request: Request, project_id: str) -> Response:
        """Read how the go-live checks stand, as far as it is known here; Stripe is not asked."""
        return Response(_rendered(read_go_live(project=self.project(project_id))))

    @extend_schema(
        operation_id="go_live",
        tags=TAGS,
        parameters=[IDEMPOTENCY_KEY],
        request=None,
        responses={200: GoLiveSerializer, **error_responses(401, 403, 404, 409, 415, 422, 429, 502, 503)},
    )
    @idempotent()
    def post(self, request: Request, project_id: str) -> Response:
        """Run the checks, and open live mode when all are right: key, endpoint, a signed probe, something to sell."""
        project = self.project(project_id, Role.DEVELOPER)
        return Response(_rendered(try_to_open(project=project, actor=self.developer)))


class KeyDoctorView(DeveloperView):
    @extend_schema(
        operation_id="examine_stripe_key",
        tags=TAGS,
        parameters=[TEST_MODE, IDEMPOTENCY_KEY],
        request=None,
        responses={200: KeyDiagnosisSerializer, **error_responses(401, 403, 404, 409, 415, 422, 429, 502, 503)},
    )
    @idempotent()
    def post(self, request: Request, project_id: str) -> Response:
        """Say which permissions the stored key lacks, and which feature each one switches off. Changes nothing at Stripe."""
        project = self.project(project_id, Role.DEVELOPER)
        is_test_mode = read_test_mode(request.query_params)
        findings = examine_key(project=project, mode=mode_of(is_test_mode))
        rendered = [
            {"permission": one.permission, "ok": one.ok, "message": one.message, "features": one.features or None}
            for one in findings
        ]
        return Response({"is_test_mode": is_test_mode, "findings": rendered})


def _rendered(found: GoLive) -> dict[str, Any]:
    return {
        "is_open": found.opened_at is not None,
        "opened_at": utc_text(found.opened_at),
        "is_green": found.is_green,
        "checks": [
            {"name": one.name, "title": one.title, "ok": one.ok, "message": one.message, "mend": one.mend or None}
            for one in found.checks
        ],
    }
