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
