"""POST /api/v1/auth/register."""

import threading
from typing import Any

import pytest
from django.db import connection

from accounts.models import User
from tests.builders import PASSWORD, Api, run_all, unique_email

PATH = "/api/v1/auth/register"


def test_it_creates_a_developer() -> None:
    email = unique_email()
    answer = Api().post(PATH, {"email": email, "password": PASSWORD, "full_name": "Ada Lovelace"})
    assert answer.status_code == 201
    body = answer.json()
    tokens = {"access_token", "refresh_token", "token_type", "expires_in"}
    assert set(body) == {"id", "email", "full_name", "is_active", "created_at"} | tokens
    assert Api(body["access_token"]).get("/api/v1/auth/me").json()["id"] == body["id"]
    assert (body["email"], body["full_name"], body["is_active"]) == (email, "Ada Lovelace", True)
    assert body["created_at"].endswith("Z")
    assert User.objects.get(pk=body["id"]).check_password(PASSWORD)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"email": "not-an-address"}, "email"),
        ({"email": None}, "email"),
        ({"email": "a\u0000@example.com"}, "email"),
        ({"password": "short"}, "password"),
        ({"password": 12345678}, "password"),
        ({"password": "with\u0000zero-byte"}, "password"),
        ({"full_name": "x" * 256}, "full_name"),
        ({"full_name": "a\ud800"}, "full_name"),
        ({"full_name": ["list"]}, "full_name"),
    ],
)
def test_a_bad_field_is_422_and_named(change: dict[str, Any], field: str) -> None:
    email = unique_email()
    answer = Api().post(PATH, {"email": email, "password": PASSWORD, **change})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", field]
    assert not User.objects.filter(email=email).exists()


def test_an_address_registers_once_whatever_its_case() -> None:
    email = unique_email()
    assert Api().post(PATH, {"email": email, "password": PASSWORD}).status_code == 201
    again = Api().post(PATH, {"email": email.upper(), "password": PASSWORD})
    assert (again.status_code, again.json()["code"]) == (409, "email_taken")
    assert User.objects.filter(email=email).count() == 1


def test_fields_that_a_caller_may_not_set_are_ignored() -> None:
    email = unique_email()
    answer = Api().post(
        PATH,
        {
            "email": email,
            "password": PASSWORD,
            "is_staff": True,
            "is_superuser": True,
            "is_active": False,
            "id": "x",
            "groups": [1],
        },
    )
    assert answer.status_code == 201
    user = User.objects.get(email=email)
    assert (user.is_staff, user.is_superuser, user.is_active) == (False, False, True)


def test_two_registrations_at_once_make_one_account() -> None:
    email = unique_email()
    barrier = threading.Barrier(2)
    codes: list[int] = []

    def register() -> None:
        barrier.wait()
        codes.append(Api().post(PATH, {"email": email, "password": PASSWORD}).status_code)
        connection.close()

    threads = [threading.Thread(target=register) for _ in range(2)]
    run_all(threads)
    assert sorted(codes) == [201, 409]
    assert User.objects.filter(email=email).count() == 1


@pytest.mark.parametrize("content", [b"{", b"[]", b'"text"', b"null", b"\xff", b'{"email":' * 5000])
def test_a_body_that_is_no_json_object_is_refused(content: bytes) -> None:
    from django.test import Client

    answer = Client().post(PATH, data=content, content_type="application/json")
    assert answer.status_code in (400, 422)
