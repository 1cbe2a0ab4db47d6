"""How many examples the scenarios work through: few in every run, many when `make soak` runs them, in shares for all cores."""

import os

import pytest

SOAKING = bool(os.environ.get("SOAK"))
# A share is a test of its own, with seeds of its own, so that the cores of the machine work side by side.
SHARES = range(8 if SOAKING else 1)


def examples_of(share: int, *, soaking: int, otherwise: int) -> int:
    """Return one share's part; SOAK_EXAMPLES says how many all shares do together."""
    total = int(os.environ.get("SOAK_EXAMPLES", str(soaking))) if SOAKING else otherwise
    part = total // len(SHARES) + (share < total % len(SHARES))
    if not part:
        pytest.skip("fewer examples than shares")
    return part
