"""Fixtures of the payments tests."""

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from projects.models import Project
    from tests.payments.shop import Shop


@pytest.fixture
def shop(acme: "Project", sandbox: Any) -> "Shop":
    """Acme, wired to a Stripe account of its own in both modes."""
    from tests.payments.shop import Shop, connect_stripe

    account = sandbox.create_account("Acme")
    connect_stripe(acme, account)
    return Shop(acme, account, sandbox)


@pytest.fixture
def short_patience(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up on Stripe after half a second."""
    from payments import stripe_api

    settings.STRIPE_TIMEOUT_SECONDS = 0.5
    monkeypatch.setattr(stripe_api, "_shared_http_client", None)
