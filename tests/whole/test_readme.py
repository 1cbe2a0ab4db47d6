"""The README is true: its commands work as they are written, and its list of events is the one that is handled."""

import json
import re
import shutil
import subprocess
import sys
from typing import Any

import pytest

from payments.webhooks import HANDLERS
from tests.security.test_code_checks import ROOT

WALK = re.compile(r"## Use it from your app.*?```sh\n(.*?)```", re.DOTALL)
PLANS = re.compile(r"## What paying gives.*?```sh\n(.*?)```", re.DOTALL)
LICENCES = re.compile(r"## Selling.*?```sh\n(.*?)```", re.DOTALL)
EVENTS = re.compile(r"## Events to select.*?```\n(.*?)```", re.DOTALL)


@pytest.mark.no_db
def test_the_list_of_events_to_select_is_what_is_handled() -> None:
    listed = EVENTS.search((ROOT / "docs/webhooks.md").read_text())
    assert listed is not None
    assert sorted(listed.group(1).split()) == sorted(HANDLERS)


@pytest.mark.live(parts=("web", "worker"))
def test_the_walk_through_runs_as_it_is_written(live_service: Any, sandbox: Any) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    readme = (ROOT / "README.md").read_text()
    found, plans = WALK.search(readme), PLANS.search(readme)
    sold = LICENCES.search((ROOT / "docs/licences.md").read_text())
    assert found is not None
    assert plans is not None
    assert sold is not None
    managed = (plans.group(1) + sold.group(1)).replace(".venv/bin/python", sys.executable)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", found.group(1) + managed],
        cwd=ROOT,
        env={**live_service.environment, "BASE": live_service.url, "SANDBOX": sandbox.url, "LOG_LEVEL": "ERROR"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    webhook_status, checkout_url, subscription, status, *said = done.stdout.strip().splitlines()
    assert webhook_status == "managed"
    assert "/c/pay/cs_test_" in checkout_url
    assert subscription == "null"
    assert '"tier":"free"' in status.replace(" ", "")
    *_, shop_checkout, entitlements, license_checkout = said
    assert "/c/pay/cs_test_" in license_checkout
    assert "/c/pay/cs_test_" in shop_checkout
    assert json.loads(entitlements)["limits"]["credits_per_day"] == 10
