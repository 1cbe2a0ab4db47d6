"""A stateful stand-in for Stripe's REST API: its own process, its own storage, none of the service's code."""

API_VERSION = "2026-08-26.dahlia"
