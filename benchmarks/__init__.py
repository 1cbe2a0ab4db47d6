"""Measurements, run by hand: each prints what it measured and asserts only that the work was done."""
