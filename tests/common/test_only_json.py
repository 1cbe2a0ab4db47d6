"""There is one format; asking for another one is no error, and what cannot be read is refused in it."""

import io
import json
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from config.wsgi import application


@pytest.mark.parametrize("accept", ["text/html", "image/png", "nonsense", "*/*;q=0", "a" * 5000])
def test_the_answer_is_json_whatever_is_asked_for(accept: str) -> None:
    answer = Client().get("/api/v1/auth/me", headers={"Accept": accept})
    assert answer.status_code == 401
    assert answer["Content-Type"] == "application/json"
    assert answer.json()["code"] == "not_authenticated"


def test_what_is_too_large_to_be_read_is_refused_in_the_contracts_shape() -> None:
    body = b'{"email": "' + b"x" * settings.DATA_UPLOAD_MAX_MEMORY_SIZE + b'"}'
    answer = Client().post("/api/v1/auth/login", body, content_type="application/json")
    assert (answer.status_code, answer.json()) == (413, {"detail": "The body is too large.", "code": "body_too_large"})
    fields = {f"field-{number}": "1" for number in range(settings.DATA_UPLOAD_MAX_NUMBER_FIELDS + 1)}
    answer = Client().get("/api/v1/payments/plans", fields)
    assert (answer.status_code, answer.json()["code"]) == (400, "bad_request")
    # People get a page.
    assert Client().post("/accounts/login/", fields)["Content-Type"].startswith("text/html")


@pytest.mark.parametrize("charset", ["zlib", "undefined", "utf-8", '"idna"'])
def test_a_request_is_read_as_utf_8_whatever_charset_it_names(charset: str) -> None:
    body, seen = json.dumps({"email": "nobody@example.com", "password": "пароль-пароль"}).encode(), list[str]()
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST", "PATH_INFO": "/api/v1/auth/login", "QUERY_STRING": "a=1", "SERVER_NAME": "testserver",
        "SERVER_PORT": "80", "CONTENT_TYPE": f"application/json; charset={charset}", "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body), "wsgi.url_scheme": "http",
    }  # fmt: skip
    answer = b"".join(application(environ, lambda status, headers: seen.append(status)))
    assert (seen, json.loads(answer)["code"]) == (["401 Unauthorized"], "invalid_credentials")
