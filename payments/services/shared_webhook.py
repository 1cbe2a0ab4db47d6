"""The shared webhook address: at most 50 projects, told apart by which secret verifies, so that no two may have the same."""

from django.db import connection

from common.errors import FieldError
from common.locks import SHARED_WEBHOOK_SECRETS
from payments.models import StripeCredentials
from projects.models import Project

# Verification tries one secret after the other; the bound keeps a forged delivery cheap.
PROJECTS_MAX = 50


def lock_shared_address() -> None:
    """Let one change at a time be checked: two that are saved at once would not see each other. Ends with the transaction."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [SHARED_WEBHOOK_SECRETS])


def is_used_by_another(*, fingerprint: str, project: Project, mode: str) -> bool:
    """Say whether a secret verifies for somebody else on the shared address, or for this project's other mode."""
    others = StripeCredentials.objects.filter(webhook_secret_fingerprint=fingerprint, project__shared_webhook=True)
    return others.exclude(project=project, mode=mode).exists()


def check_project(project: Project) -> None:
    """Refuse a project that would make the shared address ambiguous or slow. Raises: FieldError (422)."""
    # A change of its keys at this moment is waited for, and sees that the project takes part.
    stored = Project.objects.select_for_update().filter(pk=project.pk).first()
    lock_shared_address()
    sharing = Project.objects.existing().filter(shared_webhook=True)
    # Who takes part already is changed freely, however many there are: it makes the address no slower.
    joins = stored is None or not stored.shared_webhook
    if joins and sharing.count() >= PROJECTS_MAX:
        raise FieldError(
            "body", "shared_webhook", msg=f"{PROJECTS_MAX} projects share the address already: use its own."
        )
    own = StripeCredentials.objects.for_project(project).exclude(webhook_secret_fingerprint="")
    rows = list(own.values_list("mode", "webhook_secret_fingerprint"))
    twice = len({fingerprint for _, fingerprint in rows}) < len(rows)
    if twice or any(is_used_by_another(fingerprint=found, project=project, mode=mode) for mode, found in rows):
        problem = (
            "Another project (or mode) on the shared webhook address uses the same signing secret: replace it first."
        )
        raise FieldError("body", "shared_webhook", msg=problem, type="secret_in_use")
