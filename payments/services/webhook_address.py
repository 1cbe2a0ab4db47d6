"""Where Stripe delivers a project's events to, and whether Stripe can reach that address at all."""

import ipaddress
import uuid
from urllib.parse import urlsplit

from django.conf import settings

from common.modes import LIVE, MODES
from projects.models import Project

SHARED_PATH = "/webhook/stripe"
_LOCAL_SUFFIXES = (".localhost", ".local", ".internal", ".test", ".invalid")


def webhook_path(project_id: uuid.UUID, mode: str) -> str:
    """Return the path that a project's events of one mode come to."""
    return f"/api/v1/payments/stripe/webhooks/{project_id}/{mode}"


def webhook_url(project_id: uuid.UUID, mode: str) -> str:
    """Return the address that a project's events of one mode come to."""
    return f"{settings.PUBLIC_BASE_URL}{webhook_path(project_id, mode)}"


def webhook_urls(*, project: Project) -> dict[str, str]:
    """Return the addresses that Stripe delivers this project's events to."""
    return {f"{mode}_webhook_url": webhook_url(project.pk, mode) for mode in MODES}


def why_unreachable(url: str, mode: str) -> str:
    """Say why Stripe would not deliver to an address; empty when it would.

    Source: https://docs.stripe.com/webhooks (publicly reachable; HTTPS in live mode).
    """
    if settings.STRIPE_API_BASE:
        # A stand-in that runs beside the service reaches whatever the service does.
        return ""
    parts = urlsplit(url)
    if _is_local(parts.hostname or ""):
        return f"Stripe cannot reach {parts.hostname}: set PUBLIC_BASE_URL to the service's public address."
    if mode == LIVE and parts.scheme != "https":
        return "Stripe delivers live events over HTTPS only: set PUBLIC_BASE_URL to an https:// address."
    return ""


def _is_local(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.endswith(_LOCAL_SUFFIXES)
