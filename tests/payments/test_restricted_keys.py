"""Restricted keys: no permission lets one read its own account, and Stripe's refusal names the account.

A small server answers as Stripe is documented to: https://docs.stripe.com/keys#create-restricted-api-secret-key and, for the
words of the refusal, https://github.com/stripe/stripe-node/issues/2246. That the real Stripe still says it so is not proven here.
"""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from payments.models import StripeConfig, StripeCredentials
from projects.models import Project
from tests.payments.actors import Developer, config_path, create_developer, create_project

KEY = "rk_test_51restricted0123456789"


class _Stripe(BaseHTTPRequestHandler):
    status = 403
    message = ""

    def do_GET(self) -> None:
        body = {"error": {"type": "invalid_request_error", "message": type(self).message}}
        payload = json.dumps(body).encode()
        self.send_response(type(self).status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def stripe(settings: Any) -> Iterator[type[_Stripe]]:
    handler = type("Handler", (_Stripe,), {})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings.STRIPE_API_BASE = f"http://127.0.0.1:{server.server_port}"
    yield handler
    server.shutdown()
    server.server_close()


@pytest.fixture
def project() -> Project:
    return create_project()


@pytest.fixture
def owner(project: Project) -> Developer:
    return create_developer(project)


def refusal_on(account: str) -> str:
    return (
        f"The provided key 'rk_test_*****6789' does not have the required permissions for this endpoint on account {account}. "
        "Having the 'rak_accounts_kyc_basic_read' permission would allow this request to continue."
    )


def test_a_restricted_key_is_saved_with_the_account_that_the_refusal_names(
    owner: Developer, project: Project, stripe: type[_Stripe]
) -> None:
    stripe.message = refusal_on("'acct_1PJBLEBBLEfV0000'")
    body = owner.put(config_path(project), {"test_secret_key": KEY}).json()
    assert body["test_account_id"] == "acct_1PJBLEBBLEfV0000"
    assert body["test_secret_key_masked"] == "rk_test_...6789"
    assert StripeCredentials.objects.for_project(project).get().get_secret("secret_key") == KEY


def test_a_restricted_key_without_a_named_account_is_saved_and_does_not_replace_a_known_account(
    owner: Developer, project: Project, stripe: type[_Stripe]
) -> None:
    stripe.message = refusal_on("of yours")
    assert owner.put(config_path(project), {"test_secret_key": KEY}).json()["test_account_id"] is None
    stripe.message = refusal_on("'acct_1PJBLEBBLEfV0000'")
    assert owner.put(config_path(project), {"test_secret_key": KEY}).status_code == 200
    stripe.message = refusal_on("of yours")
    refused = owner.put(config_path(project), {"test_secret_key": KEY})
    assert (refused.status_code, refused.json()["detail"][0]["type"]) == (422, "account_changed")
    confirmed = owner.put(config_path(project), {"test_secret_key": KEY, "confirm_account_change": True})
    assert (confirmed.status_code, confirmed.json()["test_account_id"]) == (200, None)


def test_a_full_key_that_may_not_read_its_account_is_refused(
    owner: Developer, project: Project, stripe: type[_Stripe]
) -> None:
    stripe.message = refusal_on("'acct_1PJBLEBBLEfV0000'")
    response = owner.put(config_path(project), {"test_secret_key": "sk_test_51full0123456789"})
    assert (response.status_code, response.json()["detail"][0]["type"]) == (422, "key_rejected")
    assert not StripeConfig.objects.for_project(project).exists()


@pytest.mark.parametrize(("status", "answered"), [(401, 422), (429, 503), (500, 503), (503, 503), (400, 502)])
def test_what_stripe_answers_becomes_a_clear_refusal_and_nothing_is_written(
    owner: Developer, project: Project, stripe: type[_Stripe], status: int, answered: int
) -> None:
    stripe.status, stripe.message = status, "no"
    response = owner.put(config_path(project), {"test_secret_key": KEY})
    assert response.status_code == answered
    assert KEY not in response.content.decode()
    assert not StripeConfig.objects.for_project(project).exists()


def test_validating_a_restricted_key_says_that_it_works(
    owner: Developer, project: Project, stripe: type[_Stripe]
) -> None:
    stripe.message = refusal_on("'acct_1PJBLEBBLEfV0000'")
    body = owner.post(config_path(project, "validate-credentials"), {"secret_key": KEY}).json()
    assert body["valid"] is True
    assert "acct_1PJBLEBBLEfV0000" in body["message"]
    stripe.status = 401
    assert owner.post(config_path(project, "validate-credentials"), {"secret_key": KEY}).json()["valid"] is False
