"""Compares what we have with what Stripe has, and closes the gap (docs/adr: reconciliation)."""
