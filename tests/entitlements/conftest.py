"""Fixtures of the entitlements' tests."""

from tests.payments.conftest import shop

__all__ = ["shop"]
