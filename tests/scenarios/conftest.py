"""Fixtures of the scenarios."""

from typing import TYPE_CHECKING

from tests.payments.conftest import shop

if TYPE_CHECKING:
    pass

__all__ = ["shop"]
