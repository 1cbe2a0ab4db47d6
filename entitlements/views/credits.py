"""Credits over HTTP: an app's server names its user, an end user has their own. Packs are in `payments/views/credits.py`.

An Idempotency-Key is also the key in the ledger, so that a repeat after the stored answer is gone still moves credits once.
"""

import uuid
from typing import Any

from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from common import clock
from common.paging import paginate
from common.schema import IDEMPOTENCY_KEY, PAGING, error_responses
from entitlements import credit_bodies as bodies
from entitlements.services import credit_history as shapes
from entitlements.services import ledger
from entitlements.services.ledger import Spend
from entitlements.views.usage import READ, read_body
from projects.account_view import USER_ID, Account, AccountView
from projects.idempotent_view import HEADER, idempotent
from projects.principals import EndUserPrincipal

TAGS = ["Credits"]
WRITE = [*READ, IDEMPOTENCY_KEY]
READ_REFUSALS = error_responses(400, 401, 403, 404, 422, 429)
WRITE_REFUSALS = error_responses(400, 401, 403, 404, 409, 413, 415, 422, 429)
TOO_FEW = OpenApiResponse(bodies.InsufficientCreditsAnswer, "Too few credits; nothing was written.")
SPEND_REFUSALS = {**WRITE_REFUSALS, 402: TOO_FEW}


class CreditView(AccountView):
    """A view on somebody's credits."""

    def taker(self, request: Request, user_id: Any, amount: int) -> Account:
        """Return whose credits are taken. Nobody appears by a request that is refused. Raises: InsufficientCredits (402)."""
        account = self.asked_account(request, user_id)
        if account.is_new:
            ledger.refuse_beyond(amount=amount, **account.keys)
        return self.appear(account)

    def finisher(self, request: Request, user_id: Any) -> Account:
        """Return whose reservation is finished. Raises: ReservationNotFound (404) for whom nobody knows."""
        account = self.asked_account(request, user_id)
        if not account.is_known:
            raise ledger.ReservationNotFound
        return account

    def movement(self, request: Request, account: Account) -> dict[str, Any]:
        """Say whose credits move, by which key and whom. A user's keys take none of the server's."""
        actor = ledger.END_USER if isinstance(request.user, EndUserPrincipal) else "server"
        given = request.headers.get(HEADER)
        key = f"api:{actor}:{account.end_user.pk}:{given}" if given else f"api:{uuid.uuid4()}"
        return {**account.keys, "key": key, "actor": actor}


class CreditBalanceView(AccountView):
    @extend_schema(
        operation_id="read_credit_balance",
        tags=TAGS,
        parameters=[USER_ID, *READ],
        responses={200: bodies.CreditBalanceAnswer, **READ_REFUSALS},
    )
    def get(self, request: Request) -> Response:
        """Read what can be spent, today's credits included."""
        moment = clock.now()
        balance = ledger.read_balance(**self.own_account(request).keys, at=moment)
        return Response(shapes.render_balance(balance, moment))


class CreditHistoryView(AccountView):
    @extend_schema(
        operation_id="list_credit_history",
        tags=TAGS,
        parameters=[USER_ID, *READ, *PAGING],
        responses={200: bodies.CreditHistoryAnswer, **READ_REFUSALS},
    )
    def get(self, request: Request) -> Response:
        """List what happened to the credits, newest first."""
        rows = shapes.transactions_of(**self.own_account(request).keys)
        by_user = isinstance(request.user, EndUserPrincipal)
        render = shapes.render_own_history if by_user else shapes.render_history
        return Response(paginate(rows, request.query_params, key="transactions", render=render))


class CreditCheckView(AccountView):
    @extend_schema(
        operation_id="check_credits",
        tags=TAGS,
        parameters=READ,
        request=bodies.CreditCheckBody,
        responses={200: bodies.CreditCheckAnswer, **WRITE_REFUSALS},
    )
    def post(self, request: Request) -> Response:
        """Ask whether an amount could be spent now. Nothing is set aside; `reserve` does that."""
        given = read_body(bodies.CreditCheckBody, request)
        account = self.asked_account(request, given.get("user_id"))
        available = ledger.read_balance(**account.keys).available
        deficit = max(given["amount"] - available, 0)
        return Response(
            {"allowed": not deficit, "required": given["amount"], "available": available, "deficit": deficit}
        )


class CreditSpendView(CreditView):
    @extend_schema(
        operation_id="spend_credits",
        tags=TAGS,
        parameters=WRITE,
        request=bodies.CreditSpendBody,
        responses={200: bodies.CreditSpendAnswer, **SPEND_REFUSALS},
    )
    @idempotent()
    def post(self, request: Request) -> Response:
        """Spend one amount, or several all or none: what expires soonest first. 402 tells how many credits are missing."""
        given = read_body(bodies.CreditSpendBody, request)
        spends = [
            Spend(item["amount"], item["description"], item.get("metadata") or {})
            for item in given.get("items", [given])
        ]
        account = self.taker(request, given.get("user_id"), sum(one.amount for one in spends))
        return Response(shapes.render_spends(ledger.spend_batch(spends=spends, **self.movement(request, account))))


class CreditReserveView(CreditView):
    @extend_schema(
        operation_id="reserve_credits",
        tags=TAGS,
        parameters=WRITE,
        request=bodies.CreditReserveBody,
        responses={200: bodies.CreditReservationAnswer, **SPEND_REFUSALS},
    )
    @idempotent()
    def post(self, request: Request) -> Response:
        """Set credits aside until they are committed or released, or until the time is over."""
        given = read_body(bodies.CreditReserveBody, request)
        account = self.taker(request, given.get("user_id"), given["amount"])
        reservation = ledger.reserve_credits(
            **self.movement(request, account),
            amount=given["amount"],
            ttl_seconds=given["ttl_seconds"],
            description=given["description"],
            metadata=given.get("metadata"),
        )
        return Response(shapes.render_reservation(reservation))


class CreditCommitView(CreditView):
    @extend_schema(
        operation_id="commit_credits",
        tags=TAGS,
        parameters=WRITE,
        request=bodies.CreditCommitBody,
        responses={200: bodies.CreditReservationEndAnswer, **WRITE_REFUSALS},
    )
    @idempotent()
    def post(self, request: Request) -> Response:
        """Spend a reservation, or a part of it; the rest can be spent again. An end user has those of their own token only."""
        given = read_body(bodies.CreditCommitBody, request)
        account = self.finisher(request, given.get("user_id"))
        finished = ledger.commit_reservation(
            **self.movement(request, account),
            reservation_id=given["reservation_id"],
            amount=given.get("amount"),
            description=given["description"],
            metadata=given.get("metadata"),
        )
        return Response(shapes.render_finished(finished))


class CreditReleaseView(CreditView):
    @extend_schema(
        operation_id="release_credits",
        tags=TAGS,
        parameters=WRITE,
        request=bodies.CreditReleaseBody,
        responses={200: bodies.CreditReservationEndAnswer, **WRITE_REFUSALS},
    )
    @idempotent()
    def post(self, request: Request) -> Response:
        """Give a reservation back. An end user has those of their own token only."""
        given = read_body(bodies.CreditReleaseBody, request)
        account = self.finisher(request, given.get("user_id"))
        movement = self.movement(request, account)
        return Response(
            shapes.render_finished(ledger.release_reservation(**movement, reservation_id=given["reservation_id"]))
        )
