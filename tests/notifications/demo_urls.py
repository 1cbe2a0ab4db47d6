"""The demo's mailbox alone, for tests: the test run itself is no demo."""

from config.dev_mail import urlpatterns

__all__ = ["urlpatterns"]
