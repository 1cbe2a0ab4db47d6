"""The encryption key of a stored secret is gone: a clear 503 everywhere, and saving the keys again is the way out."""

import base64
import os
from typing import Any

import pytest

from common.encryption import parse_key_ring
from payments.models import StripeCredentials
from payments.secret_cache import forget_secrets
from payments.services.stripe_config import put_stripe_config
from tests.cast import AppUser, Developer
from tests.payments.deliveries import an_event, send, set_webhook_secret
from tests.payments.shop import Shop, checkout_body, post


@pytest.fixture
def lost_key(shop: Shop, settings: Any) -> None:
    """Replace the ring by one that wrote nothing of what is stored."""
    set_webhook_secret(shop.project)
    settings.ENCRYPTION_KEYS = f"new:{base64.b64encode(os.urandom(32)).decode()}"
    assert list(parse_key_ring(settings.ENCRYPTION_KEYS)) == ["new"]
    forget_secrets(shop.project.pk)


@pytest.mark.usefixtures("lost_key")
def test_a_checkout_is_503_and_names_no_key(shop: Shop, dana: AppUser) -> None:
    answer = post(dana, "checkout-session", checkout_body("price_x"))
    assert (answer.status_code, answer.json()["code"]) == (503, "secret_unreadable")
    assert "t1" not in answer.json()["detail"]


@pytest.mark.usefixtures("lost_key")
def test_a_webhook_is_503_so_that_stripe_sends_it_again(shop: Shop) -> None:
    assert send(shop.project, an_event()).status_code == 503
    assert not shop.project.webhook_events.exists()


@pytest.mark.usefixtures("lost_key")
def test_the_configuration_can_still_be_read_and_saved_again(shop: Shop, alice: Developer) -> None:
    path = f"/api/v1/payments/stripe/projects/{shop.project.pk}/config"
    assert alice.client.get(path).status_code == 200
    secret = "whsec_" + "saved-again-" * 3
    put_stripe_config(
        project=shop.project,
        changes={"test_secret_key": shop.account.test_secret_key, "test_webhook_secret": secret},
    )
    row = StripeCredentials.objects.for_project(shop.project).get(mode="test")
    assert row.get_secret("webhook_secret") == secret
    assert row.get_secret("secret_key") == shop.account.test_secret_key
    assert row.previous_webhook_secret == ""
    assert send(shop.project, an_event(), secret=secret).status_code == 200
