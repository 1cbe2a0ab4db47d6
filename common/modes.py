"""Test and live mode. A row never belongs to both, and nothing is ever summed over the two."""

from typing import Literal

Mode = Literal["test", "live"]

TEST: Mode = "test"
LIVE: Mode = "live"
MODES: tuple[Mode, Mode] = (TEST, LIVE)
MODE_CHOICES = [(TEST, "Test"), (LIVE, "Live")]


def mode_of(test_mode: bool) -> Mode:
    """Name the mode that the wire's `test_mode` flag picks."""
    return TEST if test_mode else LIVE


def mode_of_livemode(livemode: bool) -> Mode:
    """Name the mode of a Stripe object by its `livemode` field."""
    return LIVE if livemode else TEST
