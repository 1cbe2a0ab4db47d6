"""Fixtures of the scenarios."""

import pytest

from tests.payments.conftest import shop

# What differs is shown as it is for a test's own assertions.
pytest.register_assert_rewrite("tests.scenarios.against_stripe")

__all__ = ["shop"]
