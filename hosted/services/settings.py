"""A project's choices about its hosted pages, for the API and for the admin's form.

Invariant: whoever writes it, an address that browsers could read in another way, a way back that is on none of the
project's origins and a time zone that nobody knows are refused.
"""

from collections.abc import Mapping
from typing import Any
from zoneinfo import available_timezones

from django.db import transaction

from accounts.models import User
from common.errors import FieldError
from hosted.models import DEFAULT_TIME_ZONE, HostedPages
from notifications.services.changes import changed_values, log_change
from projects.models import Project
from projects.origins import is_allowed, origin_of

FIELDS = ("sign_in_url", "return_url", "time_zone")
SAVED = "hosted_pages.save"
NOT_AN_ADDRESS = "Give a whole address that begins with https:// (or http://localhost while you build)."
NOT_ALLOWED = "This address is not on one of the project's allowed origins."
UNKNOWN_ZONE = "There is no such time zone. Write it as Europe/Berlin, or UTC."


def problem_of(name: str, value: str, *, allowed_origins: list[str]) -> str:
    """Say what is wrong with a choice; "" when nothing is."""
    if name == "time_zone":
        return "" if value in available_timezones() else UNKNOWN_ZONE
    if value and origin_of(value) is None:
        return NOT_AN_ADDRESS
    # The choice is for both modes: a laptop may be chosen, and is led to in test mode only.
    if value and name == "return_url" and not is_allowed(allowed_origins=allowed_origins, url=value, test_mode=True):
        return NOT_ALLOWED
    return ""


def values_of(row: HostedPages) -> dict[str, Any]:
    """Return what was chosen."""
    return {name: getattr(row, name) for name in FIELDS}


def pages_of(project: Project) -> HostedPages:
    """Return a project's choices, or the defaults when it has made none."""
    return HostedPages.objects.for_project(project).first() or HostedPages(project=project)


def put_pages(*, project: Project, fields: Mapping[str, Any], actor: User) -> HostedPages:
    """Set the choices and log what changed; what is left out or "" is the default again. Raises FieldError (422)."""
    wanted = {name: str(fields.get(name) or "") for name in FIELDS}
    wanted["time_zone"] = wanted["time_zone"] or DEFAULT_TIME_ZONE
    for name, value in wanted.items():
        if problem := problem_of(name, value, allowed_origins=project.allowed_origins):
            raise FieldError("body", name, msg=problem)
    with transaction.atomic():
        # Whoever else saves waits here, so that the log tells what each has changed.
        Project.objects.select_for_update(no_key=True).get(pk=project.pk)
        changed = changed_values(values_of(pages_of(project)), wanted)
        saved: HostedPages = HostedPages.objects.update_or_create(project=project, defaults=wanted)[0]
        if changed:
            log_change(action=SAVED, subject=saved.pk, actor=actor, project_id=project.pk, changed=changed)
    return saved
