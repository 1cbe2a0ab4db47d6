"""Usage over HTTP: an app's server reports and asks for its users, an end user for themselves."""

from collections import Counter
from decimal import Decimal
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from common import clock
from common.schema import IDEMPOTENCY_KEY, error_responses
from entitlements import usage_bodies as bodies
from entitlements.models import UsageCharge
from entitlements.services import quotas
from entitlements.services.quotas import plain
from entitlements.services.usage import (
    SERVER,
    Outcome,
    UsageReport,
    UsageSummary,
    check_reports,
    read_usage,
    report_usage,
)
from entitlements.services.usage_standing import Standing
from projects.account_view import USER_ID, AccountView
from projects.idempotent_view import idempotent
from projects.principals import EndUserPrincipal

TAGS = ["Usage"]
TEST_MODE = OpenApiParameter(
    "test_mode",
    {"type": "boolean", "default": True},
    OpenApiParameter.QUERY,
    description="An end user's choice of mode; a server's key decides, and a contradiction is refused.",
)
PROJECT_HEADER = OpenApiParameter(
    "X-Project-ID",
    {"type": "string", "format": "uuid"},
    OpenApiParameter.HEADER,
    description="For tokens of the project's own provider that name no project.",
)
READ = [TEST_MODE, PROJECT_HEADER]
WRITE_REFUSALS = error_responses(400, 401, 403, 404, 409, 413, 415, 422, 429)
UTC_TEXT = "%Y-%m-%dT%H:%M:%SZ"


def read_body(serializer: type[Any], request: Request) -> dict[str, Any]:
    """Check a body. Raises ValidationError (422) that names each wrong field."""
    body = serializer(data=request.data)
    body.is_valid(raise_exception=True)
    return dict(body.validated_data)


class UsageEventsView(AccountView):
    @extend_schema(
        operation_id="report_usage",
        tags=TAGS,
        parameters=[*READ, IDEMPOTENCY_KEY],
        request=bodies.UsageEventsBody,
        responses={200: bodies.UsageEventsAnswer, **WRITE_REFUSALS},
    )
    @idempotent()
    def post(self, request: Request) -> Response:
        """Count usage, each key once. What end users report has keys apart from the server's: theirs take none of its."""
        given = read_body(bodies.UsageEventsBody, request)
        account, reports = self.asked_account(request, given.get("user_id")), _reports(given)
        if account.is_new:
            # Nobody appears by a request that is refused.
            check_reports(project_id=account.project.pk, reports=reports)
        account = self.appear(account)
        by_themselves = isinstance(request.user, EndUserPrincipal)
        outcomes = report_usage(
            **account.keys,
            reports=reports,
            reporter=str(account.end_user.pk) if by_themselves else SERVER,
        )
        return Response(render_outcomes(outcomes))


class UsageSummaryView(AccountView):
    @extend_schema(
        operation_id="read_usage_summary",
        tags=TAGS,
        parameters=[USER_ID, *READ],
        responses={200: bodies.UsageSummaryAnswer, **error_responses(400, 401, 403, 404, 422, 429)},
    )
    def get(self, request: Request) -> Response:
        """Read what was used in the running period, what of it will be billed, and what earlier periods cost."""
        return Response(render_summary(read_usage(**self.own_account(request).keys)))


class CanExecuteView(AccountView):
    @extend_schema(
        operation_id="can_execute",
        tags=TAGS,
        parameters=READ,
        request=bodies.CanExecuteBody,
        responses={200: bodies.CanExecuteAnswer, **WRITE_REFUSALS},
    )
    def post(self, request: Request) -> Response:
        """Ask whether a user may go on: warned from 80 and 95 % of what the plan includes, refused past 110 % or its own mark."""
        given = read_body(bodies.CanExecuteBody, request)
        account = self.asked_account(request, given.get("user_id"))
        answer = quotas.can_execute(
            **account.keys, meter_code=given["meter"], quantity=given["quantity"], moment=clock.now()
        )
        return Response(render_verdict(answer) | {"quantity": plain(given["quantity"])})


def _reports(given: dict[str, Any]) -> list[UsageReport]:
    if "events" not in given:
        return [_report({"quantity": Decimal(1), **given}, ("body",))]
    return [_report(event, ("body", "events", number)) for number, event in enumerate(given["events"])]


def _report(event: dict[str, Any], loc: tuple[str | int, ...]) -> UsageReport:
    return UsageReport(
        meter=event["meter"],
        quantity=event["quantity"],
        key=event["idempotency_key"],
        happened_at=event.get("timestamp"),
        metadata=event.get("metadata") or {},
        loc=loc,
    )


def render_outcomes(outcomes: list[Outcome]) -> dict[str, Any]:
    """Write what became of reports."""
    return {
        "accepted": sum(one.accepted for one in outcomes),
        "duplicates": sum(not one.accepted for one in outcomes),
        "events": [
            {
                "idempotency_key": one.key,
                "status": "accepted" if one.accepted else "duplicate",
                "late": one.late,
                "differs": one.differs,
            }
            for one in outcomes
        ],
    }


def render_verdict(answer: quotas.Verdict) -> dict[str, Any]:
    """Write whether somebody may go on."""
    now, after = answer.now, answer.after
    return {
        "allowed": not after.is_blocked,
        "reason": "quota_exceeded" if after.is_blocked else None,
        "meter": now.meter.code,
        **_progress(now),
        "percent": _percent(after),
        "warnings": [{"code": code, "message": message} for code, message in answer.warnings],
        "overage": plain(after.overage),
        "overage_amount_cents": after.amount_cents,
        "currency": after.meter.currency,
        "period_end": answer.span.end.strftime(UTC_TEXT),
    }


def render_summary(summary: UsageSummary) -> dict[str, Any]:
    """Write where somebody is, before it is billed."""
    amounts: Counter[str] = Counter()
    for one in summary.standings:
        if one.amount_cents:
            amounts[one.meter.currency] += one.amount_cents
    return {
        "plan": summary.span.plan.code if summary.span.plan else None,
        "period_start": summary.span.start.strftime(UTC_TEXT),
        "period_end": summary.span.end.strftime(UTC_TEXT),
        "billable": summary.span.billable,
        "meters": [_render_standing(one) for one in summary.standings],
        "overage_totals": [{"currency": name, "amount_cents": amounts[name]} for name in sorted(amounts)],
        "charges": [_render_charge(charge) for charge in summary.charges],
    }


def _progress(one: Standing) -> dict[str, Any]:
    return {
        "used": plain(one.used),
        "included": None if one.included is None else plain(one.included),
        "remaining": None if one.remaining is None else plain(one.remaining),
        "block_at_percent": one.quota.block_at_percent if one.quota else None,
    }


def _percent(one: Standing) -> float | None:
    return None if one.percent is None else float(one.percent)


def _render_standing(one: Standing) -> dict[str, Any]:
    return {
        "meter": one.meter.code,
        "name": one.meter.name,
        "unit": one.meter.unit,
        **_progress(one),
        "percent": _percent(one),
        "warning_percent": one.warning_percent,
        "blocked": one.is_full,
        "overage": plain(one.overage),
        "unit_amount": plain(one.unit_amount),
        "overage_amount_cents": one.amount_cents,
        "currency": one.meter.currency,
        "late": plain(one.late),
        "billed_as": "meter_event" if one.meter.stripe_event_name else "invoice_item",
    }


def _render_charge(charge: UsageCharge) -> dict[str, Any]:
    return {
        "period_start": charge.period.starts_at.strftime(UTC_TEXT),
        "period_end": charge.period.ends_at.strftime(UTC_TEXT),
        "meter": charge.meter.code,
        "used": plain(charge.used),
        "included": plain(charge.included),
        "overage": plain(charge.overage),
        "unit_amount": plain(charge.unit_amount),
        "amount_cents": charge.amount_cents,
        "currency": charge.currency,
        "status": charge.status,
        "billed_as": charge.method,
        "invoice_id": charge.stripe_invoice_id or None,
        "note": charge.note or None,
    }
