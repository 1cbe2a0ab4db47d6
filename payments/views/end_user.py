"""What end users of an app do with their own token: buy, look, cancel, change. Nobody else's rows can be named here."""

from dataclasses import asdict
from typing import Any, cast

from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from common.modes import mode_of
from common.paging import paginate
from common.query import read_test_mode
from common.schema import IDEMPOTENCY_KEY, PAGING, error_responses
from entitlements.entitlement_bodies import EntitlementsAnswer
from entitlements.services.entitled import render_entitled
from payments import bodies, schema
from payments.models import Transaction
from payments.serializers import payments_with_relations, render_payments
from payments.services import checkout, my_state, portal, subscription_changes, subscription_preview
from payments.services.shapes import render_payment, render_subscription, utc_text
from payments.services.subscription_changes import ChangedSubscription
from projects.action_limits import BILLING, CHECKOUTS
from projects.authentication import EndUserAuthentication
from projects.idempotent_view import idempotent
from projects.principals import EndUserPrincipal

TAGS = ["End user"]
PROJECT_HEADER = OpenApiParameter(
    "X-Project-ID",
    {"type": "string", "format": "uuid"},
    OpenApiParameter.HEADER,
    description="For tokens of the project's own provider that name no project.",
)
READ = [schema.TEST_MODE, PROJECT_HEADER]
WRITE = [schema.TEST_MODE, PROJECT_HEADER, IDEMPOTENCY_KEY]
READ_REFUSALS = error_responses(400, 401, 404, 422, 429)
PORTAL_REFUSALS = error_responses(400, 401, 404, 413, 415, 422, 429, 502, 503)
WRITE_REFUSALS = {**PORTAL_REFUSALS, **error_responses(409)}


def read_body(serializer: type[Any], request: Request) -> dict[str, Any]:
    """Check a body. Raises ValidationError (422) that names each wrong field."""
    body = serializer(data=request.data)
    body.is_valid(raise_exception=True)
    return dict(body.validated_data)


class EndUserView(APIView):
    """A view for an end user's token, and for nothing else."""

    authentication_classes = [EndUserAuthentication]

    @property
    def principal(self) -> EndUserPrincipal:
        """Who asks, and in which project."""
        return cast(EndUserPrincipal, self.request.user)

    def caller(self, request: Request) -> dict[str, Any]:
        """Return project, mode and end user, as every service takes them. Raises FieldError (422)."""
        mode = mode_of(read_test_mode(request.query_params))
        return {"project": self.principal.project, "mode": mode, "end_user": self.principal.end_user}


class CheckoutSessionsView(EndUserView):
    action_limits = CHECKOUTS

    @extend_schema(
        operation_id="create_checkout_session",
        tags=TAGS,
        parameters=WRITE,
        request=bodies.CheckoutBody,
        responses={200: bodies.CheckoutAnswer, **WRITE_REFUSALS},
    )
    @idempotent()
    def post(self, request: Request) -> Response:
        """Open a checkout. A double click gets the same one."""
        caller = self.caller(request)
        given = read_body(bodies.CheckoutBody, request)
        # Null means left out.
        purchase = checkout.Purchase(**{name: value for name, value in given.items() if value is not None})
        session = checkout.open_checkout_session(**caller, purchase=purchase)
        return Response({"session_id": session.stripe_session_id, "checkout_url": session.url})


class CheckoutSessionView(EndUserView):
    @extend_schema(
        operation_id="read_checkout_session",
        tags=TAGS,
        parameters=READ,
        responses={200: bodies.CheckoutStateAnswer, **READ_REFUSALS, **error_responses(502, 503)},
    )
    def get(self, request: Request, session_id: str) -> Response:
        """Read what became of one of your checkouts; asks Stripe, so it is right before the webhook comes."""
        caller = self.caller(request)
        session = checkout.read_checkout_session(**caller, session_id=session_id)
        bought = my_state.bought_in(session)
        return Response(
            {
                "session_id": session.stripe_session_id,
                "status": session.status,
                "payment_status": session.payment_status or "unpaid",
                "subscription": render_subscription(bought.subscription) if bought.subscription else None,
                "payment": render_payment(bought.payment) if bought.payment else None,
            }
        )


class MySubscriptionView(EndUserView):
    @extend_schema(
        operation_id="read_my_subscription",
        tags=TAGS,
        parameters=READ,
        responses={
            200: OpenApiResponse(schema.SubscriptionSerializer, "The subscription, or null when there is none."),
            **READ_REFUSALS,
        },
    )
    def get(self, request: Request) -> Response:
        """Read what you are on. One answer, without a call to Stripe."""
        subscription = my_state.read_my_subscription(**self.caller(request))
        return Response(render_subscription(subscription) if subscription else None)


class MyEntitlementsView(EndUserView):
    @extend_schema(
        operation_id="read_my_entitlements",
        tags=TAGS,
        parameters=READ,
        responses={200: EntitlementsAnswer, **READ_REFUSALS},
    )
    def get(self, request: Request) -> Response:
        """Read what you are entitled to: plan, features, limits, credits and token budget. One query, no call to Stripe."""
        return Response(render_entitled(my_state.read_my_entitlements(**self.caller(request))))


class MyPaymentsView(EndUserView):
    @extend_schema(
        operation_id="list_my_payments",
        tags=TAGS,
        parameters=[*READ, *PAGING],
        responses={200: schema.PaymentListSerializer, **READ_REFUSALS},
    )
    def get(self, request: Request) -> Response:
        """List your payments, newest first."""
        caller = self.caller(request)
        my_state.require_configured(project=caller["project"], mode=caller["mode"])
        rows = Transaction.objects.for_project(caller["project"]).in_mode(caller["mode"])
        rows = payments_with_relations(rows.filter(end_user=caller["end_user"]))
        return Response(paginate(rows, request.query_params, key="payments", render=render_payments))


class CustomerPortalView(EndUserView):
    action_limits = BILLING

    @extend_schema(
        operation_id="open_customer_portal",
        tags=TAGS,
        parameters=READ,
        request=bodies.PortalBody,
        responses={200: bodies.PortalAnswer, **PORTAL_REFUSALS},
    )
    def post(self, request: Request) -> Response:
        """Open Stripe's customer portal. Each call opens it anew: its link lives minutes and is never stored."""
        caller = self.caller(request)
        given = read_body(bodies.PortalBody, request)
        url = portal.open_portal(**caller, return_url=given["return_url"], flow=given.get("flow") or "")
        return Response({"portal_url": url})


class CancelSubscriptionView(EndUserView):
    action_limits = BILLING

    @extend_schema(
        operation_id="cancel_subscription",
        tags=TAGS,
        parameters=WRITE,
        request=bodies.CancelBody,
        responses={200: bodies.CancelAnswer, **WRITE_REFUSALS},
    )
    @idempotent()
    def post(self, request: Request) -> Response:
        """Cancel at the end of the period, or now."""
        caller = self.caller(request)
        given = read_body(bodies.CancelBody, request)
        changed = subscription_changes.cancel_subscription(
            **caller,
            immediately=given["cancel_immediately"],
            reason=given.get("reason") or "",
            comment=given.get("comment") or "",
        )
        return Response(_cancel_answer(changed))


class ResumeSubscriptionView(EndUserView):
    action_limits = BILLING

    @extend_schema(
        operation_id="resume_subscription",
        tags=TAGS,
        parameters=WRITE,
        request=None,
        responses={200: bodies.CancelAnswer, **WRITE_REFUSALS},
    )
    @idempotent()
    def post(self, request: Request) -> Response:
        """Undo a cancellation at the end of the period."""
        return Response(_cancel_answer(subscription_changes.resume_subscription(**self.caller(request))))


class UpdateSubscriptionView(EndUserView):
    action_limits = BILLING

    @extend_schema(
        operation_id="update_subscription",
        tags=TAGS,
        parameters=WRITE,
        request=bodies.UpdateBody,
        responses={200: bodies.UpdateAnswer, **WRITE_REFUSALS, **error_responses(402)},
    )
    @idempotent()
    def post(self, request: Request) -> Response:
        """Move to another price."""
        caller = self.caller(request)
        changed = subscription_changes.update_subscription(**caller, **_given(bodies.UpdateBody, request))
        return Response(
            {
                "subscription_id": changed.subscription_id,
                "status": changed.status,
                "price_id": changed.price_id,
                "message": changed.message,
            }
        )


class PreviewUpdateView(EndUserView):
    action_limits = BILLING

    @extend_schema(
        operation_id="preview_update",
        tags=TAGS,
        parameters=READ,
        request=bodies.UpdateBody,
        responses={200: bodies.PreviewAnswer, **PORTAL_REFUSALS, **error_responses(409)},
    )
    def post(self, request: Request) -> Response:
        """Ask what moving to another price costs. Changes nothing."""
        caller = self.caller(request)
        found = subscription_preview.preview_update(**caller, **_given(bodies.UpdateBody, request))
        times = {"proration_date": utc_text(found.proration_date), "next_invoice_at": utc_text(found.next_invoice_at)}
        lines = [
            asdict(line) | {"period_start": utc_text(line.period_start), "period_end": utc_text(line.period_end)}
            for line in found.lines
        ]
        return Response(asdict(found) | times | {"lines": lines})


def _given(serializer: type[Any], request: Request) -> dict[str, Any]:
    """Check a body; null means left out."""
    return {name: value for name, value in read_body(serializer, request).items() if value is not None}


def _cancel_answer(changed: ChangedSubscription) -> dict[str, Any]:
    return {
        "subscription_id": changed.subscription_id,
        "status": changed.status,
        "message": changed.message,
        "cancel_at": utc_text(changed.cancel_at),
        "cancelled_at": utc_text(changed.canceled_at),
    }
