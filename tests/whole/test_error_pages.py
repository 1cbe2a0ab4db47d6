"""What a caller sees when everything breaks: no trace, no SQL, no settings; one id that the log has, too.

The service runs as processes with DEBUG off. Its database refuses every connection, so that every view that needs it fails.
"""

import json
import re
import socket
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from django.conf import settings

from tests.cast import AppServer, AppUser, Developer
from tests.live import LiveService, running_service, wait_until
from tests.security.matrix import ROWS, routes

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

DATABASE_PASSWORD = "CANARY-of-the-database-0123456789"
# What people look at, and needs the database; everything else is called by programs.
PAGES = "hosted/"
NEVER = (
    b"Traceback",
    b"OperationalError",
    b"psycopg",
    b"SELECT ",
    b"site-packages",
    b"/views/",
    b"SECRET_KEY",
    b"DJANGO_SETTINGS_MODULE",
    b"Using the URLconf",
    b"DEBUG = ",
    DATABASE_PASSWORD.encode(),
)


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory, run_database: str, sandbox: Any) -> Iterator[LiveService]:
    """The web part without its database."""
    env = {
        "DATABASE_URL": f"postgres://nobody:{DATABASE_PASSWORD}@127.0.0.1:9/none",
        "DATABASE_POOL": "false",
        "LOG_LEVEL": "DEBUG",
        # Tokens that this process signs are for the address that its own settings name.
        "PUBLIC_BASE_URL": settings.PUBLIC_BASE_URL,
    }
    with running_service(tmp_path_factory.mktemp("broken"), sandbox.url, env=env, parts=("web",)) as service:
        wait_until(lambda: _is_up(service), seconds=40, what="the web part answers")
        yield service


def _is_up(service: LiveService) -> bool:
    try:
        return httpx.get(f"{service.url}/healthz", timeout=5).status_code == 200
    except httpx.HTTPError:
        return False


def call(service: LiveService, method: str, path: str, token: str = "", **headers: str) -> httpx.Response:
    """Call one route of the matrix, with an id of nobody and its smallest good body."""
    row = ROWS[(method, path)]
    values = {"project_id": str(uuid.uuid4()), "app": "acme", "mode": "test", **row.path}
    headers |= {"Authorization": f"Bearer {token}"} if token else {}
    body = json.dumps(row.body).encode() if method not in ("GET", "DELETE") else b""
    headers = {"Content-Type": "application/json", "Stripe-Signature": "t=1,v1=00"} | headers
    return httpx.request(method, f"{service.url}/{path.format(**values)}", headers=headers, content=body, timeout=20)


def _is_a_page(answer: httpx.Response, where: str) -> None:
    """Somebody sits before it: readable, with the id to ask with, and as careful as the other pages."""
    assert answer.status_code in (403, 500), where
    assert answer.headers["Content-Type"].startswith("text/html"), where
    assert ("Something went wrong" if answer.status_code == 500 else "Open the page anew") in answer.text, where
    assert bool(re.search(r"<code>[0-9a-f-]{36}</code>", answer.text)) == (answer.status_code == 500), where
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'"), where


def test_no_route_tells_why_it_failed(
    broken: LiveService, alice: Developer, dana: AppUser, acme_server: AppServer
) -> None:
    """S41: every route of the API and of the hosted pages, with a token that passes where the row names one."""
    tokens = {"developer": alice.access_token, "end_user": dana.access_token, "server": acme_server.key}
    failed = 0
    for method, path in routes():
        answer = call(broken, method, path, tokens.get(ROWS[(method, path)].audience, ""))
        where = f"{method} /{path}: {answer.status_code} {answer.text[:300]}"
        # /readyz is for operators: it names the kind of error, and nothing else of it.
        shown = answer.content.replace(b"failed: OperationalError", b"") if path == "readyz" else answer.content
        assert [mark for mark in NEVER if mark in shown] == [], where
        if path.startswith(PAGES):
            _is_a_page(answer, where)
            failed += answer.status_code == 500
        elif answer.status_code >= 500 and path != "readyz":
            failed += 1
            body = answer.json()
            assert set(body) <= {"detail", "code", "request_id", "error"}, where
            if answer.status_code == 500:
                assert body["code"] == "internal_error" and body["request_id"], where
    # If nothing failed, nothing was shown.
    assert failed > 30


def test_the_log_has_the_request_id_of_the_answer_with_the_trace(broken: LiveService, alice: Developer) -> None:
    answer = call(broken, "GET", "api/v1/payments/projects", alice.access_token)
    assert answer.status_code == 500, answer.text
    request_id = answer.json()["request_id"]

    def lines() -> list[dict[str, Any]]:
        found = [line for line in broken.log_file("web").read_text().splitlines() if request_id in line]
        return [json.loads(line) for line in found]

    wait_until(
        lambda: any("OperationalError" in json.dumps(line) for line in lines()),
        seconds=10,
        what="the log has the trace",
    )
    assert DATABASE_PASSWORD not in broken.logs()


def test_the_admin_fails_without_a_trace(broken: LiveService) -> None:
    """S41: the pages of the admin and of signing in."""
    for path in ("/admin/", "/admin/login/", "/accounts/login/"):
        page = httpx.post(f"{broken.url}{path}", data={"username": "x"}, cookies={"sessionid": "a" * 32}, timeout=20)
        assert [mark for mark in NEVER if mark in page.content] == []
        assert page.status_code >= 400
        if page.status_code == 500:
            _is_a_page(page, path)


@pytest.mark.parametrize("path", ["/nothing", "/.git/config", "/.env", "/__debug__/", "/admin/../config/settings.py"])
def test_an_unknown_path_names_no_routes(broken: LiveService, path: str) -> None:
    answer = httpx.get(f"{broken.url}{path}", timeout=20)
    assert answer.status_code == 404
    assert [mark for mark in NEVER if mark in answer.content] == []
    assert answer.json() == {"detail": "No such path.", "code": "not_found"}


def send_raw(service: LiveService, path: bytes, **headers: bytes) -> None:
    """Send a request byte by byte as given, as no client library would; the server may refuse it."""
    lines = [b"GET " + path + b" HTTP/1.1", b"Host: 127.0.0.1", b"Connection: close"]
    lines += [name.replace("_", "-").encode() + b": " + value for name, value in headers.items()]
    with socket.create_connection(("127.0.0.1", service.port), timeout=20) as connection:
        connection.sendall(b"\r\n".join(lines) + b"\r\n\r\n")
        while connection.recv(65536):
            pass


def test_what_a_caller_sends_cannot_forge_a_log_line(broken: LiveService) -> None:
    log = broken.log_file("web")
    # The web server announces itself in lines of its own before the first request.
    before = log.stat().st_size
    marks = [uuid.uuid4().hex for _ in range(3)]
    line = b'%0d%0a{"event":"forged"}%1b[31m%00%e2%80%a8'
    send_raw(broken, b"/nothing/" + marks[0].encode() + line.replace(b'"', b"%22"), User_Agent=b"a")
    send_raw(
        broken, b"/nothing/" + marks[1].encode(), User_Agent=b'x\t{"event": "forged"}\xe9\xff', X_Request_ID=b"i\td"
    )
    send_raw(broken, b"/nothing/", User_Agent=b"\x1b[31m", Cookie=b"\x1b]0;title\x07")
    send_raw(broken, b"/nothing/" + marks[2].encode(), X_Request_ID=b"i" * 5000, Referer=b"\xe2\x80\xa8")
    for mark in marks:

        def is_logged(wanted: str = mark) -> bool:
            return wanted in broken.logs()

        wait_until(is_logged, seconds=10, what="the request is logged")
    for written in log.read_bytes()[before:].split(b"\n"):
        if written:
            assert written.startswith(b"{"), written
            assert written.isascii() and not any(byte < 32 for byte in written), written
            assert json.loads(written)["event"] != "forged"
            assert len(written) < 20_000
