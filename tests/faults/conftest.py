"""Fixtures of the fault tests: a life at Stripe whose events are delivered over HTTP to a service that is being hurt."""

from typing import TYPE_CHECKING

import pytest

from tests.payments.conftest import shop, short_patience

if TYPE_CHECKING:
    from tests.cast import AppUser
    from tests.live import LiveService
    from tests.payments.shop import Shop
    from tests.scenarios.lifecycle import Life

    from .sender import Sender

__all__ = ["shop", "short_patience"]


@pytest.fixture
def life(shop: "Shop", dana: "AppUser") -> "Life":
    """A buyer who has not bought yet."""
    from tests.payments.deliveries import set_webhook_secret
    from tests.scenarios.lifecycle import Life

    set_webhook_secret(shop.project)
    return Life(shop, dana, (shop.price(1000), shop.price(2500)))


@pytest.fixture
def sender(life: "Life", live_service: "LiveService") -> "Sender":
    """Stripe's deliveries of that life's events to the running service."""
    from .sender import Sender

    return Sender(live_service.url, life.shop)
