"""How often a buyer may have somebody invited: an organisation may send a few dozen invitations a day, which all its buyers share.

Counted are the people whom GitHub was asked for, from rows that nobody forgets. Call with the licence's row held, so that of many
requests at once none slips through. Staff are not bound by it.
"""

import datetime as dt

from common import clock
from common.errors import TooManyRequests
from licenses.models import License, LicenseSeat

# So many within so long a time.
ALLOWED = ((3, dt.timedelta(days=1)), (8, dt.timedelta(days=30)))


class InvitationsUsedUp(TooManyRequests):
    """429: this licence has had too many people invited lately."""

    detail = "Too many invitations were sent for this licence lately. Ask the seller to change the username for you."
    action = "contact_seller"


def use_allowance(row: License) -> None:
    """Refuse another invitation for a licence that has had its share. Raises: InvitationsUsedUp (429)."""
    now = clock.now()
    longest = max(within for _, within in ALLOWED)
    rows = LicenseSeat.objects.for_project(row.project_id).filter(license=row, created_at__gt=now - longest)
    asked = list(rows.order_by("-created_at").values_list("created_at", flat=True))
    # Of a window's share the oldest has to leave the window first.
    waits = [asked[amount - 1] + within - now for amount, within in ALLOWED if len(asked) >= amount]
    wait = max(waits, default=dt.timedelta(0))
    if wait > dt.timedelta(0):
        raise InvitationsUsedUp(retry_after_seconds=int(wait.total_seconds()) + 1)
