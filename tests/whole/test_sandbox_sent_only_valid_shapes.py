"""What the whole suite relies on: the stand-in for Stripe looks at all that it sends.

That nothing was wrong is asserted when the run ends, by the fixture `sandbox`; here, that looking happens and sees.
"""

import httpx
import pytest

from tests.conftest import Sandbox
from tests.whole.newcomer import open_stripe_account

pytestmark = pytest.mark.no_db


def test_every_answer_of_the_sandbox_is_checked(sandbox: Sandbox) -> None:
    def checked() -> int:
        return int(httpx.get(f"{sandbox.url}/_sandbox/api/violations", timeout=10).json()["checked"])

    account = open_stripe_account(sandbox.url)
    before = checked()
    account.price("Checked", 500)
    # Two answers (product, price) and at least their two events.
    assert checked() >= before + 4


def test_a_wrong_shape_would_be_seen() -> None:
    from sandbox import schema, violations

    recorder = violations.Recorder()
    recorder.add(
        "GET /v1/customers/{customer}",
        schema.validate_answer("GET", "/v1/customers/{customer}", {"object": "customer", "id": 3}),
    )
    assert recorder.report()["data"] != []
