"""The OAuth2 endpoints: allauth's views on this service's server (accounts/oauth_server.py)."""

import contextlib
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from allauth.core.exceptions import RateLimited
from allauth.core.internal import ratelimit
from allauth.idp.oidc import app_settings
from allauth.idp.oidc import views as allauth_views
from allauth.idp.oidc.internal.oauthlib.utils import convert_response, extract_params, get_validator_context
from allauth.idp.oidc.models import Client
from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt
from oauthlib.oauth2.rfc6749.errors import OAuth2Error
from redis.exceptions import RedisError

from accounts.oauth_server import oauth_server
from accounts.oidc import SUPPORTED_SCOPES
from common.client_address import client_address
from common.errors import TooManyRequests
from common.rate_limits import RateLimit, check_calls, count_call
from common.strict_jwt import is_storable

FAILURES_PER_ADDRESS = RateLimit("oauth-failures-address", amount=100, seconds=300)
GRANT_TYPES = [Client.GrantType.AUTHORIZATION_CODE, Client.GrantType.CLIENT_CREDENTIALS, Client.GrantType.REFRESH_TOKEN]
# Every access token is for this API and nothing else (RFC 8707 is not offered).
NO_RESOURCE = ("invalid_target", "Tokens of this service are for its own API only; leave resource out.")


class ConfigurationView(View):
    """/.well-known/openid-configuration: where everything is."""

    def get(self, request: HttpRequest) -> JsonResponse:
        """Describe the provider; addresses follow PUBLIC_BASE_URL, not the Host header."""
        auth_methods = list(app_settings.AUTH_METHODS)
        data = {
            "issuer": settings.PUBLIC_BASE_URL,
            "authorization_endpoint": _address("authorization"),
            "token_endpoint": _address("token"),
            "revocation_endpoint": _address("revoke"),
            "introspection_endpoint": _address("introspect"),
            "userinfo_endpoint": _address("userinfo"),
            "jwks_uri": _address("jwks"),
            "scopes_supported": list(SUPPORTED_SCOPES),
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": [str(grant) for grant in GRANT_TYPES],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": auth_methods,
            "revocation_endpoint_auth_methods_supported": auth_methods,
            "introspection_endpoint_auth_methods_supported": list(app_settings.INTROSPECTION_AUTH_METHODS),
            "claims_supported": ["sub", "email", "name"],
        }
        return JsonResponse(data, headers={"Access-Control-Allow-Origin": "*"})


class _NeedsCache:
    """Says "try again" instead of failing while Redis, where the codes are, is away."""

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Answer 503 without Redis."""
        try:
            response: HttpResponse = super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
        except RedisError:
            return JsonResponse({"error": "temporarily_unavailable"}, status=HTTPStatus.SERVICE_UNAVAILABLE)
        return response


class AuthorizationView(_NeedsCache, allauth_views.AuthorizationView):
    """The consent page. Asks for an exact redirect address, `code` and PKCE with S256 before anything else."""

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Show the page, or say what is wrong: on a page of ours unless the redirect address is known to be the client's."""
        client_id = request.GET.get("client_id", "")
        client = Client.objects.filter(pk=client_id).first() if is_storable(client_id) else None
        redirect_uri = request.GET.get("redirect_uri", "")
        if client is None or redirect_uri not in client.get_redirect_uris():
            text = "The app that sent you here is not registered with this address."
            return render(request, "idp/oidc/error.html", {"message": text}, status=400)
        error = _authorization_error(request)
        if error:
            return _redirect_with_error(redirect_uri, error, request.GET.get("state", ""))
        return super().get(request, *args, **kwargs)


# Overriding dispatch() loses allauth's own exemption: these two are called by programs, which have no CSRF cookie.
@method_decorator(csrf_exempt, name="dispatch")
class TokenView(_NeedsCache, allauth_views.TokenView):
    """Codes, client credentials and refresh tokens for access tokens."""

    def post(self, request: HttpRequest) -> HttpResponse:
        """Exchange a grant; guessing is limited by address."""
        try:
            check_calls(FAILURES_PER_ADDRESS, client_address(request))
        except TooManyRequests as error:
            return JsonResponse(
                error.body() | {"error": "temporarily_unavailable"}, status=429, headers=error.response_headers()
            )
        if request.POST.get("grant_type") not in GRANT_TYPES:
            return JsonResponse({"error": "unsupported_grant_type"}, status=HTTPStatus.BAD_REQUEST)
        if "resource" in request.POST:
            return JsonResponse(
                dict(zip(("error", "error_description"), NO_RESOURCE, strict=True)), status=HTTPStatus.BAD_REQUEST
            )
        response: HttpResponse = super().post(request)
        if response.status_code in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED):
            with contextlib.suppress(TooManyRequests):
                count_call(FAILURES_PER_ADDRESS, client_address(request))
        response["Cache-Control"] = "no-store"
        return response

    def _create_token_response(self, request: HttpRequest, **unused: Any) -> HttpResponse:
        return convert_response(*oauth_server().create_token_response(*extract_params(request)))


class RevokeView(allauth_views.RevokeView):
    """RFC 7009."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Revoke a token of the calling client; an unknown one is a success as well."""
        return convert_response(*oauth_server().create_revocation_response(*extract_params(request)))


@method_decorator(csrf_exempt, name="dispatch")
class IntrospectView(_NeedsCache, allauth_views.IntrospectView):
    """RFC 7662, for confidential clients about their own tokens."""

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Say whether a token is active."""
        get_validator_context().supported_auth_methods = app_settings.INTROSPECTION_AUTH_METHODS
        try:
            ratelimit.consume(request=request, app="allauth.idp.oidc", action="introspect_ip", raise_exception=True)
            return convert_response(*oauth_server().create_introspect_response(*extract_params(request)))
        except RateLimited:
            return JsonResponse({"error": "temporarily_unavailable"}, status=HTTPStatus.TOO_MANY_REQUESTS)


class UserInfoView(allauth_views.UserInfoView):
    """OpenID's userinfo."""

    def _respond(self, request: HttpRequest) -> HttpResponse:
        try:
            return convert_response(*oauth_server().create_userinfo_response(*extract_params(request)))
        except OAuth2Error as error:
            return HttpResponse(
                error.json, status=error.status_code, headers=error.headers, content_type="application/json"
            )


def _address(name: str) -> str:
    return f"{settings.PUBLIC_BASE_URL}{reverse(f'idp:oidc:{name}')}"


def _authorization_error(request: HttpRequest) -> tuple[str, str] | None:
    if request.GET.get("response_type") != "code":
        return "unsupported_response_type", "Only response_type=code is offered."
    if "resource" in request.GET:
        return NO_RESOURCE
    if not request.GET.get("code_challenge") or request.GET.get("code_challenge_method") != "S256":
        return "invalid_request", "PKCE with code_challenge_method=S256 is required."
    return None


def _redirect_with_error(redirect_uri: str, error: tuple[str, str], state: str) -> HttpResponse:
    answer = {"error": error[0], "error_description": error[1]} | ({"state": state} if state else {})
    separator = "&" if "?" in redirect_uri else "?"
    return HttpResponse(status=HTTPStatus.FOUND, headers={"Location": f"{redirect_uri}{separator}{urlencode(answer)}"})
