"""POST /api/v1/payments/stripe/projects/{id}/validate-credentials."""

import json
from typing import Any

import pytest

from payments.models import StripeConfig
from projects.models import Project
from tests.conftest import Sandbox
from tests.payments.actors import Developer, config_path, create_developer, create_project


@pytest.fixture
def project() -> Project:
    return create_project()


@pytest.fixture
def owner(project: Project) -> Developer:
    return create_developer(project)


def validate(owner: Developer, project: Project, body: Any) -> Any:
    return owner.post(config_path(project, "validate-credentials"), json.dumps(body))


def test_a_good_key_is_valid_and_nothing_is_stored(owner: Developer, project: Project, sandbox: Sandbox) -> None:
    account = sandbox.create_account()
    for key, is_test_mode in ((account.test_secret_key, True), (account.live_secret_key, False)):
        response = validate(owner, project, {"secret_key": key, "is_test_mode": is_test_mode})
        assert response.status_code == 200
        assert response.json()["valid"] is True
        assert set(response.json()) == {"valid", "message"}
        assert key not in response.content.decode()
    assert validate(owner, project, {"secret_key": account.test_secret_key}).json()["valid"] is True
    assert not StripeConfig.objects.for_project(project).exists()


def test_a_key_that_stripe_does_not_know_is_200_and_not_valid(
    owner: Developer, project: Project, sandbox: Sandbox
) -> None:
    response = validate(owner, project, {"secret_key": "sk_test_unknown0123456789"})
    assert (response.status_code, response.json()["valid"]) == (200, False)
    assert "unknown0123456789" not in response.content.decode()


@pytest.mark.parametrize(
    ("key", "is_test_mode"),
    [
        ("sk_live_0123456789abcdef", True),
        ("sk_test_0123456789abcdef", False),
        ("pk_test_0123456789abcdef", True),
        ("whsec_0123456789abcdef", True),
        ("sk_test_\u00e9\u4e2d\u6587", True),
        ("sk_test_0123 456", True),
        ("x", True),
    ],
)
def test_a_key_of_another_kind_or_mode_is_not_valid_and_stripe_is_not_asked(
    owner: Developer, project: Project, settings: Any, key: str, is_test_mode: bool
) -> None:
    # Nothing answers there, so asking would be a 503.
    settings.STRIPE_API_BASE = "http://127.0.0.1:9"
    response = validate(owner, project, {"secret_key": key, "is_test_mode": is_test_mode})
    assert (response.status_code, response.json()["valid"]) == (200, False)
    assert response.json()["message"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"secret_key": ""},
        {"secret_key": None},
        {"secret_key": 5},
        {"secret_key": "sk_test_\u0000aaaaaaaa"},
        {"secret_key": "s" * 300},
        {"secret_key": ["x"]},
    ],
)
def test_a_body_without_a_key_is_422(owner: Developer, project: Project, body: Any) -> None:
    response = validate(owner, project, body)
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body", "secret_key"]


@pytest.mark.parametrize("body", ["[]", '"x"', "null", "5"])
def test_a_body_that_is_no_object_is_422(owner: Developer, project: Project, body: str) -> None:
    assert owner.post(config_path(project, "validate-credentials"), body).status_code == 422


def test_malformed_json_is_400(owner: Developer, project: Project) -> None:
    response = owner.post(config_path(project, "validate-credentials"), "{")
    assert (response.status_code, response.json()["code"]) == (400, "malformed_body")


def test_stripe_away_is_503_and_not_a_verdict(owner: Developer, project: Project, settings: Any) -> None:
    settings.STRIPE_API_BASE = "http://127.0.0.1:9"
    response = validate(owner, project, {"secret_key": "sk_test_0123456789abcdef"})
    assert (response.status_code, response.json()["code"]) == (503, "stripe_unavailable")
