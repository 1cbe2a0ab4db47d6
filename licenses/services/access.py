"""Where a licence stands for whoever has its signed link: what its page and its API show.

Invariants: a session's id that is not the licence's own shows nothing; repository and instructions are shown only once access is
granted; no answer holds a token or a key.
"""

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from licenses.models import License, LicenseSeat, LicenseState
from licenses.services.progress import Progress, progress_of
from licenses.services.purchases import find_purchase
from licenses.services.shapes import render_license, utc_text
from licenses.services.states import LicenseNotFound
from projects.models import Project
from projects.principals import LicenseHolderPrincipal

GITHUB_API, GITHUB_WEB = "https://api.github.com", "https://github.com"
ENTERPRISE_PATH = "/api/v3"
# Before there is a licence: how its checkout stands.
UNPAID, PROCESSING, NOT_PAID = "unpaid", "processing", "not_paid"
ENDED = "invitation_ended"
_SESSION = re.compile(r"[A-Za-z0-9_]{1,255}")
CHECKOUT_STATES = {"complete": PROCESSING, "expired": NOT_PAID, "failed": NOT_PAID}


@dataclass(frozen=True)
class Access:
    """What is shown. `step` is the licence's state, what its invitation came to or waits for, or how its checkout stands."""

    step: str
    project_name: str
    product_name: str
    session_id: str
    is_test_mode: bool
    holder: License | None = None
    organization: str = ""
    invitation_url: str = ""
    organization_url: str = ""
    # GitHub was asked in vain, and is asked again by itself.
    is_slow: bool = False

    @property
    def is_waiting(self) -> bool:
        """Say whether the next look may show something else without anybody doing anything."""
        if self.step in (UNPAID, PROCESSING):
            return True
        return bool(self.holder and self.step == LicenseState.USERNAME_SUBMITTED)

    @property
    def is_found(self) -> bool:
        """Say whether GitHub knows whom the licence is for, so that a mail tells what comes next."""
        return bool(self.holder and self.holder.github_user_id is not None)

    @property
    def is_held_up(self) -> bool:
        """Say whether what is waited for goes on by itself, and hardly within seconds."""
        is_queued = self.step == LicenseState.USERNAME_SUBMITTED and self.holder and self.holder.delayed_until
        return self.is_slow or self.step == Progress.SELLER or bool(is_queued)

    @property
    def repository_url(self) -> str:
        """Where the code is, once access was granted."""
        repository = self.holder.product.repository if self.holder and self.step == LicenseState.ACTIVE else ""
        if repository and "/" not in repository:
            repository = f"{self.organization}/{repository}"
        return f"{web_base()}/{repository}" if repository else ""

    @property
    def clone_command(self) -> str:
        """How to get the code, once access was granted."""
        return f"git clone {self.repository_url}.git" if self.repository_url else ""

    @property
    def instructions(self) -> str:
        """What the developer says about it, once access was granted."""
        return self.holder.product.instructions if self.holder and self.step == LicenseState.ACTIVE else ""

    @property
    def has_key(self) -> bool:
        """Say whether the product has licence keys, and the licence is held."""
        holder = self.holder
        return bool(holder and holder.product.activation_limit is not None and holder.state != LicenseState.REVOKED)


def find_access(*, principal: LicenseHolderPrincipal, session_id: str = "") -> Access:
    """Say where a licence stands. May ask Stripe about a checkout that is not paid yet, never GitHub.

    Raises: LicenseNotFound (404), also for a session that is not the link's.
    """
    project, license_id = principal.project, principal.license_id
    row = find_license(principal)
    if row is None:
        standing = find_purchase(project_id=project.pk, purchase_id=license_id)
        # It may have been paid, as was found out just now.
        row = find_license(principal)
        if standing is None or (session_id and session_id != standing.session_id):
            raise LicenseNotFound()
        if row is None:
            return Access(
                step=CHECKOUT_STATES.get(standing.status, UNPAID),
                project_name=project.name,
                product_name=standing.product_name,
                session_id=standing.session_id,
                is_test_mode=standing.mode == "test",
            )
    if session_id and session_id != row.stripe_session_id:
        raise LicenseNotFound()
    progress = progress_of(row)
    organization = _organization_of(row)
    return Access(
        step=_step_of(row, progress),
        project_name=project.name,
        product_name=row.product.name,
        session_id=row.stripe_session_id,
        is_test_mode=row.mode == "test",
        holder=row,
        organization=organization,
        invitation_url=f"{web_base()}/orgs/{organization}/invitation" if organization else "",
        organization_url=f"{web_base()}/orgs/{organization}" if organization else "",
        is_slow=progress == Progress.SLOW,
    )


def find_license(principal: LicenseHolderPrincipal) -> License | None:
    """Return the licence of a link; None before it is paid."""
    rows = License.objects.for_project(principal.project).select_related("product", "end_user")
    return rows.filter(pk=principal.license_id).first()


def find_unlinked(session_id: str) -> License | None:
    """Return the licence of a checkout's session, to mail its link to its buyer and for nothing else."""
    if not _SESSION.fullmatch(session_id):
        return None
    projects = Project.objects.existing().filter(is_active=True)
    # Sessions of two Stripe accounts could be named alike; then it is nobody's.
    found = list(License.objects.filter(stripe_session_id=session_id, project__in=projects)[:2])
    return found[0] if len(found) == 1 else None


def require_license(principal: LicenseHolderPrincipal) -> License:
    """Return the licence of a link. Raises: LicenseNotFound (404) before it is paid."""
    found = find_license(principal)
    if found is None:
        raise LicenseNotFound()
    return found


def render_access(access: Access) -> dict[str, Any]:
    """Return the shape LicenseAccess."""
    row = access.holder
    return {
        "step": access.step,
        "product_name": access.product_name,
        "is_test_mode": access.is_test_mode,
        "revision": row.revision if row else 0,
        "delayed_until": utc_text(row.delayed_until) if row else None,
        "invitation_url": (access.invitation_url or None) if access.step == LicenseState.INVITED else None,
        "repository_url": access.repository_url or None,
        "clone_command": access.clone_command or None,
        "instructions": access.instructions or None,
        "has_key": access.has_key,
        "key_ending": (row.key_ending or None) if row and access.has_key else None,
        "license": render_license(row) if row else None,
    }


def web_base() -> str:
    """Say where people see what the API has: GitHub's own site, an enterprise server's, or the stand-in's pages."""
    base: str = settings.GITHUB_API_BASE.rstrip("/")
    if base == GITHUB_API:
        return GITHUB_WEB
    if base.endswith(ENTERPRISE_PATH):
        parts = urlsplit(base)
        return f"{parts.scheme}://{parts.netloc}"
    return f"{base}/_web"


def _step_of(row: License, progress: Progress) -> str:
    if row.state == LicenseState.INVITED and row.invitation_ended_as:
        return ENDED
    return str(progress) if progress in (Progress.SELLER, Progress.FAILED) else row.state


def _organization_of(row: License) -> str:
    seats = LicenseSeat.objects.for_project(row.project_id).filter(license=row, revision=row.revision)
    return seats.values_list("organization", flat=True).first() or ""
