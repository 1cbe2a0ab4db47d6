"""Name servers that never answer hold up whoever supplied their names, and nobody else."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from common.name_lookups import THREADS, THREADS_OF_ONE_MAX, NameLookups
from common.outgoing import OPERATORS, SERVICES, WEBHOOKS, OutgoingFailed, fetch

pytestmark = pytest.mark.no_db

PUBLIC = ["93.184.216.34"]


class NameServers:
    """Answer nobody until they are let go."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.released = threading.Event()

    def __call__(self, host: str, port: int) -> list[str]:
        """Resolve a name, at long last."""
        self.asked.append(host)
        self.released.wait(30)
        return PUBLIC


@pytest.fixture
def hanging() -> Iterator[NameServers]:
    """Name servers of somebody who means ill."""
    found = NameServers()
    yield found
    found.released.set()


def answer(host: str, port: int) -> list[str]:
    """Resolve a name at once."""
    return PUBLIC


def ask_in_vain(lookups: NameLookups, hanging: NameServers, host: str) -> None:
    """Ask name servers that hang for a name."""
    with pytest.raises(TimeoutError):
        lookups.ask(hanging, host, 443, whose=host, timeout=0.03)


def take_up(lookups: NameLookups, hanging: NameServers, host: str) -> None:
    """Take up as many threads as one tenant may."""
    while hanging.asked.count(host) < THREADS_OF_ONE_MAX:
        ask_in_vain(lookups, hanging, host)


def test_a_tenant_whose_name_servers_hang_waits_for_itself_alone(hanging: NameServers) -> None:
    lookups = NameLookups("test")
    take_up(lookups, hanging, "evil.example")
    for _ in range(3):
        ask_in_vain(lookups, hanging, "evil.example")
    assert len(hanging.asked) == THREADS_OF_ONE_MAX
    started = time.monotonic()
    assert lookups.ask(answer, "idp.example", 443, whose="acme", timeout=5) == PUBLIC
    assert time.monotonic() - started < 1
    hanging.released.set()
    for _ in range(THREADS_OF_ONE_MAX + 1):
        assert lookups.ask(answer, "app.evil.example", 443, whose="evil.example", timeout=5) == PUBLIC


def test_a_look_up_that_could_not_begin_gives_its_place_back(hanging: NameServers) -> None:
    lookups = NameLookups("test")
    for number in range(THREADS // THREADS_OF_ONE_MAX):
        take_up(lookups, hanging, f"evil{number}.example")
    assert len(hanging.asked) == THREADS
    for _ in range(THREADS_OF_ONE_MAX + 2):
        ask_in_vain(lookups, hanging, "late.example")
    hanging.released.set()
    assert lookups.ask(answer, "late.example", 443, whose="late.example", timeout=5) == PUBLIC
    assert len(hanging.asked) == THREADS, "what was given up is not asked any more"


def test_a_failure_of_the_resolver_is_the_callers_and_gives_the_place_back() -> None:
    lookups = NameLookups("test")

    def fail(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    for _ in range(THREADS_OF_ONE_MAX + 1):
        with pytest.raises(OSError, match="no such name"):
            lookups.ask(fail, "nowhere.example", 443, whose="acme", timeout=5)


def test_webhook_endpoints_of_many_tenants_leave_services_and_the_operators_own_alone(
    hanging: NameServers, settings: Any
) -> None:
    settings.OUTGOING_ALLOWED_HOSTS, settings.WEBHOOK_ALLOWED_HOSTS = ["idp.example:9"], ["idp.example:9"]
    for number in range(THREADS // THREADS_OF_ONE_MAX):
        take_up(WEBHOOKS.lookups, hanging, f"evil{number}.example")
    asked: list[str] = []

    def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    for purpose, is_asked in ((WEBHOOKS, False), (SERVICES, True), (OPERATORS, True)):
        asked.clear()
        with pytest.raises(OutgoingFailed):
            fetch("GET", "http://idp.example:9/", resolver=resolver, purpose=purpose, whose="acme", timeout=0.5)
        assert bool(asked) is is_asked, purpose.setting
