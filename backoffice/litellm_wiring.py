"""Connects the demo project to a stand-in proxy of the sandbox, the way that a developer connects a real one."""

import httpx
from django.conf import settings

from common.encryption import DecryptionError
from common.errors import FieldError
from common.modes import LIVE, TEST
from common.outgoing import OutgoingRefused, check_url
from entitlements.models import Connection
from entitlements.services.connections import check_connection, put_connection
from projects.models import Project

TIMEOUT_SECONDS = 10
# What only a new key mends: the sandbox began anew, or ours cannot be read.
LOST = (Connection.Problem.KEY_REJECTED, Connection.Problem.KEY_UNREADABLE)


def wire_to_litellm(*, project: Project) -> None:
    """Give the project a proxy of its own; repeated, it mends only what is missing, or elsewhere today.

    Nothing happens where the operator does not let this service call the sandbox (OUTGOING_ALLOWED_HOSTS).
    """
    base_url = f"{settings.STRIPE_API_BASE}/_litellm"
    try:
        if not check_url(base_url).opened:
            return
    except OutgoingRefused:
        return
    key = ""
    for mode in (TEST, LIVE):
        if not _is_wired(project, mode, base_url):
            key = key or _make_proxy(project.name)
            put_connection(project=project, mode=mode, fields={"base_url": base_url, "master_key": key}, actor=None)


def _is_wired(project: Project, mode: str, base_url: str) -> bool:
    """Say whether the connection works; one to where the sandbox was before is moved."""
    row = Connection.objects.litellm_of(project, mode)
    if row is None:
        return False
    try:
        if row.base_url != base_url:
            fields = {"base_url": base_url, "master_key": row.get_master_key()}
            row = put_connection(project=project, mode=mode, fields=fields, actor=None)
    except (DecryptionError, FieldError):
        # The sandbox began anew meanwhile, or the key cannot be read.
        return False
    return check_connection(row).problem not in LOST


def _make_proxy(name: str) -> str:
    """Make a proxy in the sandbox and return its master key."""
    answer = httpx.post(
        f"{settings.STRIPE_API_BASE}/_sandbox/api/litellm", json={"name": name}, timeout=TIMEOUT_SECONDS
    )
    answer.raise_for_status()
    return str(answer.json()["master_key"])
