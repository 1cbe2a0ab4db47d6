"""Fixtures of the reconciliation's tests: a buyer whose events are not delivered unless a test does so."""

from typing import TYPE_CHECKING, Any

import pytest

from tests.payments.conftest import shop, short_patience

if TYPE_CHECKING:
    from tests.cast import AppUser
    from tests.payments.shop import Shop
    from tests.scenarios.lifecycle import Life

__all__ = ["shop", "short_patience"]


@pytest.fixture
def life(shop: "Shop", dana: "AppUser", settings: Any) -> "Life":
    """A buyer who has not bought yet; events count as settled at once."""
    from tests.payments.deliveries import set_webhook_secret
    from tests.scenarios.lifecycle import Life

    settings.RECONCILE_SETTLE_SECONDS = 0
    set_webhook_secret(shop.project)
    return Life(shop, dana, (shop.price(1000), shop.price(2500)))
