"""Fixtures of the sandbox's own tests: one sandbox per run, started without Django, and a fresh account per test."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import psutil
import pytest
import stripe

from config.embedded import stop_process
from tests.conftest import Sandbox, SandboxAccount, start_sandbox
from tests.sandbox.receiver import receiver as receiver
from tests.sandbox.stripe_api import Api


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A running sandbox; in the end nothing that it sent may have deviated from Stripe's published shapes."""
    running, process = start_sandbox(tmp_path_factory.mktemp("sandbox"))
    yield running
    report = httpx.get(f"{running.url}/_sandbox/api/violations", timeout=10).json()
    stop_process(psutil.Process(process.pid))
    assert report["enabled"] and report["data"] == []


@pytest.fixture
def account(sandbox: Sandbox) -> SandboxAccount:
    """A fresh Stripe account with its keys."""
    return sandbox.create_account("Acme")


@pytest.fixture
def api(sandbox: Sandbox, account: SandboxAccount) -> Api:
    """Bare HTTP with the account's test key."""
    return Api(sandbox.url, account.test_secret_key)


@pytest.fixture
def client(sandbox: Sandbox, account: SandboxAccount) -> stripe.StripeClient:
    """The official SDK with the account's test key."""
    return stripe.StripeClient(account.test_secret_key, base_addresses={"api": sandbox.url}, max_network_retries=0)
