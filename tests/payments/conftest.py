"""Fixtures of the payments tests."""

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from projects.models import Project
    from tests.payments.shop import Shop


@pytest.fixture
def shop(acme: "Project", sandbox: Any) -> "Shop":
    """Acme, wired to a Stripe account of its own in both modes."""
    from payments.models import StripeCredentials
    from tests.payments.shop import Shop, connect_stripe

    # Accounts without a name that earlier tests left behind may be this one, as far as the service knows.
    StripeCredentials.objects.filter(stripe_account_id="").update(stripe_account_id="acct_somebody_elses")
    account = sandbox.create_account("Acme")
    connect_stripe(acme, account)
    return Shop(acme, account, sandbox)


@pytest.fixture
def short_patience(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give up on Stripe after a second (less would take a busy machine for a silent Stripe)."""
    from payments import stripe_api

    settings.STRIPE_TIMEOUT_SECONDS = 1.0
    monkeypatch.setattr(stripe_api, "_shared_http_client", None)
