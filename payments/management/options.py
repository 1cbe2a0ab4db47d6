"""Options that several commands share: which project, and since when."""

import datetime as dt
import re
import uuid

from django.core.management.base import CommandError
from django.db.models import Q

from common import clock
from projects.models import Project

_AGO = re.compile(r"(\d{1,4})([dh])")


def find_project(named: str) -> Project:
    """Return a project by its slug or id. Raises CommandError."""
    wanted = Q(slug=named)
    try:
        wanted |= Q(pk=uuid.UUID(named))
    except ValueError:
        pass
    project = Project.objects.existing().filter(wanted).first()
    if project is None:
        raise CommandError(f"There is no project {named}.")
    return project


def read_moment(text: str) -> dt.datetime:
    """Read a time: ISO 8601 (UTC unless it says otherwise), or so many days or hours ago (`3d`, `12h`). Raises CommandError."""
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return clock.now() - dt.timedelta(**{{"d": "days", "h": "hours"}[ago[2]]: int(ago[1])})
    try:
        moment = dt.datetime.fromisoformat(text.strip())
    except ValueError:
        raise CommandError(f"{text} is neither a time (2026-05-04T12:00Z) nor an age (3d, 12h).") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
