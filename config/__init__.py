"""The service put together: settings, routes, the Celery application, health, and how it is run."""

from config.celery import app as celery_app

__all__ = ["celery_app"]
