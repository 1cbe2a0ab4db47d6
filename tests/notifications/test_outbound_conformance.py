"""What is sent is what the Standard Webhooks libraries take, what the documentation shows, and what the code tells."""

import datetime as dt
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from config.embedded import free_port, stop_process
from licenses.models import License, LicenseProduct
from licenses.services.shapes import render_license
from notifications.event_docs import render
from notifications.event_types import EVENT_TYPES, TEST_EVENT
from notifications.models import WebhookDelivery
from notifications.services.endpoints import create_endpoint, rotate_secret
from notifications.services.outbound import signed_headers
from notifications.services.replays import replay_delivery
from projects.models import Project
from tests.node_runtime import NODE_DIRECTORY
from tests.notifications.listening import Listening, deliver, record
from tests.openapi.contract import SHAPES

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
NODE_VERIFIES = """
import { Webhook } from "standardwebhooks";
const cases = JSON.parse(process.argv[1]);
console.log(JSON.stringify(cases.map(({ secret, body, headers }) => {
  try { return new Webhook(secret).verify(body, headers); } catch (error) { return error.message; }
})));
"""


def signed(secrets: list[str], body: str, *, at: dt.datetime | None = None) -> dict[str, str]:
    return signed_headers(secrets=secrets, message_id="evt_1", body=body, at=at or dt.datetime.now(dt.UTC))


def new_secrets(acme: Project, settings: Any) -> tuple[str, str]:
    settings.WEBHOOK_ALLOWED_HOSTS = ["127.0.0.1:8443"]
    made = create_endpoint(project=acme, mode="test", fields={"url": "https://127.0.0.1:8443/"})
    return rotate_secret(endpoint=made.endpoint).secret, made.secret


@pytest.mark.node
@pytest.mark.timeout(300)
def test_the_official_javascript_library_takes_what_is_sent_and_nothing_else(
    acme: Project, settings: Any, node: Path
) -> None:
    new, old = new_secrets(acme, settings)
    body = json.dumps({"type": "payment.succeeded", "data": {"description": "Zoë's 5 €"}}, ensure_ascii=False)
    both, late = signed([new, old], body), dt.datetime.now(dt.UTC) - dt.timedelta(minutes=6)
    cases = [
        {"secret": new, "body": body, "headers": both},
        {"secret": old, "body": body, "headers": both},
        {"secret": old, "body": body, "headers": signed([new], body)},
        {"secret": new, "body": body + " ", "headers": both},
        {"secret": new, "body": body, "headers": {**both, "webhook-id": "evt_2"}},
        {"secret": new, "body": body, "headers": signed([new], body, at=late)},
    ]
    done = subprocess.run(
        [str(node), "--input-type=module", "-e", NODE_VERIFIES, "--", json.dumps(cases)],
        cwd=NODE_DIRECTORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    refused = "No matching signature found"
    answers = json.loads(done.stdout)
    assert answers == [json.loads(body)] * 2 + [refused] * 3 + ["Message timestamp too old"]


@contextmanager
def receiver(command: list[str], *, secret: str, directory: Path, port: int) -> Iterator[Callable[[], list[str]]]:
    """Run an example of the documentation; yields what reads what it has handled."""
    output = directory / "handled.txt"
    environment = {"PATH": os.environ["PATH"], "WEBHOOK_SECRET": secret}
    with output.open("w") as sink, (directory / "errors.txt").open("w") as errors:
        process = subprocess.Popen([*command, str(port)], cwd=directory, env=environment, stdout=sink, stderr=errors)
    try:
        deadline = time.monotonic() + 30
        while True:
            with suppress(httpx.HTTPError):
                assert httpx.post(f"http://127.0.0.1:{port}/", content=b"{}", timeout=5).status_code == 400
                break
            assert time.monotonic() < deadline and process.poll() is None, output.read_text()
            time.sleep(0.05)
        yield lambda: output.read_text().splitlines()
    finally:
        stop_process(psutil.Process(process.pid))


@pytest.mark.node
@pytest.mark.timeout(300)
@pytest.mark.parametrize("language", ["py", "ts"])
def test_the_examples_take_each_event_once_and_refuse_forgeries(
    language: str, acme: Project, settings: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    port = free_port()
    settings.WEBHOOK_ALLOWED_HOSTS = [f"127.0.0.1:{port}"]
    made = create_endpoint(project=acme, mode="test", fields={"url": f"http://127.0.0.1:{port}/hook"})
    listening = Listening(made.endpoint, made.secret)
    shutil.copy(EXAMPLES / f"receive_webhooks.{language}", tmp_path)
    if language == "ts":
        command = [str(request.getfixturevalue("node"))]
        (tmp_path / "node_modules").symlink_to(NODE_DIRECTORY / "node_modules")
    else:
        command = [sys.executable]
    with receiver(
        [*command, f"receive_webhooks.{language}"], secret=made.secret, directory=tmp_path, port=port
    ) as handled:
        record(acme, "payment.succeeded", external_user_id="dana")
        deliver(acme)
        replay_delivery(endpoint=made.endpoint, delivery_id=listening.delivery().pk)
        deliver(acme)
        body = '{"type": "payment.succeeded", "timestamp": "x", "data": {}}'
        forged = signed(["whsec_" + "A" * 43 + "="], body)
        malformed = {**signed([made.secret], body), "webhook-signature": "v1,not base64!"}
        for headers in (forged, malformed):
            assert httpx.post(made.endpoint.url, content=body, headers=headers, timeout=5).status_code == 400
        assert [entry["status_code"] for entry in listening.delivery().log] == [204, 204]
        lines = handled()
    at = listening.delivery().event.created_at.astimezone(dt.UTC).isoformat()
    assert lines == [f"payment.succeeded {at.replace('+00:00', 'Z')} dana"], lines


@pytest.mark.no_db
def test_the_examples_of_events_have_the_contracts_shapes() -> None:
    of = {"subscription": "Subscription", "payment": "Payment", "dispute": "Payment"}
    more = {"payment.refunded": {"refund"}, "dispute.opened": {"dispute"}, "dispute.closed": {"dispute"}}
    for name, kind in EVENT_TYPES.items():
        shape = of.get(name.partition(".")[0])
        if shape:
            assert set(kind.example) - more.get(name, set()) == set(SHAPES[shape]), name
        if name.startswith("license."):
            assert set(kind.example) == set(render_license(License(product=LicenseProduct()))), name
        assert kind.about and "project_id" in kind.example and "is_test_mode" in kind.example


@pytest.mark.no_db
def test_the_documentation_shows_every_type_with_its_example() -> None:
    shown = (ROOT / "docs" / "app-events.md").read_text()
    assert shown == render(), "run: .venv/bin/python -m notifications.event_docs > docs/app-events.md"


@pytest.mark.no_db
def test_every_type_that_the_code_tells_is_in_the_table_and_the_other_way_round() -> None:
    told: set[str] = set()
    nouns = {name.partition(".")[0] for name in EVENT_TYPES} - {"webhook"} | {"license"}
    pattern = re.compile(rf'"((?:{"|".join(nouns)})\.[a-z_]+)"')
    for path in ROOT.glob("*/services/**/*.py"):
        text = path.read_text()
        # What staff do is logged under words of the same form, by modules that tell no app.
        if path.parts[len(ROOT.parts)] != "sandbox" and ("APP_EVENT" in text or "tell_app" in text):
            told |= {found[1] for found in pattern.finditer(text)}
    assert told == set(EVENT_TYPES) - {TEST_EVENT}


def test_an_event_of_every_type_fits_its_columns(acme: Project, listening: Listening) -> None:
    for name, kind in EVENT_TYPES.items():
        if name != TEST_EVENT:
            record(acme, name, **{key: value for key, value in kind.example.items() if key != "project_id"})
    deliver(acme)
    rows = WebhookDelivery.objects.filter(endpoint=listening.endpoint)
    assert set(rows.values_list("event_type", "status")) == {
        (name, "delivered") for name in EVENT_TYPES if name != TEST_EVENT
    }
