"""Refuses to sell in live mode before a project was opened for it (payments/services/go_live.py says when it is)."""

from common.errors import Conflict
from common.modes import LIVE
from payments.models import StripeCredentials
from projects.models import Project


class LiveNotOpen(Conflict):
    """409: the project does not sell in live mode yet."""

    code = "live_not_open"
    detail = "This project is not open for live payments yet: its go-live checks have not been green."
    action = "configure_stripe"


def require_open(*, project: Project, mode: str) -> None:
    """Check that the project sells in a mode; test mode always does. Raises: LiveNotOpen (409)."""
    rows = StripeCredentials.objects.for_project(project).filter(mode=LIVE, opened_at__isnull=True)
    if mode == LIVE and rows.exclude(secret_key="").exists():
        raise LiveNotOpen()
