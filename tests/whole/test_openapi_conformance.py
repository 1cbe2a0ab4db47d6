"""Every documented operation, called with generated input and a valid token, answers as /openapi.json says.

No operation is left out. Most examples get ids that exist where the document only says "an id", so that not only refusals
are seen; each operation that changes something has a project, tokens and buyer of its own, so that deleting or signing out
harms no other.
`SOAK=1` calls each operation many times more, and with every boundary of every field.
"""

import io
import itertools
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import schemathesis
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from config.wsgi import application
from tests.payments.deliveries import signature
from tests.whole.operation_world import World, body_schema, create_world, leave_shared_address, required_fields

SOAK = os.environ.get("SOAK") == "1"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900 if SOAK else 180)]

EXAMPLES = 400 if SOAK else 12
CHECKS = [
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]
# Acme's signing secret was put in by hand, and such a one is not rolled: tests/payments/test_roll_webhook_secret.py rolls others.
NEVER_POSSIBLE_HERE = {"POST /api/v1/payments/stripe/projects/{project_id}/webhook-endpoint/roll-secret"}
# Stripe said no, or was away: documented, and no failure of this service (a made-up key makes the sandbox say no).
UPSTREAM = (502, 503)
ASKED_AGAIN = 3
DELIVERED_BY_STRIPE = ("/webhook/stripe", "/api/v1/payments/stripe/webhooks/{project_id}/{mode}")
NO_PROJECT = "00000000-0000-4000-8000-000000000000"
_addresses = itertools.count(1)
answered: dict[str, Counter[int]] = {}
plainly_called: set[str] = set()
# Two ways to say what is wanted, of which a body holds one.
NOT_TOGETHER = {"interval", "tier", "pack", "promo_code"}


def _from_anywhere(environ: dict[str, Any], start_response: Any) -> Any:
    """Call the service from an address that nobody used before, so that limits per address do not hide what is behind.

    A delivery is signed here, where its bytes are known.
    """
    number = next(_addresses)
    environ["REMOTE_ADDR"] = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    secret = environ.pop("HTTP_X_SIGN_WITH", "")
    if secret:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
        environ["HTTP_STRIPE_SIGNATURE"] = signature(body, secret)
    return application(environ, start_response)


schema = schemathesis.openapi.from_wsgi("/openapi.json", _from_anywhere, base_url="http://testserver")
# Every boundary of every field, besides random input: working them out takes as long as collecting all other tests.
schema.config.phases.coverage.enabled = SOAK


@pytest.fixture(scope="module", autouse=True)
def loopback_is_opened(sandbox: Any) -> Iterator[None]:
    """Let connections lead to the sandbox, which is GitHub, too."""
    from django.conf import settings as service_settings

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(service_settings, "OUTGOING_ALLOWED_HOSTS", ["127.0.0.1"])
        patch.setattr(service_settings, "WEBHOOK_ALLOWED_HOSTS", ["127.0.0.1"])
        patch.setattr(service_settings, "GITHUB_API_BASE", f"{sandbox.url}/_github")
        yield


@contextmanager
def living(sandbox: Any) -> Iterator[World]:
    """Acme with keys, a plan that Dana bought, a member, a key, a client."""
    world, project = create_world(sandbox)
    # Keep the database's connection between requests, as Django's own test client does.
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield world
    leave_shared_address(project)
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@pytest.fixture
def world(database: None, sandbox: Any) -> Iterator[World]:
    """A world for one operation that changes something."""
    with living(sandbox) as found:
        yield found


@pytest.fixture(scope="module")
def read_world(run_database: str, django_db_blocker: Any, sandbox: Any) -> Iterator[World]:
    """One world for all operations that only read."""
    with django_db_blocker.unblock(), living(sandbox) as found:
        yield found


def call_plainly(case: Any, world: World) -> None:
    """Send one example with nothing in it but what is known to exist, whatever was generated."""
    body = world.body_of(case.path)
    wanted = required_fields(case.operation) or body_schema(case.operation).get("properties", {}).keys() - NOT_TOGETHER
    generated = (case.body, case.query, dict(case.headers), case.media_type)
    # What was generated depends on what else this process has loaded, and may be no object at all.
    if wanted or isinstance(case.body, dict):
        known = world.plain_body_of(case.path) or {name: body[name] for name in body.keys() & wanted}
        case.body, case.media_type = known, "application/json"
    case.query = {name: value for name, value in (case.query or {}).items() if name == "project"}
    case.headers.clear()
    world.fill_in(case, surely=True)
    for _ in range(ASKED_AGAIN):
        # On a busy machine the stand-in for Stripe may not answer at once; the service says so, as documented.
        if call(case, world) not in UPSTREAM:
            break
    case.body, case.query = generated[:2]
    case.headers.update(generated[2])
    case.media_type = generated[3]


def call(case: Any, world: World) -> int:
    """Send one example, check its answer against the document and return its status."""
    response = case.call(headers=world.headers(case))
    answered.setdefault(case.operation.label, Counter())[response.status_code] += 1
    expected = [] if response.status_code in UPSTREAM else [not_a_server_error]
    case.validate_response(response, checks=[*CHECKS, *expected])
    return int(response.status_code)


def call_in_turn(case: Any, world: World) -> None:
    """Send a generated example; before the first of an operation one that must succeed and one that must be refused."""
    world.fill_in(case)
    project_id = (case.path_parameters or {}).get("project_id")
    if project_id and case.operation.label not in answered:
        # One example more asks for a project that is not there, so that every operation is seen to refuse.
        case.path_parameters["project_id"] = NO_PROJECT
        call(case, world)
        case.path_parameters["project_id"] = project_id
    if case.operation.label not in plainly_called:
        plainly_called.add(case.operation.label)
        call_plainly(case, world)
    call(case, world)


def _test_of(operation: Any) -> Any:
    """Make the test of one operation."""

    def test(case: Any, world: World) -> None:
        call_in_turn(case, world)

    def reading_test(case: Any, read_world: World) -> None:
        call_in_turn(case, read_world)

    examples = settings(
        max_examples=EXAMPLES,
        deadline=None,
        derandomize=not SOAK,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    chosen = schema.include(operation_id=operation.definition.raw["operationId"]).parametrize()
    return chosen(examples(reading_test if operation.method == "get" else test))


# A function each: pytest names the operations of one function alike, and of equal names pytest-xdist runs one.
FOUND = [one.ok() for one in schema.get_all_operations() if isinstance(one, Ok)]
OPERATION_IDS = [one.definition.raw["operationId"] for one in FOUND]
globals().update(
    {f"test_{name}_answers_as_documented": _test_of(each) for name, each in zip(OPERATION_IDS, FOUND, strict=True)}
)


def test_every_operation_was_seen_to_succeed_and_to_refuse() -> None:
    assert len(set(OPERATION_IDS)) == len(OPERATION_IDS) > 50
    if len(answered) < len(OPERATION_IDS):
        pytest.skip("only some of the operations were called")
    kinds = {label: {status // 100 for status in statuses} for label, statuses in answered.items()}
    never = {label for label, seen in kinds.items() if 2 not in seen}
    assert never == NEVER_POSSIBLE_HERE, {label: answered[label] for label in never}
    assert [label for label, seen in kinds.items() if 4 not in seen] == []
