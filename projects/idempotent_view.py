"""`@idempotent()` for the `post` method of a view: everything that the Idempotency-Key header promises."""

import functools
import json
from collections.abc import Callable
from typing import Any, Concatenate, ParamSpec, TypeVar

from rest_framework.exceptions import ParseError, UnsupportedMediaType
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import User
from common.errors import ApiError, FieldError
from projects.idempotency import (
    Claim,
    IdempotentRequest,
    StoredAnswer,
    claim_request,
    hash_request,
    is_lasting,
    release_claim,
    store_answer,
)
from projects.principals import EndUserPrincipal, LicenseHolderPrincipal, PublicCaller, ServerPrincipal

P = ParamSpec("P")
V = TypeVar("V", bound=APIView)
Handler = Callable[Concatenate[V, Request, P], Response]
SecretRule = bool | Callable[[Any], bool]

HEADER = "Idempotency-Key"
MAX_KEY_LENGTH = 255


def idempotent(*, holds_secret: SecretRule = False) -> Callable[[Handler[V, P]], Handler[V, P]]:
    """Make a `post` method honour Idempotency-Key.

    `holds_secret`: its answer (or one of which the rule says so) is never stored, a replay is 409 already_created.
    """

    def decorate(handler: Handler[V, P]) -> Handler[V, P]:
        @functools.wraps(handler)
        def run(view: V, request: Request, *args: P.args, **kwargs: P.kwargs) -> Response:
            wanted = read_idempotent_request(request)
            if wanted is None:
                return handler(view, request, *args, **kwargs)
            claim = claim_request(wanted)
            if isinstance(claim, StoredAnswer):
                return Response(claim.body, status=claim.status_code, headers={"Idempotency-Replayed": "true"})
            return _carry_out(claim, lambda: handler(view, request, *args, **kwargs), holds_secret=holds_secret)

        return run

    return decorate


def _carry_out(claim: Claim, handler: Callable[[], Response], *, holds_secret: SecretRule) -> Response:
    try:
        response = handler()
    except ApiError as error:
        if is_lasting(error.status_code):
            store_answer(claim=claim, status_code=error.status_code, body=_plain(error.body()), holds_secret=False)
        else:
            release_claim(claim=claim)
        raise
    except BaseException:
        release_claim(claim=claim)
        raise
    if is_lasting(response.status_code):
        secret = response.status_code < 300 and (
            holds_secret(response.data) if callable(holds_secret) else holds_secret
        )
        body = None if secret else _plain(response.data)
        store_answer(claim=claim, status_code=response.status_code, body=body, holds_secret=secret)
    else:
        release_claim(claim=claim)
    return response


def read_idempotent_request(request: Request) -> IdempotentRequest | None:
    """Read what the header Idempotency-Key stands for; None without one. Raises FieldError (422)."""
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if not 0 < len(key) <= MAX_KEY_LENGTH or not key.isascii() or not key.isprintable():
        raise FieldError("header", HEADER, msg=f"Give 1 to {MAX_KEY_LENGTH} printable ASCII characters.")
    try:
        body = request.data
    except (ParseError, UnsupportedMediaType):
        # The handler reads the body itself and answers with what is wrong about it.
        return None
    caller, project_id = _scope(request.user)
    query = "&".join(sorted(request.META.get("QUERY_STRING", "").split("&")))
    return IdempotentRequest(
        project_id=project_id,
        caller=caller,
        key=key,
        method=request.method or "POST",
        path=request.path,
        request_hash=hash_request(method=request.method or "POST", path=request.path, query=query, body=body),
    )


def _scope(principal: Any) -> tuple[str, Any]:
    if isinstance(principal, EndUserPrincipal | ServerPrincipal | LicenseHolderPrincipal):
        return principal.caller, principal.project.pk
    if isinstance(principal, PublicCaller):
        return principal.caller, None
    if isinstance(principal, User):
        # A developer's keys are their own across all their projects; the path is part of what is compared.
        return f"user:{principal.pk}", None
    raise TypeError("idempotency keys need an authenticated caller")


def _plain(data: Any) -> Any:
    return json.loads(JSONRenderer().render(data)) if data is not None else None
