"""Says how far a licence's invitation has come while GitHub has not taken it: what the outbox knows of it, asked when it is shown.

Nothing of this is written down on the licence, so that a replay, a mended connection or a restored backup cannot leave it untrue.
"""

from enum import StrEnum

from licenses.models import License, LicenseState
from licenses.services.github import GITHUB_CONNECTION
from notifications.models import OutboxRow, OutboxRowQuerySet

GITHUB_INVITE = "github_invite"
# One lost answer is made up for within seconds.
SLOW_AFTER_ATTEMPTS = 2


class Progress(StrEnum):
    """What an invitation that is to be sent waits for."""

    NOTHING = ""
    UNDER_WAY = "under_way"
    # GitHub does not answer, and is asked again by itself.
    SLOW = "slow"
    # The connection has to be mended; then it goes on by itself.
    SELLER = "waiting_for_seller"
    # GitHub refused it or was asked in vain for long, and nobody asks any more.
    FAILED = "invitation_failed"


def progress_of(row: License) -> Progress:
    """Say what the invitation of a licence waits for; NOTHING unless its username is being invited. One query at most."""
    if row.state != LicenseState.USERNAME_SUBMITTED:
        return Progress.NOTHING
    found = _invitations(row).first()
    if found is None or found.status not in OutboxRow.UNFINISHED_STATUSES:
        return Progress.FAILED
    if found.wait_reason == GITHUB_CONNECTION:
        return Progress.SELLER
    return Progress.SLOW if found.attempts >= SLOW_AFTER_ATTEMPTS else Progress.UNDER_WAY


def is_under_way(row: License) -> bool:
    """Say whether GitHub is still going to be asked for the licence's revision, now or once the connection is mended."""
    return _invitations(row).unfinished().exists()


def invitation_key(row: License) -> str:
    """Name the effect that invites whom a licence's revision is for."""
    return f"github:invite:{row.pk}:{row.revision}"


def check_key(row: License) -> str:
    """Name the effects that ask whether somebody who was let in is still in."""
    return f"github:check:{row.pk}:{row.revision}:"


def _invitations(row: License) -> OutboxRowQuerySet:
    return OutboxRow.objects.for_project(row.project_id).filter(mode=row.mode, effect_key=invitation_key(row))
