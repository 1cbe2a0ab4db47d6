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


@pytest.mark.parametrize(
    "parameter",
    [
        "charset=zlib", "charset=undefined", "charset=utf-8", 'charset="idna"',
        # As RFC 2231 writes them.
        "charset*=utf-8''zlib", "Charset*0=zl; charset*1=ib", "x*=undefined''y", "x*=nonsense''y",
    ],
    ids=range(8),
)  # fmt: skip
def test_a_request_is_read_as_utf_8_whatever_charset_it_names(parameter: str) -> None:
    body = json.dumps({"email": "nobody@example.com", "password": "пароль-пароль"}).encode()
    status, answer = ask(f"application/json; {parameter}", body)
    assert (status, json.loads(answer)["code"]) == ("401 Unauthorized", "invalid_credentials")


@pytest.mark.parametrize(
    "parameters", ["boundary=b0", 'charset=zlib; Boundary="b0"', "boundary=b0; x*=undefined''y"], ids=range(3)
)
def test_a_forms_parts_are_told_apart_by_their_boundary(parameters: str) -> None:
    fields = {"username": "nobody@example.com", "password": "wrong"}
    parts = [
        f'--b0\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n' for name, text in fields.items()
    ]
    _, page = ask(f"multipart/form-data; {parameters}", "".join([*parts, "--b0--\r\n"]).encode(), path="/admin/login/")
    assert b"nobody@example.com" in page


def ask(content_type: str, body: bytes, *, path: str = "/api/v1/auth/login") -> tuple[str, bytes]:
    """Post to the web process as a server hands it a request."""
    token, seen = "t" * 32, list[str]()
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST", "PATH_INFO": path, "QUERY_STRING": "a=1", "SERVER_NAME": "testserver", "SERVER_PORT": "80",
        "CONTENT_TYPE": content_type, "CONTENT_LENGTH": str(len(body)), "wsgi.input": io.BytesIO(body), "wsgi.url_scheme": "http",
        "HTTP_COOKIE": f"{settings.CSRF_COOKIE_NAME}={token}", "HTTP_X_CSRFTOKEN": token,
    }  # fmt: skip
    answer = b"".join(application(environ, lambda status, headers: seen.append(status)))
    return seen[0], answer
