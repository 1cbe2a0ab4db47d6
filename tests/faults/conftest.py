"""Fixtures of the fault tests: a life at Stripe whose events are delivered over HTTP to a service that is being hurt.

What is random in a case comes from its seed, which stands in the test's name: one in CI, twenty in `make soak`.
After every case that passed the invariants are checked, while what the case started still runs.
"""

import os
from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from tests.leftovers import lay_leftovers_aside
from tests.payments.conftest import shop, short_patience

if TYPE_CHECKING:
    from tests.cast import AppUser
    from tests.live import LiveService
    from tests.payments.shop import Shop
    from tests.scenarios.lifecycle import Life

    from .sender import Sender

__all__ = ["shop", "short_patience"]

SEEDS = range(1, 21) if os.environ.get("SOAK") else range(1, 2)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every case that uses randomness once per seed."""
    if "seed" in metafunc.fixturenames:
        metafunc.parametrize("seed", SEEDS, ids=lambda seed: f"seed{seed}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Check the invariants at the end of a case, before its fixtures put things right again."""
    yield
    fixtures: dict[str, Any] = getattr(item, "funcargs", {})
    projects = [fixtures[name] for name in ("acme", "other_project") if name in fixtures]
    if projects:
        from .sender import check_invariants_of

        for project in projects:
            check_invariants_of(project)


@pytest.fixture(autouse=True)
def quiet_inbox(database: None) -> None:
    """Lay aside what an earlier case left unfinished on purpose: the workers of this one would take it up."""
    lay_leftovers_aside()


@pytest.fixture
def rng(seed: int) -> Random:
    """The randomness of this case."""
    return Random(seed)


@pytest.fixture
def life(shop: "Shop", dana: "AppUser") -> "Life":
    """A buyer who has not bought yet."""
    from tests.payments.deliveries import set_webhook_secret
    from tests.scenarios.lifecycle import Life

    set_webhook_secret(shop.project)
    return Life(shop, dana, (shop.price(1000), shop.price(2500)))


@pytest.fixture
def sender(life: "Life", live_service: "LiveService", rng: Random) -> "Sender":
    """Stripe's deliveries of that life's events to the running service."""
    from .sender import Sender

    return Sender(live_service.url, life.shop, rng)
