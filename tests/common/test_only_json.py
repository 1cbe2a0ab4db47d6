"""There is one format; asking for another one is no error."""

import pytest
from django.test import Client


@pytest.mark.parametrize("accept", ["text/html", "image/png", "nonsense", "*/*;q=0", "a" * 5000])
def test_the_answer_is_json_whatever_is_asked_for(accept: str) -> None:
    answer = Client().get("/api/v1/auth/me", headers={"Accept": accept})
    assert answer.status_code == 401
    assert answer["Content-Type"] == "application/json"
    assert answer.json()["code"] == "not_authenticated"
