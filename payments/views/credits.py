"""Credit packs: what is for sale, and buying one. The rest of credits is in `entitlements/views/credits.py`."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from common.drf_fields import PlainCharField, WholeNumberField
from common.modes import mode_of
from common.query import read_flag, read_test_mode
from common.schema import IDEMPOTENCY_KEY, error_responses
from entitlements.services.packs import PackOrder, packs_on_sale
from payments import schema
from payments.bodies import PROMO_CODE_CHARS_MAX, PROMO_CODE_HELP, CheckoutAnswer, address
from payments.services.checkout import open_checkout_session
from payments.services.credit_checkout import order_pack
from payments.views.end_user import PROJECT_HEADER, read_body
from projects.account_view import AccountView
from projects.action_limits import CHECKOUTS
from projects.idempotent_view import idempotent
from projects.models import Project
from projects.principals import EndUserPrincipal, ServerPrincipal
from projects.serializers import ExternalIdField

TAGS = ["Credits"]
READ = [schema.TEST_MODE, PROJECT_HEADER]
PACKS_MAX = 1000


class CreditPackAnswer(serializers.Serializer[Any]):
    """A pack on sale: so many credits for so much."""

    code = serializers.CharField()
    name = serializers.CharField()
    credits = serializers.IntegerField()
    amount_cents = serializers.IntegerField(help_text="Minor units of `currency`, before taxes.")
    currency = serializers.CharField()


class CreditPacksAnswer(serializers.Serializer[Any]):
    """What is for sale in this mode, the smallest pack first."""

    packs = CreditPackAnswer(many=True)


class CreditPurchaseBody(serializers.Serializer[Any]):
    """Which pack to buy. Price and credits are the pack's."""

    pack = PlainCharField(min_length=1, max_length=64, help_text="A pack's code.")
    quantity = WholeNumberField(
        default=1, min_value=1, max_value=PACKS_MAX, help_text="Multiplies the price and the credits."
    )
    success_url = address(required=False, allow_null=True, help_text="Left out: the project's default.")
    cancel_url = address(required=False, allow_null=True, help_text="Left out: the project's default.")
    promo_code = PlainCharField(
        required=False, allow_null=True, min_length=1, max_length=PROMO_CODE_CHARS_MAX, help_text=PROMO_CODE_HELP
    )
    user_id = ExternalIdField(
        required=False,
        allow_null=True,
        help_text="The app's own id for the user. A server must name it; an end user's token may name itself only.",
    )


class CreditPurchaseAnswer(CheckoutAnswer):
    """Where to send the buyer, and what they will have bought."""

    pack = serializers.CharField()
    quantity = serializers.IntegerField()
    credits = serializers.IntegerField(help_text="For the whole quantity; given once it is paid.")
    amount_cents = serializers.IntegerField(help_text="For the whole quantity, before discounts and taxes.")
    currency = serializers.CharField()


class CreditPacksView(AccountView):
    @extend_schema(
        operation_id="list_credit_packs",
        tags=TAGS,
        parameters=READ,
        responses={200: CreditPacksAnswer, **error_responses(400, 401, 404, 422, 429)},
    )
    def get(self, request: Request) -> Response:
        """List the credit packs that are on sale."""
        project, mode = _shop_of(request)
        return Response({"packs": [_pack_answer(order) for order in packs_on_sale(project=project, mode=mode)]})


class CreditPurchaseView(AccountView):
    action_limits = CHECKOUTS

    @extend_schema(
        operation_id="purchase_credits",
        tags=TAGS,
        parameters=[*READ, IDEMPOTENCY_KEY],
        request=CreditPurchaseBody,
        responses={
            200: CreditPurchaseAnswer,
            **error_responses(400, 401, 403, 404, 409, 413, 415, 422, 429, 502, 503),
        },
    )
    @idempotent()
    def post(self, request: Request) -> Response:
        """Open a checkout of a credit pack. The credits are given once it is paid."""
        given = {name: value for name, value in read_body(CreditPurchaseBody, request).items() if value is not None}
        account = self.asked_account(request, given.pop("user_id", None))
        scope: dict[str, Any] = {"project": account.project, "mode": account.mode}
        purchase = order_pack(**scope, **given)
        session = open_checkout_session(**scope, end_user=self.appear(account).end_user, purchase=purchase)
        bought = session.credit_purchase
        return Response(
            {
                "session_id": session.stripe_session_id,
                "checkout_url": session.url,
                "pack": bought.pack_code,
                "quantity": bought.quantity,
                "credits": bought.credits,
                "amount_cents": bought.amount_cents,
                "currency": bought.currency,
            }
        )


def _shop_of(request: Request) -> tuple[Project, str]:
    """Return whose packs are asked for, and in which mode. A server need not name a user: all see the same."""
    principal: object = request.user
    if isinstance(principal, ServerPrincipal):
        read_flag(request.query_params, "test_mode")
        return principal.project, principal.mode
    if not isinstance(principal, EndUserPrincipal):
        raise TypeError("packs are shown to an end user or a server")
    return principal.project, mode_of(read_test_mode(request.query_params))


def _pack_answer(order: PackOrder) -> dict[str, Any]:
    return {
        "code": order.pack.code,
        "name": order.pack.name,
        "credits": order.credits,
        "amount_cents": order.amount_cents,
        "currency": order.currency,
    }
