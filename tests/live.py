"""The service as processes of its own, for tests that kill, stop or freeze a part of it."""
