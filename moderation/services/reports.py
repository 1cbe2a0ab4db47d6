"""Reports: an end user, the app's server or a developer says that somebody or something needs looking at."""

import uuid
from dataclasses import dataclass

from django.db import transaction

from accounts.models import User
from common.errors import FieldError
from common.ids import uuid7
from moderation.models import ReviewItem, ReviewItemQuerySet
from moderation.services.action_log import log_action
from moderation.services.review import open_review_item
from projects.models import EndUser, Project

CATEGORIES = ("abuse", "fraud", "billing", "content", "other")
TEXT_CHARS_MAX = 2000
# Why somebody reports whom; the title of the item in the queue.
TITLES = {
    "abuse": "Abuse was reported",
    "fraud": "Fraud was reported",
    "billing": "Trouble with billing was reported",
    "content": "Content was reported",
    "other": "A user sent a report",
}


@dataclass(frozen=True)
class Report:
    """What is reported. `about` is the app's own id of whom it is about, `reference` the app's id of what."""

    category: str
    text: str
    about: str = ""
    reference: str = ""


def report(
    *, project: Project, mode: str, report: Report, reporter: EndUser | None = None, developer: User | None = None
) -> ReviewItem:
    """Put a report before the staff; who reported is kept with it. Raises: FieldError (422) when nobody is known by `about`.

    Who reports is never the item's end user: what is done about an item falls on whom it is about.
    """
    about = _named(project, report.about) if report.about else None
    details = {
        "category": report.category,
        "text": report.text,
        "reference": report.reference,
        "reported_by": _who(reporter, developer),
    }
    key = uuid7()
    with transaction.atomic():
        open_review_item(
            project_id=project.pk,
            mode=mode,
            kind=ReviewItem.Kind.REPORT,
            cause_key=f"report:{key}",
            title=TITLES[report.category],
            subject=report.reference or (str(about.pk) if about else ""),
            end_user_id=about.pk if about else None,
            details=details,
        )
        item = ReviewItem.objects.for_project(project).get(mode=mode, cause_key=f"report:{key}")
        if developer is not None:
            log_action(
                action="report.create",
                subject=str(item.pk),
                actor=developer,
                project_id=project.pk,
                mode=mode,
                details={"category": report.category},
            )
    return item


def reports_of(*, project: Project, mode: str) -> ReviewItemQuerySet:
    """Return a project's reports of a mode."""
    return (
        ReviewItem.objects.for_project(project)
        .filter(mode=mode, kind=ReviewItem.Kind.REPORT)
        .select_related("end_user")
    )


def _named(project: Project, external_id: str) -> EndUser:
    found = EndUser.objects.by_external_id(project, external_id).first()
    if not isinstance(found, EndUser):
        raise FieldError("body", "about_user_id", msg="No user of this app is known by this id.")
    return found


def _who(reporter: EndUser | None, developer: User | None) -> dict[str, str | uuid.UUID]:
    if reporter is not None:
        return {"kind": "end_user", "id": str(reporter.pk)}
    return {"kind": "developer", "id": str(developer.pk)} if developer is not None else {"kind": "server"}
