"""The only importer of `stripe`: one client per project and mode, plain dicts out, typed errors, no open transaction.

Invariant: while Stripe is called no database transaction is open, so a slow Stripe never holds a row lock. Callers get dicts,
never StripeObjects: pickling one of those contains the key. Errors never carry a key or a response body into a log.
"""

import datetime as dt
import logging
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any
from urllib.parse import quote

import stripe
from django.conf import settings
from django.db import connection

from common.errors import ApiError, NotFound
from common.metrics import STRIPE_SECONDS, timed
from payments.models import StripeCredentials
from payments.services import rate_budget

# At DEBUG the library logs whole answers, and the answer that creates a webhook endpoint holds its signing secret.
_library_logger = logging.getLogger("stripe")
_library_logger.setLevel(max(logging.INFO, _library_logger.level))
stripe.enable_telemetry = False
logger = logging.getLogger(__name__)

MAX_PAGES = 1000
PAGE_SIZE = 100


class StripeNotConfigured(NotFound):
    """404: the project has no usable Stripe keys for this mode."""

    code = "stripe_not_configured"
    detail = "Stripe is not configured for this project and mode."
    action = "configure_stripe"


class StripeFailure(ApiError):
    """Base of all trouble with Stripe. `request_id` is Stripe's own, for their support."""

    status_code = 502
    code = "stripe_error"
    detail = "Stripe refused the call."

    def __init__(self, error: stripe.StripeError | None = None, detail: str | None = None) -> None:
        self.request_id: str | None = getattr(error, "request_id", None)
        self.stripe_code: str | None = getattr(error, "code", None)
        self.param: str | None = getattr(error, "param", None)
        self.http_status: int | None = getattr(error, "http_status", None)
        self.user_message: str = (getattr(error, "user_message", None) or "") if error is not None else ""
        super().__init__(detail, extra={"stripe_request_id": self.request_id} if self.request_id else None)

    def __str__(self) -> str:
        facts = f"status={self.http_status}, code={self.stripe_code}, param={self.param}, request={self.request_id}"
        return f"{type(self).__name__}({facts})"


class StripeRefused(StripeFailure):
    """502: Stripe understood the call and refused it. The same call is refused again."""


class StripeObjectMissing(StripeRefused):
    """Stripe has no such object in this account and mode."""

    detail = "Stripe has no such object."


class StripeCardError(StripeRefused):
    """402: the card was declined or asks for authentication."""

    status_code = 402
    code = "card_error"
    detail = "The card was declined."


class StripeKeyRejected(StripeFailure):
    """502: the stored key is wrong, revoked, or lacks a permission. Mended by a new key, not by trying again."""

    detail = "Stripe rejected the project's key, or the key lacks a permission."
    action = "configure_stripe"


class StripePermissionMissing(StripeKeyRejected):
    """502: a restricted key lacks one permission. What needs no such permission still works.

    Source: https://docs.stripe.com/keys/restricted-api-keys
    """

    detail = "The project's restricted Stripe key lacks a permission that this needs."


class StripeUnavailable(StripeFailure):
    """503: Stripe cannot be reached, timed out, or failed inside. The call may have taken effect."""

    status_code = 503
    code = "stripe_unavailable"
    detail = "Stripe cannot be reached now. Try again later."
    retryable = True


class StripeRateLimited(StripeUnavailable):
    """503: too many calls on this account. An attempt before the refused one, whose answer was lost, may have taken effect."""

    detail = "Stripe asks to slow down. Try again later."


_OUTCOMES: dict[type[StripeFailure], str] = {
    StripeRefused: "refused",
    StripeObjectMissing: "missing",
    StripeCardError: "card_error",
    StripeKeyRejected: "key_rejected",
    StripePermissionMissing: "permission_missing",
    StripeUnavailable: "unavailable",
    StripeRateLimited: "rate_limited",
}


class TransactionOpen(RuntimeError):
    """A programming error: Stripe was about to be called while a database transaction was open."""


class StripeAccount:
    """One project's Stripe account in one mode. Object names are REST paths in the plural: `checkout/sessions`."""

    def __init__(self, secret_key: str, *, label: str, account_id: str = "", mode: str = "") -> None:
        self._client = _client(secret_key)
        self._label = label
        self._mode = mode
        self.account_id = account_id

    def __repr__(self) -> str:
        return f"<StripeAccount {self._label}>"

    def __reduce__(self) -> Any:
        raise TypeError("A Stripe account holds a key and must not be pickled.")

    def retrieve(self, object_name: str, object_id: str, *, expand: Sequence[str] = ()) -> dict[str, Any]:
        """Read one object. Raises StripeObjectMissing and the other StripeFailure errors."""
        return self._request("get", _path(object_name, object_id), {"expand": list(expand)} if expand else {})

    def list(self, object_name: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Read one page of a list, newest first."""
        return self._request("get", _path(object_name), dict(params or {}))

    def iterate(self, object_name: str, params: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """Yield every object of a list, page by page (bounded)."""
        query = {"limit": PAGE_SIZE, **dict(params or {})}
        for _ in range(MAX_PAGES):
            page = self.list(object_name, query)
            yield from page["data"]
            if not page.get("has_more") or not page["data"]:
                return
            query["starting_after"] = page["data"][-1]["id"]

    def create(self, object_name: str, params: Mapping[str, Any], *, idempotency_key: str) -> dict[str, Any]:
        """Create one object; the same key never creates a second one."""
        return self._request("post", _path(object_name), dict(params), idempotency_key)

    def update(
        self, object_name: str, object_id: str, params: Mapping[str, Any], *, idempotency_key: str
    ) -> dict[str, Any]:
        """Change one object."""
        return self._request("post", _path(object_name, object_id), dict(params), idempotency_key)

    def action(
        self,
        object_name: str,
        object_id: str,
        verb: str,
        params: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str,
    ) -> dict[str, Any]:
        """Carry out a verb on one object: `subscriptions/{id}/resume`, `checkout/sessions/{id}/expire`."""
        return self._request(
            "post", f"{_path(object_name, object_id)}/{quote(verb, safe='')}", dict(params or {}), idempotency_key
        )

    def delete(self, object_name: str, object_id: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Delete or cancel one object. A second one answers StripeObjectMissing."""
        return self._request("delete", _path(object_name, object_id), dict(params or {}))

    def _request(
        self, method: str, path: str, params: dict[str, Any], idempotency_key: str | None = None
    ) -> dict[str, Any]:
        if connection.in_atomic_block:
            raise TransactionOpen(f"{method} {path} would call Stripe inside a database transaction")
        options = {"idempotency_key": idempotency_key} if idempotency_key else {}
        noun = path.split("/")[2]
        turn = _turn.set(lambda: self._await_turn(f"{method} {noun}"))
        with timed(STRIPE_SECONDS, method=method, object=noun, mode=self._mode or "none") as seen:
            try:
                answer = self._client.raw_request(method, path, **params, **options)
            except stripe.StripeError as error:
                failure = _translated(error)
                seen["outcome"] = _OUTCOMES[type(failure)]
                if isinstance(failure, StripeRateLimited) and self._mode:
                    rate_budget.slow_down(account=self.account_id or self._label, mode=self._mode)
                raise failure from None
            finally:
                _turn.reset(turn)
        data = answer.data
        if not isinstance(data, dict):
            raise StripeUnavailable(detail="Stripe's answer is not an object.")
        return dict(data)

    def _await_turn(self, endpoint: str) -> None:
        """Keep within what Stripe lets through for this account. Raises: StripeRateLimited, and this attempt was not sent."""
        account = self.account_id or self._label
        if self._mode and not rate_budget.await_turn(account=account, mode=self._mode, endpoint=endpoint):
            raise StripeRateLimited(detail="Too many calls to this Stripe account are waiting for their turn.")


def stripe_account(project_id: uuid.UUID, mode: str) -> StripeAccount:
    """Return the project's account in a mode. Raises StripeNotConfigured (404)."""
    credentials = (
        StripeCredentials.objects.for_project(project_id).usable().filter(mode=mode).exclude(secret_key="").first()
    )
    if credentials is None:
        raise StripeNotConfigured()
    return account_of(credentials)


def account_of(credentials: StripeCredentials) -> StripeAccount:
    """Return the account that stored credentials open. Raises StripeNotConfigured (404), DecryptionError."""
    secret_key = credentials.get_secret("secret_key")
    if not secret_key:
        raise StripeNotConfigured()
    label = f"{credentials.project_id}/{credentials.mode}"
    return StripeAccount(secret_key, label=label, account_id=credentials.stripe_account_id, mode=credentials.mode)


def read_account(secret_key: str) -> dict[str, Any]:
    """Read the account that a key belongs to, without storing anything. Raises StripeKeyRejected, StripeUnavailable.

    Source: https://docs.stripe.com/api/accounts/retrieve
    """
    return StripeAccount(secret_key, label="key under test")._request("get", "/v1/account", {})


def unix(at: dt.datetime) -> int:
    """Turn a time into Stripe's Unix seconds."""
    return int(at.timestamp())


def _client(secret_key: str) -> stripe.StripeClient:
    base: Any = {"api": settings.STRIPE_API_BASE.rstrip("/")} if settings.STRIPE_API_BASE else {}
    return stripe.StripeClient(
        secret_key,
        stripe_version=settings.STRIPE_API_VERSION,
        base_addresses=base,
        max_network_retries=settings.STRIPE_MAX_NETWORK_RETRIES,
        http_client=_http_client(),
    )


# Waits for the turn of the call that this thread is making.
_turn: ContextVar[Callable[[], None] | None] = ContextVar("stripe_turn", default=None)


class _PacedClient(stripe.RequestsClient):
    """Lets each request wait for its turn, also those by which the library repeats one that failed."""

    def request(self, *arguments: Any, **named: Any) -> Any:
        if (await_turn := _turn.get()) is not None:
            await_turn()
        return super().request(*arguments, **named)


_shared_http_client: stripe.RequestsClient | None = None


def _http_client() -> stripe.RequestsClient:
    """Share connections between clients; the library keeps one session per thread."""
    global _shared_http_client
    if _shared_http_client is None:
        _shared_http_client = _PacedClient(timeout=(5, settings.STRIPE_TIMEOUT_SECONDS))
    return _shared_http_client


def _path(object_name: str, object_id: str | None = None) -> str:
    """Build a path; an id is quoted, so that one with a slash cannot reach another endpoint."""
    if object_id is None:
        return f"/v1/{object_name}"
    if not object_id:
        raise ValueError("an empty id would read the list instead of the object")
    return f"/v1/{object_name}/{quote(object_id, safe='')}"


def _translated(error: stripe.StripeError) -> StripeFailure:
    """Map the library's errors to ours. Source: https://docs.stripe.com/api/errors"""
    if isinstance(error, stripe.PermissionError):
        return StripePermissionMissing(error)
    if isinstance(error, stripe.AuthenticationError):
        return StripeKeyRejected(error)
    if isinstance(error, stripe.RateLimitError) or error.http_status == 429:
        return StripeRateLimited(error)
    if isinstance(error, stripe.CardError):
        return StripeCardError(error, detail=error.user_message or None)
    if isinstance(error, stripe.APIConnectionError) or (error.http_status or 500) >= 500 or error.http_status == 409:
        return StripeUnavailable(error)
    if error.http_status == 404 or error.code == "resource_missing":
        return StripeObjectMissing(error)
    if isinstance(error, stripe.IdempotencyError):
        # A defect of ours: a key stands for one set of parameters. Somebody has to look; sending it again cannot help.
        logger.error("stripe_idempotency_conflict request=%s", error.request_id)
    return StripeRefused(error)
