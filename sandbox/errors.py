"""Stripe's error envelope: the only shape in which the sandbox refuses anything under /v1."""

from __future__ import annotations

from typing import Any

DOC_URL = "https://docs.stripe.com/error-codes/"


class StripeError(Exception):
    """An answer in Stripe's error envelope.

    `keep_effects` marks refusals that happen after something was written (a declined charge):
    the transaction of the request commits and the answer is stored under its idempotency key.
    """

    keep_effects = False

    def __init__(
        self,
        message: str,
        *,
        http_status: int = 400,
        type: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        extra: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.headers = headers or {}
        self.message = message
        self.http_status = http_status
        self.type = type
        self.code = code
        self.param = param
        self.extra = extra or {}

    def body(self) -> dict[str, Any]:
        """Give the envelope: null keys are left out and doc_url comes only with a code."""
        error: dict[str, Any] = {"code": self.code, "message": self.message, "param": self.param}
        error.update(self.extra)
        if self.code:
            error["doc_url"] = DOC_URL + self.code.replace("_", "-")
        error["type"] = self.type
        return {"error": {key: value for key, value in sorted(error.items()) if value is not None}}


class CardError(StripeError):
    """A declined card (HTTP 402): what was written on the way (charge, intent, events) stays."""

    keep_effects = True

    def __init__(self, message: str, *, code: str, decline_code: str | None = None, **extra: Any) -> None:
        details = {"decline_code": decline_code, **extra}
        super().__init__(message, http_status=402, type="card_error", code=code, extra=details)
        self.decline_code = decline_code


class StorageRefused(Exception):
    """Raised by the store for a caller's mistake inside the sandbox itself; answers 500."""


def invalid(message: str, param: str | None = None, code: str | None = None) -> StripeError:
    """Make a 400 invalid_request_error."""
    return StripeError(message, param=param, code=code)


def missing(noun: str, object_id: str, param: str = "id", *, http_status: int = 404, hint: str = "") -> StripeError:
    """Make the error for an id that does not exist in this account and mode."""
    return StripeError(
        f"No such {noun}: '{object_id}'{hint}", http_status=http_status, code="resource_missing", param=param
    )


def not_simulated(param: str) -> StripeError:
    """Make the error for a parameter of Stripe's that this sandbox would otherwise silently ignore."""
    return StripeError(f"The sandbox does not support the parameter {param} yet.", param=param)


def requires(param: str) -> StripeError:
    """Make the error for a required parameter that was not sent."""
    return StripeError(f"Missing required param: {param}.", code="parameter_missing", param=param)
