"""The pages of what leaves the service in the admin, one noun a file."""

from notifications.admin import alerts, brand

__all__ = ["alerts", "brand"]
