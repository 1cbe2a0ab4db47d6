"""Fixtures of the hosted pages' tests: the shop of the payments' tests."""

from tests.payments.conftest import shop

__all__ = ["shop"]
