"""/api/v1/payments/tokens/: what is left of a token budget, and using it. Idempotency keys are kept where the count is."""

import datetime as dt
from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from common.clock import from_unix
from common.drf_fields import WholeNumberField
from common.schema import IDEMPOTENCY_KEY, error_responses
from entitlements.services.token_budget import (
    RESERVATION_SECONDS,
    RESERVATION_SECONDS_MAX,
    TOKENS_PER_CALL_MAX,
    ReservationNotFound,
    check_tokens,
    commit_tokens,
    consume_tokens,
    read_budget,
    refuse_beyond,
    release_tokens,
    reserve_tokens,
    untouched_budget,
)
from entitlements.services.token_facts import Budget, Once
from entitlements.token_writer import keep_journal
from projects.account_view import USER_ID, Account, AccountView
from projects.idempotent_view import read_idempotent_request
from projects.principals import EndUserPrincipal
from projects.serializers import ExternalIdField

TAGS = ["Tokens"]
TEST_MODE = OpenApiParameter(
    "test_mode", bool, default=True, description="A server's key decides its mode itself; a contradiction is refused."
)
QUESTION = [TEST_MODE]
WRITE = [TEST_MODE, IDEMPOTENCY_KEY]
READ_REFUSALS = error_responses(400, 401, 403, 404, 422, 429)
ASK_REFUSALS = error_responses(400, 401, 403, 404, 413, 415, 422, 429, 503)
WRITE_REFUSALS = {**ASK_REFUSALS, **error_responses(409)}
USER_HELP = "The app's own id for the user. A server must name it; an end user's token may name itself only."


class UserBody(serializers.Serializer[Any]):
    """Whose budget."""

    user_id = ExternalIdField(required=False, help_text=USER_HELP)


class TokensBody(UserBody):
    """How many tokens."""

    tokens = WholeNumberField(min_value=1, max_value=TOKENS_PER_CALL_MAX)


class ReserveBody(TokensBody):
    """How many tokens, and for how long."""

    ttl_seconds = WholeNumberField(
        min_value=1,
        max_value=RESERVATION_SECONDS_MAX,
        default=RESERVATION_SECONDS,
        help_text="After so long, what was neither committed nor released is free again.",
    )


class ReleaseBody(UserBody):
    """Which reservation."""

    reservation_id = serializers.UUIDField()


class CommitBody(ReleaseBody):
    """Which reservation, and what it came to."""

    tokens = WholeNumberField(
        min_value=0,
        max_value=TOKENS_PER_CALL_MAX,
        required=False,
        allow_null=True,
        help_text="What was really used: all that was reserved when left out. More is taken if the budget has room.",
    )


class BudgetSerializer(serializers.Serializer[Any]):
    """A budget. Units: whole tokens."""

    limit = serializers.IntegerField(allow_null=True, help_text="Null: no limit.")
    used = serializers.IntegerField()
    reserved = serializers.IntegerField()
    remaining = serializers.IntegerField(allow_null=True, help_text="Null: no limit.")
    period_start = serializers.DateTimeField()
    period_end = serializers.DateTimeField(allow_null=True)


class ReadBudgetSerializer(BudgetSerializer):
    """A budget as it was read."""

    exact = serializers.BooleanField(
        help_text="False: the count cannot be reached; these figures are about a second old."
    )


class UsedSerializer(BudgetSerializer):
    """A budget after some of it was used."""

    tokens = serializers.IntegerField(help_text="What this call used.")


class CheckedSerializer(BudgetSerializer):
    """Whether so many tokens could be used now."""

    allowed = serializers.BooleanField()
    tokens = serializers.IntegerField(help_text="What was asked for.")


class ReservedSerializer(BudgetSerializer):
    """A reservation."""

    reservation_id = serializers.UUIDField()
    tokens = serializers.IntegerField(help_text="What is held.")
    expires_at = serializers.DateTimeField()


class ClosedSerializer(BudgetSerializer):
    """A reservation that is not open any more."""

    reservation_id = serializers.UUIDField()
    tokens = serializers.IntegerField(help_text="What was used of it.")


def budget_shape(budget: Budget) -> dict[str, Any]:
    """Render a budget."""
    return {
        "limit": budget.limit,
        "used": budget.used,
        "reserved": budget.reserved,
        "remaining": budget.remaining,
        "period_start": _moment(from_unix(budget.starts_unix)),
        "period_end": _moment(from_unix(budget.ends_unix)),
    }


def _moment(at: dt.datetime | None) -> str | None:
    return None if at is None else at.isoformat().replace("+00:00", "Z")


def _closed(budget: Budget) -> dict[str, Any]:
    return {"reservation_id": budget.reservation_id, "tokens": budget.tokens, **budget_shape(budget)}


class TokensView(AccountView):
    """What the views of this file share."""

    def given(self, body: type[serializers.Serializer[Any]], request: Request) -> tuple[Account, dict[str, Any]]:
        """Return whose budget it is and the rest of the body. Raises: ValidationError (422), and as asked_account."""
        read = body(data=request.data)
        read.is_valid(raise_exception=True)
        rest = dict(read.validated_data)
        account = self.asked_account(request, rest.pop("user_id", None))
        keep_journal()
        return account, rest

    def taker(self, account: Account, tokens: int) -> dict[str, Any]:
        """Return whose tokens are used. Nobody appears by a request that is refused. Raises: TokenBudgetExceeded (429)."""
        if not account.is_known:
            refuse_beyond(project_id=account.project.pk, tokens=tokens)
        return self.appear(account).keys

    def finisher(self, account: Account) -> dict[str, Any]:
        """Return whose reservation is finished. Raises: ReservationNotFound (404) for whom nobody knows."""
        if not account.is_known:
            raise ReservationNotFound
        return account.keys

    def by_user(self, request: Request) -> bool:
        """Say whether the user's own token asks: it finishes the reservations that were made with one."""
        return isinstance(request.user, EndUserPrincipal)

    def once(self, request: Request) -> Once | None:
        """Return what the header Idempotency-Key stands for. Raises FieldError (422)."""
        wanted = read_idempotent_request(request)
        if wanted is None:
            return None
        caller = f"{wanted.project_id}:{wanted.caller}"
        return Once.of(caller=caller, key=wanted.key, request=wanted.request_hash)

    def answer(self, budget: Budget, body: dict[str, Any]) -> Response:
        """Answer, and say when it is the stored first answer."""
        return Response(body, headers={"Idempotency-Replayed": "true"} if budget.replayed else None)


class TokenBudgetView(AccountView):
    @extend_schema(
        operation_id="token_budget",
        tags=TAGS,
        parameters=[USER_ID, TEST_MODE],
        responses={200: ReadBudgetSerializer, **READ_REFUSALS},
    )
    def get(self, request: Request) -> Response:
        """Read what is left of a token budget."""
        account = self.own_account(request)
        budget = read_budget(**account.keys) if account.is_known else untouched_budget(project_id=account.project.pk)
        return Response({**budget_shape(budget), "exact": budget.exact})


class CheckTokensView(TokensView):
    @extend_schema(
        operation_id="check_tokens",
        tags=TAGS,
        parameters=QUESTION,
        request=TokensBody,
        responses={200: CheckedSerializer, **ASK_REFUSALS},
    )
    def post(self, request: Request) -> Response:
        """Ask whether so many tokens could be used now. Nothing is held: to be sure of them, reserve."""
        account, given = self.given(TokensBody, request)
        if account.is_known:
            allowed, budget = check_tokens(**account.keys, tokens=given["tokens"])
        else:
            budget = untouched_budget(project_id=account.project.pk, tokens=given["tokens"])
            allowed = budget.remaining is None or given["tokens"] <= budget.remaining
        return Response({"allowed": allowed, "tokens": given["tokens"], **budget_shape(budget)})


class ConsumeTokensView(TokensView):
    @extend_schema(
        operation_id="consume_tokens",
        tags=TAGS,
        parameters=WRITE,
        request=TokensBody,
        responses={200: UsedSerializer, **WRITE_REFUSALS},
    )
    def post(self, request: Request) -> Response:
        """Use tokens. 429 `token_budget_exceeded` when fewer are left; `retry_after` ends with the period."""
        account, given = self.given(TokensBody, request)
        # A key that is refused comes first: nobody appears by it.
        once = self.once(request)
        budget = consume_tokens(**self.taker(account, given["tokens"]), tokens=given["tokens"], once=once)
        return self.answer(budget, {"tokens": budget.tokens, **budget_shape(budget)})


class ReserveTokensView(TokensView):
    @extend_schema(
        operation_id="reserve_tokens",
        tags=TAGS,
        parameters=WRITE,
        request=ReserveBody,
        responses={200: ReservedSerializer, **WRITE_REFUSALS},
    )
    def post(self, request: Request) -> Response:
        """Hold tokens for a call whose cost is known only afterwards."""
        account, given = self.given(ReserveBody, request)
        once = self.once(request)
        whose = self.taker(account, given["tokens"])
        budget = reserve_tokens(**whose, **given, once=once, by_user=self.by_user(request))
        expires = from_unix((budget.expires_unix_ms or 0) // 1000)
        return self.answer(budget, {**_closed(budget), "expires_at": _moment(expires)})


class CommitTokensView(TokensView):
    @extend_schema(
        operation_id="commit_tokens",
        tags=TAGS,
        parameters=WRITE,
        request=CommitBody,
        responses={200: ClosedSerializer, **WRITE_REFUSALS},
    )
    def post(self, request: Request) -> Response:
        """Use what was reserved, or what it really came to. An end user has the reservations of their own token only."""
        account, given = self.given(CommitBody, request)
        budget = commit_tokens(
            **self.finisher(account), **given, once=self.once(request), by_user=self.by_user(request)
        )
        return self.answer(budget, _closed(budget))


class ReleaseTokensView(TokensView):
    @extend_schema(
        operation_id="release_tokens",
        tags=TAGS,
        parameters=WRITE,
        request=ReleaseBody,
        responses={200: ClosedSerializer, **WRITE_REFUSALS},
    )
    def post(self, request: Request) -> Response:
        """Give back what was reserved. An end user has the reservations of their own token only."""
        account, given = self.given(ReleaseBody, request)
        budget = release_tokens(
            **self.finisher(account), **given, once=self.once(request), by_user=self.by_user(request)
        )
        return self.answer(budget, _closed(budget))
