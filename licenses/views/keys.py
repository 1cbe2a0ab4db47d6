"""/api/v1/license-keys: what a sold program asks about its licence key. The key is all that it has, so these are public."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from common.modes import mode_of
from common.query import read_test_mode
from common.schema import error_responses
from licenses import bodies, limits
from licenses.services.keys import KeyNotValid, KeyStanding, activate_key, deactivate_key, verify_key
from projects.models import Project
from projects.public_view import PublicView

TAGS = ["Licences"]
TEST_MODE = OpenApiParameter("test_mode", bool, description="Which mode's keys. Default true.")
REFUSALS = error_responses(400, 403, 413, 415, 422, 429)


class LicenseKeysView(PublicView):
    """A public view, counted per address."""

    authentication_classes = []

    def given(self, body: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
        """Return what a service takes, with the project of the slug. Raises: TooManyRequests (429), KeyNotValid (403)."""
        limits.count_by_address(limits.KEY_CALLS_PER_ADDRESS, request)
        serializer = body(data=request.data)
        serializer.is_valid(raise_exception=True)
        found = dict(serializer.validated_data)
        mode = mode_of(read_test_mode(request.query_params))
        project = Project.objects.existing().filter(slug=found["project"], is_active=True).first()
        if project is None:
            # Whether there is such a project is not told here.
            raise KeyNotValid()
        device = {"device": found.get("device_id") or ""} if "device_id" in body().fields else {}
        name = {"device_name": found["device_name"]} if "device_name" in found else {}
        return {"project": project, "mode": mode, "key": found["license_key"], **device, **name}


class VerifyKeyView(LicenseKeysView):
    @extend_schema(
        operation_id="verify_license_key",
        tags=TAGS,
        parameters=[TEST_MODE],
        request=bodies.VerifyKeyBody,
        responses={200: bodies.KeyAnswer, **REFUSALS},
        auth=[],
    )
    def post(self, request: Request) -> Response:
        """Say whether a licence key is valid, and whether a device uses it. Stores nothing."""
        return _answer(verify_key(**self.given(bodies.VerifyKeyBody, request)))


class ActivateKeyView(LicenseKeysView):
    @extend_schema(
        operation_id="activate_license_key",
        tags=TAGS,
        parameters=[TEST_MODE],
        request=bodies.ActivateKeyBody,
        responses={200: bodies.KeyAnswer, **REFUSALS, **error_responses(409)},
        auth=[],
    )
    def post(self, request: Request) -> Response:
        """Use a licence key on a device. The same device again takes no second place."""
        return _answer(activate_key(**self.given(bodies.ActivateKeyBody, request)))


class DeactivateKeyView(LicenseKeysView):
    @extend_schema(
        operation_id="deactivate_license_key",
        tags=TAGS,
        parameters=[TEST_MODE],
        request=bodies.DeviceBody,
        responses={200: bodies.KeyAnswer, **REFUSALS},
        auth=[],
    )
    def post(self, request: Request) -> Response:
        """Free a device's place."""
        return _answer(deactivate_key(**self.given(bodies.DeviceBody, request)))


def _answer(standing: KeyStanding) -> Response:
    return Response(
        {
            "valid": True,
            "product": standing.holder.product.code,
            "activated": standing.activated,
            "activations": standing.in_use,
            "activation_limit": standing.limit,
        }
    )
