"""Fixtures of the entitlements' tests."""

from collections.abc import Iterator
from typing import Any

import pytest

from entitlements.services import token_store
from tests.payments.conftest import shop, short_patience

__all__ = ["shop", "short_patience"]


@pytest.fixture
def unconnected(acme: Any, alice: Any, dana: Any, sandbox: Any, settings: Any) -> Any:
    """Acme, and a stand-in proxy that it could be connected to."""
    from tests.entitlements.provisioned import World
    from tests.litellm import create_proxy

    settings.OUTGOING_ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
    return World(acme, alice, dana, create_proxy(sandbox.url))


@pytest.fixture
def world(unconnected: Any) -> Any:
    """Acme, connected to a stand-in proxy in test mode."""
    unconnected.connect()
    return unconnected


@pytest.fixture
def patient_redis(settings: Any) -> Iterator[None]:
    """Redis may take its time: on a busy machine half a second is not an outage."""
    settings.REDIS_SOCKET_TIMEOUT_SECONDS = 10
    token_store._store.cache_clear()
    yield
    token_store._store.cache_clear()


@pytest.fixture
def maker(shop: Any) -> Any:
    """A plan for 10.00 a month that includes 100 searches and 1000 tokens."""
    from tests.entitlements.bills import create_maker

    return create_maker(shop)
