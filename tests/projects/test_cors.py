"""Pages of an app may call the end users' API from the project's own origins, and nobody else's pages may."""

import uuid
from typing import Any

from django.test import Client

from accounts.models import User
from entitlements.models import Plan
from licenses.models import License
from projects.models import Project
from tests.cast import AppServer, AppUser, Developer
from tests.licenses.licensing import license_in_hand, link_of

PATH = "/api/v1/payments/credits/balance"
ALLOW = "Access-Control-Allow-Origin"
OURS, STRANGE, LAPTOP = "https://app.example", "https://evil.example", "http://localhost:5173"


def preflight(origin: str) -> Any:
    headers = {
        "Origin": origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization",
    }
    return Client().options(PATH, headers=headers)


def read(caller: AppUser | AppServer | Developer, origin: str, path: str = PATH) -> Any:
    return Client(headers=caller.headers | {"Origin": origin}).get(path)


def test_a_page_of_the_project_may_read_and_is_named_exactly(dana: AppUser) -> None:
    asked = preflight(OURS)
    assert (asked.status_code, asked[ALLOW], asked["Access-Control-Max-Age"]) == (204, OURS, "600")
    assert {"Authorization", "Idempotency-Key"} <= set(asked["Access-Control-Allow-Headers"].split(", "))
    answer = read(dana, OURS)
    assert (answer.status_code, answer[ALLOW]) == (200, OURS)
    assert "Retry-After" in answer["Access-Control-Expose-Headers"]
    assert "Origin" in answer["Vary"]
    # Never with cookies, whoever asks.
    assert "Access-Control-Allow-Credentials" not in {**asked.headers, **answer.headers}
    # A page sees that its token has run out.
    stale = Client(headers={"Authorization": "Bearer stale", "Origin": OURS}).get(PATH)
    assert (stale.status_code, stale[ALLOW]) == (401, OURS)


def test_pages_of_others_may_not(dana: AppUser, frank: AppUser, other_project: Project) -> None:
    """S43: the exact origins of the token's own project, never `*`, and never with cookies."""
    other_project.allowed_origins = ["https://other.example"]
    other_project.save()
    for origin in (
        STRANGE,
        "null",
        "https://app.example.evil.example",
        "https://APP.example",
        "https://app.example/",
        "*",
    ):
        assert ALLOW not in preflight(origin), origin
        answer = read(dana, origin)
        assert answer.status_code == 200 and ALLOW not in answer, origin
        assert "Origin" in answer["Vary"]
    # An origin of another project: the preflight names no project, the answer goes by the token.
    assert read(frank, "https://other.example")[ALLOW] == "https://other.example"
    assert ALLOW not in read(dana, "https://other.example")
    assert ALLOW not in Client(headers={"Authorization": "Bearer stale", "Origin": STRANGE}).get(PATH)


def test_a_laptop_may_in_test_mode_only(dana: AppUser) -> None:
    assert preflight(LAPTOP)[ALLOW] == LAPTOP
    assert read(dana, LAPTOP)[ALLOW] == LAPTOP
    assert ALLOW not in read(dana, LAPTOP, f"{PATH}?test_mode=false")


def test_servers_and_developers_do_not_call_from_pages(acme: Project, alice: Developer, acme_server: AppServer) -> None:
    assert ALLOW not in read(alice, OURS, "/api/v1/payments/projects")
    answer = read(acme_server, OURS, "/api/v1/payments/credits/balance?user_id=dana")
    assert answer.status_code == 200 and ALLOW not in answer
    # The admin is no part of the API.
    assert ALLOW not in Client(headers={"Origin": OURS}).get("/admin/login/")


def test_what_a_project_sells_may_be_read_by_its_pages(acme: Project) -> None:
    Plan.objects.create(project=acme, code="pro", name="Pro")
    path = f"/api/v1/payments/plans?project={acme.slug}"
    assert Client(headers={"Origin": OURS}).get(path)[ALLOW] == OURS
    assert ALLOW not in Client(headers={"Origin": STRANGE}).get(path)


def test_a_shops_page_sells_licences_and_shows_where_they_stand(acme: Project) -> None:
    checkout, keys = "/api/v1/payments/lifetime-checkout", "/api/v1/license-keys/verify"

    def ask(path: str, body: Any, origin: str = OURS) -> Any:
        return Client(headers={"Origin": origin}).post(path, body, content_type="application/json")

    unknown = {"project": acme.slug, "product": "none", "license_key": "lk_x"}
    # Whoever is refused has to read why.
    for path, body, status in ((checkout, unknown, 404), (checkout, {"project": acme.slug}, 422), (keys, unknown, 403)):
        answer = ask(path, body)
        assert (answer.status_code, answer[ALLOW]) == (status, OURS), path
        assert ALLOW not in ask(path, body, STRANGE), path
    assert ask(checkout, unknown, LAPTOP)[ALLOW] == LAPTOP
    assert ALLOW not in ask(f"{checkout}?test_mode=false", unknown, LAPTOP)
    unclear: list[Any] = [{"project": "nobodys"}, {"project": "a\x00"}, [acme.slug], "{"]
    for what in unclear:
        answer = ask(checkout, what)
        assert answer.status_code == 422 and ALLOW not in answer, what
    held = license_in_hand(acme)
    holder = {"Authorization": f"Bearer {link_of(held)}"}
    for origin, named in ((OURS, OURS), (STRANGE, None)):
        shown = Client(headers=holder | {"Origin": origin}).get("/api/v1/license-access/status")
        assert (shown.status_code, shown.headers.get(ALLOW)) == (200, named)
    # A laptop reads about a licence in test mode only, whatever the address says.
    for mode, named in (("test", LAPTOP), ("live", None)):
        License.objects.for_project(acme).filter(pk=held.pk).update(mode=mode)
        for query in ("", "?test_mode=true"):
            shown = Client(headers=holder | {"Origin": LAPTOP}).get(f"/api/v1/license-access/status{query}")
            assert (shown.status_code, shown.headers.get(ALLOW)) == (200, named), (mode, query)
        refused = Client(headers=holder | {"Origin": LAPTOP}).get("/api/v1/license-access/status?session=cs_x")
        assert (refused.status_code, refused.headers.get(ALLOW)) == (404, named)
    assert Client(headers=holder | {"Origin": OURS}).get("/api/v1/license-access/status")[ALLOW] == OURS


def test_answers_carry_what_browsers_need_to_be_careful(settings: Any, dana: AppUser) -> None:
    """S43, S35: headers of every kind of page; cookies for this host and HTTPS only, out of reach of scripts."""
    settings.SECURE_HSTS_SECONDS = 31_536_000
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = True
    settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME = "__Host-sessionid", "__Host-csrftoken"
    client = Client()
    for path in (PATH, "/admin/login/", "/docs", "/nothing", "/accounts/login/", "/oauth/authorize"):
        answer = client.get(path, secure=True)
        assert answer["X-Content-Type-Options"] == "nosniff", path
        assert answer["Referrer-Policy"] == "same-origin", path
        assert answer["X-Frame-Options"] == "DENY", path
        assert answer["Strict-Transport-Security"].startswith("max-age=31536000"), path
        policy = answer["Content-Security-Policy"].split("; ")
        assert {"base-uri 'none'", "object-src 'none'", "frame-ancestors 'none'"} <= set(policy), path
        assert ("script-src 'self' 'unsafe-inline' 'unsafe-eval'" in policy) == (path == "/admin/login/")
        assert ("script-src 'self' 'unsafe-inline'" in policy) == (path == "/docs")
        # Where one types a password or agrees to something, nothing runs at all.
        assert ("default-src 'none'" in policy) == path.startswith(("/accounts/", "/oauth/")), path
    root = User.objects.create_superuser(f"{uuid.uuid4().hex}@example.com", "x" * 12)
    client.post("/admin/login/", {"username": root.email, "password": "x" * 12}, secure=True)
    for name in ("__Host-csrftoken", "__Host-sessionid"):
        cookie = client.cookies[name]
        assert cookie["secure"] and cookie["httponly"] and cookie["samesite"] == "Lax" and cookie["path"] == "/"
        assert not cookie["domain"]
