"""POST /portal/{app} and its compatible path: an app's server opens the portal for a user."""

from typing import Any

import pytest

from projects.models import EndUser, IdempotencyRecord, Project
from tests.payments.shop import RETURN_URL, open_checkout


def open_for(server: Any, given: dict[str, Any], app: str | None = None, query: str = "") -> Any:
    path = f"/portal/{app}" if app else "/api/v1/payments/portal"
    return server.client.post(f"{path}{query}", data=given, content_type="application/json")


@pytest.fixture
def customer(shop: Any, dana: Any) -> str:
    """Dana has been to a checkout; gives the app's id of her."""
    open_checkout(dana, shop.price())
    return str(dana.user_id)


@pytest.mark.parametrize("by_slug", [True, False])
def test_it_gives_a_link(shop: Any, acme_server: Any, customer: str, by_slug: bool) -> None:
    given = {"user_id": customer, "return_url": RETURN_URL}
    answer = open_for(acme_server, given, shop.project.slug if by_slug else None)
    assert answer.status_code == 200, answer.content
    assert set(answer.json()) == {"portal_url"}
    assert shop.requests("/v1/billing_portal/sessions")[-1]["params"]["return_url"] == RETURN_URL


def test_no_link_is_kept_under_an_idempotency_key(shop: Any, acme_server: Any, customer: str) -> None:
    given = {"user_id": customer, "return_url": RETURN_URL}
    for path in (f"/portal/{shop.project.slug}", "/api/v1/payments/portal"):
        answers = [
            acme_server.client.post(path, data=given, content_type="application/json", headers={"Idempotency-Key": "p"})
            for _ in range(2)
        ]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert answers[0].json() != answers[1].json()
    assert not IdempotencyRecord.objects.for_project(shop.project).exists()


def test_the_address_may_come_from_the_project(shop: Any, acme_server: Any, customer: str) -> None:
    missing = open_for(acme_server, {"user_id": customer})
    assert missing.status_code == 422
    assert missing.json()["detail"][0]["loc"] == ["body", "return_url"]
    Project.objects.filter(pk=shop.project.pk).update(default_return_url=RETURN_URL)
    assert open_for(acme_server, {"user_id": customer}).status_code == 200


def test_a_user_without_a_customer_or_unknown_is_404(shop: Any, acme_server: Any, customer: str, erin: Any) -> None:
    # Blanks are part of an id: with them it is another user's.
    for user_id in (erin.user_id, "nobody", f" {customer} "):
        answer = open_for(acme_server, {"user_id": user_id, "return_url": RETURN_URL})
        assert (answer.status_code, answer.json()["code"]) == (404, "no_customer")
    assert not EndUser.objects.for_project(shop.project).filter(external_id="nobody").exists()


def test_another_projects_user_or_slug_is_404(shop: Any, other_server: Any, customer: str) -> None:
    given = {"user_id": customer, "return_url": RETURN_URL}
    assert open_for(other_server, given).status_code == 404
    assert open_for(other_server, given, shop.project.slug).status_code == 404


def test_the_key_decides_the_mode(shop: Any, acme_server: Any, acme_live_server: Any, customer: str) -> None:
    given = {"user_id": customer, "return_url": RETURN_URL}
    assert open_for(acme_server, given, query="?test_mode=false").json()["code"] == "mode_mismatch"
    assert open_for(acme_live_server, given).json()["code"] == "no_customer"


def test_an_address_off_the_allowed_origins_is_refused(shop: Any, acme_server: Any, customer: str) -> None:
    answer = open_for(acme_server, {"user_id": customer, "return_url": "https://app.example.evil.example/"})
    assert (answer.status_code, answer.json()["code"]) == (400, "url_not_allowed")


@pytest.mark.parametrize("bad", [{}, {"user_id": ""}, {"user_id": ["x"]}, {"user_id": "u" * 256}])
def test_a_bad_body_is_422_and_names_the_field(acme: Project, acme_server: Any, bad: dict[str, Any]) -> None:
    answer = open_for(acme_server, bad)
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "user_id"]


def test_only_the_projects_key_is_taken(client: Any, alice: Any, dana: Any, acme: Project) -> None:
    nobody: dict[str, str] = {}
    for headers in (nobody, alice.headers, dana.headers):
        for path in (f"/portal/{acme.slug}", "/api/v1/payments/portal"):
            answer = client.post(path, data={"user_id": "x"}, content_type="application/json", headers=headers)
            assert answer.status_code == 401
