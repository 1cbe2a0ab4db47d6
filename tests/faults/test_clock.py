"""Clocks that are wrong or jump: deliveries are refused loudly and come again, and leases do not care (F24).

The parts of the service run on a clock that is off from the machine's by what a file says, also while they run.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest

from payments.models import WebhookEvent
from tests.faults.sender import Sender, live_a_whole_life
from tests.live import LiveService, running_service, wait_until
from tests.payments.deliveries import events_of
from tests.scenarios.lifecycle import Life

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

# Python runs this before anything else in each process of the service.
CLOCK_OF_A_PART = """
import os, threading, time
import time_machine

file = os.environ["CLOCK_OFF_FILE"]
read = lambda: float(open(file).read())
traveller = time_machine.travel(time.time() + read(), tick=True)
clock = traveller.start()
real_time = time_machine.escape_hatch.time.time

def follow():
    while True:
        time.sleep(0.05)
        clock.shift(read() - (time.time() - real_time()))

def begin():
    threading.Thread(target=follow, daemon=True).start()

os.register_at_fork(after_in_child=begin)
begin()
"""


class WrongClock:
    """How far the service's clock is off; every process follows within a tenth of a second."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "sitecustomize.py").write_text(CLOCK_OF_A_PART)
        self.set(0)

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in order to follow."""
        return {"PYTHONPATH": str(self.directory), "CLOCK_OFF_FILE": str(self.directory / "off")}

    def set(self, seconds: float) -> None:
        """Put the service's clock ahead of (or, negative, behind) everybody else's."""
        fresh = self.directory / "off.new"
        fresh.write_text(str(seconds))
        fresh.replace(self.directory / "off")


@pytest.fixture
def clock(tmp_path: Path) -> WrongClock:
    """A clock that is right at first."""
    directory = tmp_path / "clock"
    directory.mkdir()
    return WrongClock(directory)


@pytest.fixture
def live_service(
    tmp_path: Path, clock: WrongClock, run_database: str, sandbox: Any, settings: Any
) -> Iterator[LiveService]:
    """A service on that clock."""
    with running_service(tmp_path, sandbox.url, env=clock.environment, parts=("web", "worker")) as service:
        settings.PUBLIC_BASE_URL = service.url
        yield service


def check_shown(service: LiveService, code: int, text: str) -> None:
    """Wait until /readyz says this about the clock."""
    wait_until(
        lambda: (found := service.readiness())["code"] == code and text in found["checks"]["clock"],
        seconds=10,
        what=f"{code} and {text!r} in /readyz",
    )


@pytest.mark.parametrize("minutes", [10, -10])
def test_f24_a_wrong_clock_refuses_deliveries_loudly_and_none_is_lost_once_it_is_right(
    live_service: LiveService, sender: Sender, life: Life, clock: WrongClock, minutes: int
) -> None:
    live_a_whole_life(life)
    off = minutes * 60
    clock.set(off)
    check_shown(live_service, 503, "every delivery of Stripe is refused")
    assert {sender.send(event) for event in events_of(life.shop)[:5]} == {400}
    assert not WebhookEvent.objects.for_project(life.shop.project).exists()
    alarms = [line for line in live_service.log_file("web").read_text().splitlines() if "webhook_clock_skew" in line]
    # One line, not one for each delivery; it says how far off.
    (seconds_off,) = (int(found) for line in alarms for found in re.findall(r"seconds_off=(-?\d+)", line))
    assert abs(seconds_off - off) < 5
    clock.set(0)
    check_shown(live_service, 200, "warning: a signed delivery was refused")
    sender.send_all()
    sender.wait_drained()
    sender.check_effects_once()


def test_f24_leases_and_pauses_follow_the_databases_clock_when_the_services_jumps(
    live_service: LiveService, sender: Sender, life: Life, clock: WrongClock, rng: Random
) -> None:
    # Two workers whose clock jumps back and forth by up to four minutes, which signatures bear, during all of their work.
    parts = live_service.processes
    parts["first worker"] = parts.pop("worker")
    live_service.start("worker")
    for step in life.steps():
        step()
        clock.set(rng.uniform(-240, 240))
        sender.send_all()
    sender.wait_drained()
    sender.check_effects_once()
    attempts = WebhookEvent.objects.for_project(life.shop.project).values_list("attempts", flat=True)
    assert set(attempts) == {0}
