"""Two workers, each with a sweep of its own, on one inbox: everything is done, and once (F38)."""

import pytest

from tests.faults.sender import Sender, live_a_whole_life
from tests.live import LiveService
from tests.scenarios.lifecycle import Life

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


def test_two_workers_do_everything_once(live_service: LiveService, life: Life, sender: Sender) -> None:
    parts = live_service.processes
    parts["first worker"] = parts.pop("worker")
    live_service.start("worker")
    live_a_whole_life(life)
    sender.send_all()
    sender.wait_drained()
    sender.check_effects_once()
    assert parts["first worker"].is_running() and parts["worker"].is_running()
