"""Key sets of identity providers (S24, S27): fetched rarely, kept while the provider is down, never from a private address."""

import datetime as dt
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from projects.models import IdentityProvider, Project
from projects.services.identity_providers import put_identity_provider
from tests.builders import create_developer, make_project, provider_claims, sign
from tests.projects.whoami import ask, b64, refused


class KeyServer(BaseHTTPRequestHandler):
    """Serves a key set, or fails."""

    keys: list[dict[str, Any]] = []
    hits = 0
    is_down = False

    def do_GET(self) -> None:
        type(self).hits += 1
        self.send_response(500 if self.is_down else 200)
        self.end_headers()
        self.wfile.write(json.dumps({"keys": self.keys}).encode())

    def log_message(self, format: str, *args: Any) -> None:
        pass


def new_key(kid: str) -> tuple[rsa.RSAPrivateKey, dict[str, Any]]:
    """Make a key pair and its public form."""
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return private, {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key())), "kid": kid, "use": "sig"}


@pytest.fixture
def key_server(settings: Any) -> Iterator[str]:
    """A provider's key set on this machine, opened by the operator."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), KeyServer)
    KeyServer.keys, KeyServer.hits, KeyServer.is_down = [], 0, False
    threading.Thread(target=server.serve_forever, daemon=True).start()
    settings.OUTGOING_ALLOWED_HOSTS = [f"127.0.0.1:{server.server_address[1]}"]
    yield f"http://127.0.0.1:{server.server_address[1]}/jwks.json"
    server.shutdown()
    server.server_close()


def with_jwks(url: str) -> Project:
    """Make a project whose provider publishes its keys."""
    made = make_project(create_developer())
    put_identity_provider(
        project=made, fields={"kind": "jwks", "issuer": "https://idp.example", "audience": "acme-app", "jwks_url": url}
    )
    return made


def age(project: Project, **by: int) -> None:
    """Let a project's key set grow old."""
    then = timezone.now() - dt.timedelta(**by)
    IdentityProvider.objects.for_project(project).update(jwks_fetched_at=then, jwks_attempted_at=then)


def test_published_keys_verify_without_a_fetch_per_request(key_server: str) -> None:
    private, public = new_key("k1")
    KeyServer.keys = [public]
    project = with_jwks(key_server)
    token = sign(provider_claims(project), private, algorithm="RS256", kid="k1")
    assert ask(token).status_code == 200
    with CaptureQueriesContext(connection) as queries:
        assert ask(token).status_code == 200
    assert (len(queries), KeyServer.hits) == (1, 1)
    assert ask(sign(provider_claims(project), private, algorithm="RS256")).status_code == 200


def test_the_public_key_is_no_shared_secret(key_server: str) -> None:
    private, public = new_key("k1")
    KeyServer.keys = [public]
    project = with_jwks(key_server)
    pem = private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    signing = f"{b64({'alg': 'HS256', 'typ': 'JWT', 'kid': 'k1'})}.{b64(provider_claims(project))}"
    assert refused(ask(f"{signing}.{b64(hmac.new(pem, signing.encode(), hashlib.sha256).digest())}"))


def test_unknown_key_ids_cause_one_fetch_a_minute_at_most(key_server: str) -> None:
    private, public = new_key("k1")
    KeyServer.keys = [public]
    project = with_jwks(key_server)
    assert KeyServer.hits == 1
    for number in range(20):
        assert refused(ask(sign(provider_claims(project), private, algorithm="RS256", kid=f"unknown-{number}")))
    assert KeyServer.hits == 2
    assert ask(sign(provider_claims(project), private, algorithm="RS256", kid="k1")).status_code == 200


@pytest.mark.parametrize(
    "kid", ["../../etc/passwd", "https://evil.example/key", "k' OR 1=1 --", "a b", "x" * 300, "", "k\x00"]
)
def test_key_ids_that_are_no_names_cause_no_fetch(key_server: str, kid: str) -> None:
    private, public = new_key("k1")
    KeyServer.keys = [public]
    project = with_jwks(key_server)
    assert refused(ask(sign(provider_claims(project), private, algorithm="RS256", kid=kid)))
    assert KeyServer.hits == 1


def test_addresses_of_keys_inside_a_token_are_ignored(key_server: str) -> None:
    _, public = new_key("k1")
    mallory, mallorys = new_key("k1")
    KeyServer.keys = [public]
    project = with_jwks(key_server)
    header = {"kid": "k1", "jku": key_server, "x5u": key_server, "jwk": mallorys, "x5c": ["AAAA"]}
    assert refused(ask(sign(provider_claims(project), mallory, algorithm="RS256", **header)))
    assert KeyServer.hits == 1


def test_a_new_key_is_found_and_a_removed_one_is_refused(key_server: str) -> None:
    old, old_public = new_key("old")
    new, new_public = new_key("new")
    KeyServer.keys = [old_public]
    project = with_jwks(key_server)
    by_old = sign(provider_claims(project), old, algorithm="RS256", kid="old")
    by_new = sign(provider_claims(project), new, algorithm="RS256", kid="new")
    assert ask(by_old).status_code == 200
    KeyServer.keys = [new_public]
    assert ask(by_new).status_code == 200
    assert refused(ask(by_old))


def test_a_removed_key_is_noticed_without_a_new_one(key_server: str) -> None:
    private, public = new_key("k1")
    KeyServer.keys = [public]
    project = with_jwks(key_server)
    token = sign(provider_claims(project), private, algorithm="RS256", kid="k1")
    KeyServer.keys = []
    assert ask(token).status_code == 200
    age(project, minutes=6)
    assert refused(ask(token))


def test_kept_keys_serve_while_the_provider_is_down_for_a_day(key_server: str) -> None:
    private, public = new_key("k1")
    KeyServer.keys = [public]
    project = with_jwks(key_server)
    token = sign(provider_claims(project), private, algorithm="RS256", kid="k1")
    KeyServer.is_down = True
    age(project, hours=3)
    assert ask(token).status_code == 200
    age(project, hours=30)
    assert refused(ask(token))


def test_another_projects_key_does_not_verify(key_server: str) -> None:
    private, public = new_key("k1")
    KeyServer.keys = [public]
    trusting = with_jwks(key_server)
    KeyServer.keys = [new_key("k2")[1]]
    other = with_jwks(key_server)
    assert refused(ask(sign(provider_claims(other), private, algorithm="RS256", kid="k1")))
    assert ask(sign(provider_claims(trusting), private, algorithm="RS256", kid="k1")).status_code == 200


def test_a_key_set_that_no_database_can_hold_is_not_kept(key_server: str) -> None:
    private, public = new_key("k1")
    KeyServer.keys = [public, public | {"kid": "half a letter: \ud800"}]
    project = with_jwks(key_server)
    assert IdentityProvider.objects.for_project(project).get().jwks_document is None
    age(project, minutes=2)
    assert refused(ask(sign(provider_claims(project), private, algorithm="RS256", kid="k1")))


def test_a_private_address_of_keys_is_not_called(key_server: str, settings: Any) -> None:
    private, public = new_key("k1")
    KeyServer.keys = [public]
    project = with_jwks(key_server)
    settings.OUTGOING_ALLOWED_HOSTS = []
    age(project, hours=30)
    assert refused(ask(sign(provider_claims(project), private, algorithm="RS256", kid="k1")))
    assert KeyServer.hits == 1
