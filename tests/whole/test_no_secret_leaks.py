"""No secret anywhere: after a whole life with all its failures, at LOG_LEVEL=DEBUG, every place is searched.

The places are the database, the logs of all processes, what goes through the broker, every answer, every page of the
admin, and what other users of the machine see of the processes.
"""

import base64
import contextlib
import re
import secrets
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from django.conf import settings

from projects.models import Project
from tests.licenses.licensing import create_product
from tests.live import ROOT, LiveService, running_service, wait_until
from tests.security.scan import dump_database, find_canaries
from tests.whole.admin_crawl import crawl, sign_in
from tests.whole.leaks import Journey, Monitor, task_messages, unescaped

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

PARTS = ("web", "worker", "beat")


@dataclass(frozen=True)
class Evidence:
    """What was left after the journey."""

    journey: Journey
    places: dict[str, dict[str, bytes]]
    monitored: bytes
    lists: list[str]


def database_url() -> str:
    """Return the address of this process's database, for tools."""
    parts = settings.DATABASES["default"]
    return f"postgres://{parts['USER']}:{quote(parts['PASSWORD'])}@{parts['HOST']}:{parts['PORT']}/{parts['NAME']}"


def instance_secrets(service: LiveService) -> dict[str, str]:
    """Return the secrets that the instance itself runs on."""
    pem = "".join(settings.OIDC_PRIVATE_KEY.strip().splitlines()[1:-1])
    return {
        "SECRET_KEY": settings.SECRET_KEY,
        "encryption key": settings.ENCRYPTION_KEYS.partition(":")[2],
        "OIDC private key": pem[100:160],
        "database password": settings.DATABASES["default"]["PASSWORD"],
        "Redis password": str(urlsplit(service.redis.url).password),
    }


def command_lines(service: LiveService) -> dict[str, bytes]:
    """Return the arguments of all processes of the service."""
    family = [*service.processes.values(), service.redis.process]
    family += [child for process in service.processes.values() for child in process.children(recursive=True)]
    return {f"arguments of {each.pid} {each.name()}": "\0".join(each.cmdline()).encode() for each in family}


@pytest.fixture(scope="module")
def evidence(
    tmp_path_factory: pytest.TempPathFactory, run_database: str, sandbox: Any, django_db_blocker: Any
) -> Iterator[Evidence]:
    """Walk once; the tests look at what is left."""
    directory = tmp_path_factory.mktemp("leaks")
    env = {"LOG_LEVEL": "DEBUG", "STRIPE_TIMEOUT_SECONDS": "2"}
    with running_service(directory, sandbox.url, env=env) as service:
        monitor = Monitor(service.redis.url)
        journey = Journey(service.url, sandbox.url)
        journey.canaries |= instance_secrets(service)
        journey.walk()
        with django_db_blocker.unblock():
            sold = create_product(Project.objects.get(pk=journey.project["id"]), activation_limit=2)
        journey.buy_license(sold.code)
        with django_db_blocker.unblock():
            wait_until(lambda: _inbox_is_empty(journey), seconds=60, what="all events are processed", interval=0.5)
            pages, lists = _admin_pages(service, journey)
            places = {
                "database": {"database": dump_database(database_url())},
                "logs": {file.name: file.read_bytes() for file in directory.glob("*.log")},
                "admin": pages,
                "arguments": command_lines(service),
            }
        monitored = monitor.stop()
        places["broker"] = {"broker": monitored, "broker, unquoted": unescaped(monitored)}
        yield Evidence(journey, places, monitored, lists)


def _inbox_is_empty(journey: Journey) -> bool:
    from payments.models import WebhookEvent

    events = WebhookEvent.objects.for_project(uuid.UUID(journey.project["id"]))
    # Rows that wait for their next try hold an error text, which is what is searched.
    return events.exists() and not events.unfinished().filter(attempts=0).exists()


def _admin_pages(service: LiveService, journey: Journey) -> tuple[dict[str, bytes], list[str]]:
    from django.contrib import admin
    from django.urls import reverse

    password = journey.secret("administrator's password", f"pw-{secrets.token_urlsafe(18)}")
    email = f"root-{uuid.uuid4().hex[:12]}@example.com"
    subprocess.run(
        [sys.executable, "manage.py", "createsuperuser", "--noinput", "--email", email],
        cwd=ROOT,
        env=service.environment | {"DJANGO_SUPERUSER_PASSWORD": password},
        timeout=60,
        check=True,
        capture_output=True,
    )
    lists = [reverse(f"admin:{m._meta.app_label}_{m._meta.model_name}_changelist") for m in admin.site._registry]
    with contextlib.closing(sign_in(service.url, email, password)) as browser:
        return crawl(browser, lists), lists


@pytest.mark.parametrize("kind", ["database", "logs", "admin", "arguments", "broker"])
def test_no_secret_is_in(evidence: Evidence, kind: str) -> None:
    places = evidence.places[kind]
    assert places and all(places.values()), "there is nothing to look at"
    assert find_canaries(places, evidence.journey.canaries) == []


def test_no_answer_holds_a_secret_but_the_one_that_shows_it_once(evidence: Evidence) -> None:
    assert len(evidence.journey.answers) > 80
    assert evidence.journey.hits_in_answers() == []


def test_the_life_that_was_walked_had_its_failures(evidence: Evidence) -> None:
    statuses = {answer.status for answer in evidence.journey.answers}
    assert {200, 201, 204, 400, 401, 404, 409, 422, 502, 503} <= statuses
    assert all(answer.status != 500 for answer in evidence.journey.answers)
    assert len(evidence.journey.canaries) > 20


def test_logs_are_there_and_at_debug(evidence: Evidence) -> None:
    logs = evidence.places["logs"]
    assert {f"{part}.log" for part in PARTS} <= set(logs)
    assert b'"level": "debug"' in logs["web.log"] + logs["worker.log"]


def test_every_list_of_the_admin_was_read_and_some_of_its_rows(evidence: Evidence) -> None:
    pages = evidence.places["admin"]
    assert [path for path in evidence.lists if path not in pages] == []
    for model in ("stripecredentials", "webhookevent", "apikey", "identityprovider", "user"):
        assert any(re.search(rf"/{model}/[^/]+/change/$", path) for path in pages), f"no row of {model} was opened"


def test_task_messages_carry_ids_at_most(evidence: Evidence) -> None:
    messages = list(task_messages(evidence.monitored))
    assert messages, "no task was sent"
    for message in messages:
        assert message["content-type"] == "application/json"
        arguments, named, _ = message["decoded"]
        for value in [*arguments, *named.values()]:
            assert isinstance(value, int) or uuid.UUID(value), message["headers"]["task"]


@pytest.mark.parametrize("kind", ["database", "logs", "admin", "arguments", "broker"])
def test_the_search_finds_a_secret_that_was_planted(evidence: Evidence, kind: str) -> None:
    planted = f"whsec_{secrets.token_urlsafe(24)}"
    forms = [planted.encode(), base64.b64encode(f'{{"secret": "{planted}"}}'.encode()), planted.encode().hex().encode()]
    for place, content in evidence.places[kind].items():
        for form in forms:
            middle = len(content) // 2
            found = find_canaries({place: content[:middle] + form + content[middle:]}, {"planted": planted})
            assert found == [f"planted in {place}"]
        if kind == "admin":
            break


def test_a_secret_in_a_second_answer_would_be_found(evidence: Evidence) -> None:
    name, number = next(iter(evidence.journey.shown_by.items()))
    again = Journey(evidence.journey.service_url, evidence.journey.sandbox_url)
    again.answers = [*evidence.journey.answers[: number + 1], evidence.journey.answers[number]]
    again.canaries, again.shown_by = {name: evidence.journey.canaries[name]}, {name: number}
    assert again.hits_in_answers() == [f"{name} in {evidence.journey.answers[number].label}"]
