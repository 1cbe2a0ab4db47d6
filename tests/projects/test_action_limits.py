"""Calls that open something at Stripe, or make a token, are limited by caller, address and project."""

from typing import Any

import pytest
from django.test import Client

from accounts.services.users import LOGIN_PER_ADDRESS_AND_EMAIL
from common import rate_limits
from projects.models import Project
from tests.cast import AppServer, AppUser, Developer

STRIPE = "/api/v1/payments/stripe"
BODY = {"price_id": "price_x", "success_url": "https://app.example/ok", "cancel_url": "https://app.example/no"}


def checkout(user: AppUser, **headers: str) -> Any:
    """Ask for a checkout; this project has no Stripe keys, so that what passes the limits is a 404."""
    return Client().post(
        f"{STRIPE}/checkout-session", BODY, content_type="application/json", headers=user.headers | headers
    )


def statuses(answers: list[Any]) -> list[int]:
    return [answer.status_code for answer in answers]


def test_a_caller_is_stopped_alone_and_told_when_to_come_back(settings: Any, dana: AppUser, erin: AppUser) -> None:
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"checkout-caller": (3, 60)}
    answers = [checkout(dana) for _ in range(4)]
    assert statuses(answers) == [404, 404, 404, 429]
    first, refused = answers[0].headers, answers[-1].headers
    assert (first["X-RateLimit-Limit"], first["X-RateLimit-Remaining"]) == ("3", "2")
    assert "Retry-After" not in first
    assert answers[-1].json()["code"] == "rate_limited" and answers[-1].json()["retry_after"] <= 61
    for name in ("X-RateLimit-", "RateLimit-"):
        assert (refused[f"{name}Limit"], refused[f"{name}Remaining"]) == ("3", "0")
    assert 1 <= int(refused["Retry-After"]) <= 61 and refused["Retry-After"] == refused["RateLimit-Reset"]
    assert int(refused["X-RateLimit-Reset"]) > 1_700_000_000
    # Reading is not limited, nor are other actions, nor anybody else.
    own = Client(headers=dana.headers)
    assert own.get(f"{STRIPE}/my-entitlements").status_code != 429
    assert own.post(f"{STRIPE}/resume-subscription").status_code != 429
    assert checkout(erin).status_code == 404


def test_a_project_is_stopped_as_a_whole_and_no_other(
    settings: Any, dana: AppUser, erin: AppUser, frank: AppUser, acme_server: AppServer
) -> None:
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"checkout-project": (3, 60)}
    assert statuses([checkout(dana), checkout(erin), checkout(dana)]) == [404] * 3
    assert checkout(erin).status_code == 429
    by_server = Client(headers=acme_server.headers).post(
        "/api/v1/payments/checkout", {}, content_type="application/json"
    )
    assert by_server.status_code == 429
    assert checkout(frank).status_code == 404


def test_an_address_that_is_made_up_does_not_begin_anew(settings: Any, dana: AppUser, erin: AppUser) -> None:
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"checkout-address": (3, 60)}
    spoofed = [checkout(dana, **{"X-Forwarded-For": f"198.51.100.{number}"}) for number in range(4)]
    assert statuses(spoofed) == [404, 404, 404, 429]
    assert checkout(erin).status_code == 429, "the same address, whoever calls"
    # Behind one proxy of ours: what it wrote last counts, and what the caller wrote before that does not.
    settings.TRUSTED_PROXY_COUNT = 1
    behind = [checkout(dana, **{"X-Forwarded-For": f"198.51.100.{number}, 203.0.113.7"}) for number in range(4)]
    assert statuses(behind) == [404, 404, 404, 429]
    assert checkout(dana, **{"X-Forwarded-For": "203.0.113.7, 203.0.113.8"}).status_code == 404


def test_without_redis_the_limits_hold_for_each_process(settings: Any, dana: AppUser) -> None:
    settings.RATE_LIMITS = settings.RATE_LIMITS | {"checkout-caller": (3, 60)}
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert statuses([checkout(dana) for _ in range(4)]) == [404, 404, 404, 429]


def test_tokens_of_both_kinds_and_wrong_tokens_are_limited(
    settings: Any, acme: Project, acme_server: AppServer, dana: AppUser
) -> None:
    settings.RATE_LIMITS = {
        "end-user-tokens-project": (2, 60),
        "entitlement-tokens-caller": (2, 60),
        "refused-tokens-address": (2, 60),
    }
    server = Client(headers=acme_server.headers)
    mint = f"/api/v1/projects/{acme.pk}/end-user-tokens"
    minted = [server.post(mint, {"user_id": "dana"}, content_type="application/json") for _ in range(3)]
    assert statuses(minted) == [200, 200, 429]
    signed = [
        Client(headers=dana.headers).post("/api/v1/payments/entitlements/token", {}, content_type="application/json")
        for _ in range(3)
    ]
    assert statuses(signed) == [200, 200, 429]
    stranger = Client(headers={"Authorization": "Bearer ak_nobodys_key_0123456789"}, REMOTE_ADDR="192.0.2.77")
    refused = [stranger.get("/api/v1/payments/credits/balance") for _ in range(3)]
    assert statuses(refused) == [401, 401, 429]
    # A good token from the same address is let in all the same.
    good = Client(headers=dana.headers, REMOTE_ADDR="192.0.2.77").get("/api/v1/payments/credits/balance")
    assert good.status_code == 200


def test_a_developer_cannot_use_up_the_share_of_a_project_that_is_not_theirs(
    settings: Any, acme: Project, alice: Developer, charlie: Developer
) -> None:
    settings.RATE_LIMITS = {"stripe-setup-caller": (2, 60)}
    path = f"{STRIPE}/projects/{acme.pk}/validate-credentials"
    body = {"secret_key": "sk_live_contradicts", "is_test_mode": True}
    theirs = [charlie.client.post(path, body, content_type="application/json") for _ in range(3)]
    assert statuses(theirs) == [404, 404, 429]
    assert alice.client.post(path, body, content_type="application/json").status_code == 200


@pytest.mark.no_db
def test_every_limit_has_a_name_of_its_own_that_is_documented() -> None:
    from pathlib import Path

    names = [limit.name for limit in rate_limits.declared_limits() if limit.name != "test"]
    assert LOGIN_PER_ADDRESS_AND_EMAIL.name in names
    text = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text()
    missing = [
        f"| `{limit.name}` | {limit.amount} | {limit.seconds} |"
        for limit in rate_limits.declared_limits()
        if limit.name in names and f"| `{limit.name}` | {limit.amount} | {limit.seconds} |" not in text
    ]
    assert missing == []
