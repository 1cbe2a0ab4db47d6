"""A user whom nobody knows yet: reading and asking makes nobody appear, and neither does a request that is refused."""

import uuid
from typing import Any

import pytest

from entitlements.models import CreditWallet, Meter, TokenPeriod, UsagePeriod
from notifications.models import OutboxRow
from projects.models import EndUser, Project
from tests.cast import AppServer, AppUser
from tests.entitlements.metering import plan_with
from tests.payments.rows import create_plan
from tests.payments.shop import Shop

API = "/api/v1/payments"


def get(caller: Any, path: str, user_id: str) -> Any:
    answer = caller.client.get(f"{API}/{path}?user_id={user_id}")
    assert answer.status_code == 200, answer.content
    return answer.json()


def post(caller: Any, path: str, user_id: str, **body: Any) -> Any:
    return caller.client.post(f"{API}/{path}", {"user_id": user_id, **body}, content_type="application/json")


def written(project: Project) -> list[int]:
    """Count what a first appearance or a first use leaves."""
    models = (EndUser, OutboxRow, CreditWallet, TokenPeriod, UsagePeriod, Meter)
    return [model._default_manager.filter(project=project).count() for model in models]


@pytest.fixture
def free(acme: Project, acme_server: AppServer) -> Any:
    """A free plan that gives something of everything."""
    quotas = {"searches": {"included": 10, "block_at_percent": 100}}
    return plan_with(acme, quotas, code="hobby", free=True, credits_per_day=10, token_budget=100)


# Works


def test_reading_and_asking_answer_a_stranger_by_the_free_plan_and_write_nothing(
    acme: Project, acme_server: AppServer, other_server: AppServer, dana: AppUser, free: Any
) -> None:
    before = written(acme)
    balance = get(acme_server, "credits/balance", "new")
    assert (balance["available"], balance["reserved"], balance["debt"]) == (10, 0, 0)
    assert get(acme_server, "credits/history", "new")["transactions"] == []
    budget = get(acme_server, "tokens/budget", "new")
    assert (budget["limit"], budget["used"], budget["remaining"], budget["exact"]) == (100, 0, 100, True)
    told = get(acme_server, "usage/summary", "new")
    assert (told["plan"], told["billable"], told["charges"]) == ("hobby", False, [])
    entitled = acme_server.client.get(f"{API}/entitlements/new").json()
    assert (entitled["plan"], entitled["credits"]["available"], entitled["token_budget"]["limit"]) == ("hobby", 10, 100)
    asked = [
        post(acme_server, "credits/check", "new", amount=10).json()["allowed"],
        post(acme_server, "credits/check", "new", amount=11).json()["allowed"],
        post(acme_server, "tokens/check", "new", tokens=100).json()["allowed"],
        post(acme_server, "tokens/check", "new", tokens=101).json()["allowed"],
        post(acme_server, "usage/can-execute", "new", meter="searches", quantity=10).json()["allowed"],
        post(acme_server, "usage/can-execute", "new", meter="searches", quantity=11).json()["allowed"],
        # A meter that the project has not named before.
        post(acme_server, "usage/can-execute", "new", meter="api_calls", quantity=1).json()["allowed"],
    ]
    assert asked == [True, False, True, False, True, False, True]
    # Another project's user answers exactly as one who does not exist.
    assert get(other_server, "credits/balance", dana.user_id) == get(other_server, "credits/balance", "nobody")
    assert get(other_server, "usage/summary", dana.user_id) == get(other_server, "usage/summary", "nobody")
    assert written(acme) == before


def test_blanks_around_an_id_are_part_of_it(acme: Project, acme_server: AppServer, free: Any) -> None:
    known = EndUser.objects.for_project(acme).count()
    reports = {"meter": "searches", "idempotency_key": " k "}
    assert post(acme_server, "credits/spend", " ida ", amount=1).status_code == 200
    assert post(acme_server, "usage/events", " ida ", **reports).json()["events"][0]["idempotency_key"] == " k "
    assert post(acme_server, "tokens/consume", " ida ", tokens=1).status_code == 200
    assert list(EndUser.objects.for_project(acme).order_by("-id").values_list("external_id", flat=True))[:1] == [
        " ida "
    ]
    assert EndUser.objects.for_project(acme).count() == known + 1
    assert post(acme_server, "credits/check", "ida", amount=10).json()["allowed"] is True
    assert post(acme_server, "credits/check", " ida ", amount=10).json()["allowed"] is False
    assert post(acme_server, "usage/can-execute", "ida", meter="searches", quantity=10).json()["allowed"] is True
    assert post(acme_server, "usage/can-execute", " ida ", meter="searches", quantity=10).json()["allowed"] is False


def test_the_first_request_that_changes_something_makes_them_appear_once(
    acme: Project, acme_server: AppServer, free: Any
) -> None:
    assert post(acme_server, "credits/spend", "one", amount=4).status_code == 200
    assert get(acme_server, "credits/balance", "one")["available"] == 6
    assert post(acme_server, "credits/reserve", "two", amount=4).status_code == 200
    assert post(acme_server, "tokens/consume", "three", tokens=100).status_code == 200
    assert get(acme_server, "tokens/budget", "three")["remaining"] == 0
    assert post(acme_server, "tokens/reserve", "four", tokens=1).status_code == 200
    event = {"meter": "searches", "quantity": 1, "idempotency_key": "k"}
    assert post(acme_server, "usage/events", "five", **event).status_code == 200
    assert post(acme_server, "credits/spend", "one", amount=6).status_code == 200
    found = EndUser.objects.for_project(acme).order_by("external_id")
    assert [user.external_id for user in found] == ["five", "four", "one", "three", "two"]
    assert all(user.appeared_test_at and not user.appeared_live_at for user in found)


# Refuses


def test_nobody_appears_by_a_request_that_is_refused(acme: Project, acme_server: AppServer, free: Any) -> None:
    before = written(acme)
    nothing = str(uuid.uuid4())
    refused: list[tuple[str, dict[str, Any], int | None, str | None]] = [
        ("credits/spend", {"amount": 11}, 402, "insufficient_credits"),
        ("credits/spend", {"items": [{"amount": 6}, {"amount": 5}]}, 402, "insufficient_credits"),
        ("credits/reserve", {"amount": 11}, 402, "insufficient_credits"),
        ("credits/commit", {"reservation_id": nothing}, 404, "reservation_not_found"),
        ("credits/release", {"reservation_id": nothing}, 404, "reservation_not_found"),
        ("credits/purchase", {"pack": "none"}, None, None),
        ("tokens/consume", {"tokens": 101}, 429, "token_budget_exceeded"),
        ("tokens/reserve", {"tokens": 101}, 429, "token_budget_exceeded"),
        ("tokens/commit", {"reservation_id": nothing}, 404, "reservation_not_found"),
        ("tokens/release", {"reservation_id": nothing}, 404, "reservation_not_found"),
        ("usage/events", {"meter": "unheard-of", "quantity": 1, "idempotency_key": "k"}, 422, None),
    ]
    for path, body, status, code in refused:
        answer = post(acme_server, path, "new", **body)
        assert answer.status_code == status or (status is None and answer.status_code >= 400), (path, answer.content)
        assert code is None or answer.json()["code"] == code
    for path in ("tokens/consume", "tokens/reserve", "credits/spend", "usage/events"):
        body = {"user_id": "new", "tokens": 1, "amount": 1, "meter": "searches", "idempotency_key": "k"}
        no_key = {"Idempotency-Key": "k" * 256}
        answer = acme_server.client.post(f"{API}/{path}", body, content_type="application/json", headers=no_key)
        assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["header", "Idempotency-Key"]), path
    short = post(acme_server, "credits/spend", "new", amount=11).json()
    assert (short["required"], short["available"], short["deficit"]) == (11, 10, 1)
    assert written(acme) == before


def test_a_refusal_in_live_mode_is_no_first_appearance_there(
    acme: Project, acme_server: AppServer, acme_live_server: AppServer
) -> None:
    create_plan(acme, code="hobby", free=True, credits_per_day=10)
    assert post(acme_server, "credits/spend", "one", amount=1).status_code == 200
    assert get(acme_live_server, "credits/balance", "one")["available"] == 10
    assert post(acme_live_server, "credits/spend", "one", amount=11).status_code == 402
    assert EndUser.objects.for_project(acme).get().appeared_live_at is None
    assert post(acme_live_server, "credits/spend", "one", amount=10).status_code == 200
    assert EndUser.objects.for_project(acme).get().appeared_live_at is not None


def test_nobody_appears_by_a_checkout_of_what_there_is_not(shop: Shop, acme_server: AppServer) -> None:
    before = written(shop.project)
    for path, body in (
        ("credits/purchase", {"pack": "none"}),
        ("checkout", {"email": "new@app.example", "tier": "none"}),
    ):
        answer = post(acme_server, path, "new", **body)
        assert 400 <= answer.status_code < 500, (path, answer.content)
    assert written(shop.project) == before
