"""POST /api/v1/payments/lifetime-checkout: anybody may buy a licence."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request
from rest_framework.response import Response

from common.client_address import caller_address
from common.drf_fields import PlainCharField, PlainEmailField
from common.modes import mode_of
from common.query import read_test_mode
from common.schema import IDEMPOTENCY_KEY, error_responses
from licenses.limits import CHECKOUTS_PER_ADDRESS, count_by_address
from licenses.services.products import LicenseProductNotFound
from payments.bodies import PROMO_CODE_CHARS_MAX, PROMO_CODE_HELP, CheckoutAnswer, address
from payments.services.license_checkout import Buyer, open_license_checkout
from payments.views.end_user import read_body
from projects.authentication import EndUserAuthentication
from projects.idempotent_view import idempotent
from projects.models import Project
from projects.principals import EndUserPrincipal, PublicCaller
from projects.public_view import PublicView

TEST_MODE = OpenApiParameter("test_mode", bool, description="In which mode to buy. Default true.")


class LifetimeCheckoutBody(serializers.Serializer[Any]):
    """Which licence to buy. Everything else about it is the product's."""

    project = PlainCharField(min_length=1, max_length=63, help_text="The project's slug.")
    product = PlainCharField(min_length=1, max_length=64, help_text="The product's code.")
    promo_code = PlainCharField(
        required=False, allow_null=True, min_length=1, max_length=PROMO_CODE_CHARS_MAX, help_text=PROMO_CODE_HELP
    )
    email = PlainEmailField(
        required=False,
        allow_null=True,
        help_text="The buyer's address, which Stripe's page then has already. A second click gets the same checkout.",
    )
    cancel_url = address(
        required=False,
        allow_null=True,
        help_text="On an allowed origin. Left out: the project's default, or the licence page.",
    )


class AnybodyOrEndUser(BaseAuthentication):
    """An end user's token is welcome, so that the licence is theirs; nobody needs one."""

    def authenticate(self, request: Request) -> tuple[EndUserPrincipal | PublicCaller, None]:
        """Return the end user, or somebody at an address. Raises as EndUserAuthentication for a token that is no good."""
        if "Authorization" in request.headers:
            return EndUserAuthentication().authenticate(request)
        return PublicCaller(caller_address(request._request)), None


class LifetimeCheckoutView(PublicView):
    authentication_classes = [AnybodyOrEndUser]

    @extend_schema(
        operation_id="open_lifetime_checkout",
        tags=["Licences"],
        parameters=[TEST_MODE, IDEMPOTENCY_KEY],
        request=LifetimeCheckoutBody,
        responses={200: CheckoutAnswer, **error_responses(400, 401, 403, 404, 409, 413, 415, 422, 429, 502, 503)},
        auth=[{}, {"endUserToken": []}],  # type: ignore[list-item]
    )
    @idempotent()
    def post(self, request: Request) -> Response:
        """Open a checkout of a licence. Its buyer comes back to /license-access with a signed link; so does the welcome mail."""
        count_by_address(CHECKOUTS_PER_ADDRESS, request)
        given = {name: value for name, value in read_body(LifetimeCheckoutBody, request).items() if value is not None}
        mode = mode_of(read_test_mode(request.query_params))
        project = Project.objects.existing().filter(slug=given.pop("project"), is_active=True).first()
        principal: object = request.user
        end_user = principal.end_user if isinstance(principal, EndUserPrincipal) else None
        # Somebody else's project answers like one that does not exist.
        if project is None or (end_user is not None and end_user.project_id != project.pk):
            raise LicenseProductNotFound()
        buyer = Buyer(end_user, given.pop("email", ""), caller_address(request._request))
        opened = open_license_checkout(project=project, mode=mode, buyer=buyer, **given)
        return Response({"session_id": opened.session_id, "checkout_url": opened.url})
