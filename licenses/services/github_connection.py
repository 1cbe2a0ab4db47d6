"""A project's connection to GitHub: examined, saved with its token encrypted, and the token never handed out again.

Invariants: GitHub is asked before and outside the transaction that saves; nothing is written when the token cannot do what licences
need; who was let in by a connection that is changed or deleted is put before a person.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from accounts.models import User
from common import clock
from common.encryption import DecryptionError
from common.errors import Conflict, FieldError, NotFound
from licenses.models import GitHubConnection, LicenseSeat
from licenses.services.github import GITHUB_CONNECTION
from licenses.services.github_client import GitHubError
from licenses.services.github_doctor import Diagnosis, Finding, diagnose
from licenses.services.github_state import note_health, note_problem
from moderation.models import ReviewItem
from moderation.services.action_log import log_action
from moderation.services.review import open_review_item
from notifications.services.running import resume_waiting_rows
from projects.models import Project

Problem = GitHubConnection.Problem
TOKEN_CHARS_MAX = 500
# So many connections in a row without an answer are GitHub's trouble, which passes by itself.
SILENT_MAX = 3
_TOKEN = re.compile(r"[\x21-\x7e]+")
_ORGANIZATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}")
_TEAM = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,254}")
FIELD_OF = {
    Problem.ORGANIZATION_MISSING: "organization",
    Problem.BASE_PERMISSION: "organization",
    Problem.TEAM_MISSING: "team_slug",
}


class GitHubNotConnected(NotFound):
    """404: nothing is connected in this mode."""

    code = "connection_not_found"
    detail = "GitHub is not connected in this mode."


class GitHubConnectionChanged(Conflict):
    """409: somebody else saved it meanwhile."""

    code = "connection_changed"
    detail = "The connection was changed meanwhile. Read it again."


@dataclass(frozen=True)
class Wanted:
    """What a connection is to be."""

    organization: str
    team_slug: str
    token: str
    token_is_new: bool


@dataclass(frozen=True)
class Verdict:
    """What GitHub says to a connection. `problem` is "" when it works."""

    problem: str
    message: str
    findings: list[Finding]


def get_github_connection(*, project: Project, mode: str) -> GitHubConnection:
    """Return the connection in use. Raises GitHubNotConnected (404)."""
    found = GitHubConnection.objects.current_for(project, mode)
    if found is None:
        raise GitHubNotConnected
    return found


def count_seats(connection: GitHubConnection) -> int:
    """Count whom licences have let in or invited through this connection. One query."""
    rows = LicenseSeat.objects.filter(project=connection.project_id, mode=connection.mode, removed_at__isnull=True)
    return rows.filter(organization__iexact=connection.organization).count()


def put_github_connection(
    *, project: Project, mode: str, fields: Mapping[str, Any], actor: User | None
) -> GitHubConnection:
    """Connect a project to its organisation in one mode, or change that. A token that is absent or null is kept.

    When GitHub does not answer now, it is saved with that problem. Raises: FieldError (422), GitHubConnectionChanged (409).
    """
    before = GitHubConnection.objects.for_project(project).filter(mode=mode).first()
    wanted = _wanted(before, fields)
    diagnosis, problem = _examine(wanted)
    with transaction.atomic():
        locked = Project.objects.existing().select_for_update(no_key=True).filter(pk=project.pk).first()
        if locked is None:
            raise NotFound()
        row = GitHubConnection.objects.for_project(project).filter(mode=mode).first()
        if _told_apart(row) != _told_apart(before):
            raise GitHubConnectionChanged
        row = row or GitHubConnection(project=locked, mode=mode)
        if row.is_active and row.organization and row.organization.casefold() != wanted.organization.casefold():
            _tell_who_is_left(row)
        _save(row, wanted, diagnosis, problem)
        log_action(
            action="github_connection.save",
            subject=str(row.pk),
            actor=actor,
            project_id=project.pk,
            mode=mode,
            details={"organization": row.organization, "team": row.team_slug, "new_token": wanted.token_is_new},
        )
    resume_waiting_rows(project_id=project.pk, reason=GITHUB_CONNECTION)
    return row


def delete_github_connection(*, project: Project, mode: str, actor: User | None) -> None:
    """Forget the token and change nothing at GitHub any more. Who is in the team stays there, and a person is told how many.

    Raises GitHubNotConnected (404).
    """
    with transaction.atomic():
        rows = GitHubConnection.objects.for_project(project).active().filter(mode=mode)
        row = rows.select_for_update(no_key=True).first()
        if row is None:
            raise GitHubNotConnected
        _tell_who_is_left(row)
        row.is_active = False
        row.set_token("")
        row.token_login, row.token_expires_at = "", None
        row.problem, row.problem_since = "", None
        row.save()
        log_action(
            action="github_connection.delete",
            subject=str(row.pk),
            actor=actor,
            project_id=project.pk,
            mode=mode,
            details={"organization": row.organization, "team": row.team_slug},
        )


def check_github_connection(connection: GitHubConnection) -> Verdict:
    """Ask GitHub now whether the token can do what licences need, and keep what came of it."""
    try:
        token = connection.get_token()
        found = diagnose(token=token, organization=connection.organization, team_slug=connection.team_slug)
    except DecryptionError as error:
        note_problem(connection, Problem.TOKEN_UNREADABLE)
        return Verdict(Problem.TOKEN_UNREADABLE, error.detail, [])
    except GitHubError as error:
        problem = error.problem or Problem.UNREACHABLE
        note_problem(connection, problem)
        return Verdict(problem, str(error), [])
    rows = GitHubConnection.objects.for_project(connection.project_id).filter(pk=connection.pk, token=connection.token)
    if found.problem:
        note_problem(connection, found.problem)
        return Verdict(found.problem, found.message, found.findings)
    rows.update(token_login=found.token_login, token_expires_at=found.token_expires_at)
    note_health(connection)
    resume_waiting_rows(project_id=connection.project_id, reason=GITHUB_CONNECTION)
    return Verdict("", found.message, found.findings)


def examine_connections() -> int:
    """Ask GitHub about every connection in use, since what it lets members do may be changed there at any time.

    Returns how many were asked about. Ends early when GitHub itself is away.
    """
    asked = silent = 0
    projects = Project.objects.existing().filter(is_active=True)
    for connection in GitHubConnection.objects.active().filter(project__in=projects).order_by("pk").iterator():
        asked += 1
        silent = silent + 1 if check_github_connection(connection).problem == Problem.UNREACHABLE else 0
        if silent == SILENT_MAX:
            break
    return asked


def _wanted(before: GitHubConnection | None, fields: Mapping[str, Any]) -> Wanted:
    organization, team_slug = str(fields["organization"]), str(fields["team_slug"])
    if not _ORGANIZATION.fullmatch(organization):
        raise FieldError(
            "body", "organization", msg="Give the organisation's name as it stands in its address at GitHub."
        )
    if not _TEAM.fullmatch(team_slug):
        raise FieldError("body", "team_slug", msg="Give the team's slug as it stands in its address at GitHub.")
    given = fields.get("token")
    if given is not None and (len(given) > TOKEN_CHARS_MAX or not _TOKEN.fullmatch(given)):
        raise FieldError("body", "token", msg=f"A token has 1 to {TOKEN_CHARS_MAX} visible characters.")
    if given is not None:
        return Wanted(organization, team_slug, given, token_is_new=True)
    if before is None or not before.token:
        raise FieldError("body", "token", msg="Give a token of an owner of the organisation.", type="missing")
    try:
        return Wanted(organization, team_slug, before.get_token(), token_is_new=False)
    except DecryptionError as error:
        raise FieldError("body", "token", msg="The stored token cannot be read: give it again.") from error


def _examine(wanted: Wanted) -> tuple[Diagnosis, str]:
    """Ask GitHub; return what was found and a problem that passes by itself. Raises FieldError (422) for one that does not."""
    try:
        found = diagnose(token=wanted.token, organization=wanted.organization, team_slug=wanted.team_slug)
    except GitHubError as error:
        # GitHub is away or asks to wait: that says nothing about the token.
        return Diagnosis(), error.problem or Problem.UNREACHABLE
    if found.problem:
        raise FieldError("body", FIELD_OF.get(Problem(found.problem), "token"), msg=found.message)
    return found, ""


def _told_apart(row: GitHubConnection | None) -> tuple[Any, ...] | None:
    """Return what another save would have changed. The token's ciphertext is left out: its rotation changes nothing."""
    return None if row is None else (row.organization, row.team_slug, row.token_masked, row.is_active)


def _tell_who_is_left(row: GitHubConnection) -> None:
    count = count_seats(row)
    if not count:
        return
    open_review_item(
        project_id=row.project_id,
        mode=row.mode,
        kind=ReviewItem.Kind.STUCK_LICENSE,
        cause_key=f"github-left-behind:{row.pk}:{int(clock.now().timestamp() * 1000)}",
        title=f"Left in the organisation {row.organization}, which is not connected any more: {count} whom licences let in",
        subject=str(row.pk),
        details={"organization": row.organization, "team": row.team_slug, "members": count},
    )


def _save(row: GitHubConnection, wanted: Wanted, found: Diagnosis, problem: str) -> None:
    moment = clock.now()
    row.organization, row.team_slug, row.is_active = wanted.organization, wanted.team_slug, True
    if wanted.token_is_new:
        row.set_token(wanted.token)
    if not problem:
        row.token_login, row.token_expires_at, row.answered_at = found.token_login, found.token_expires_at, moment
    elif wanted.token_is_new:
        row.token_login, row.token_expires_at = "", None
    row.problem, row.problem_since = problem, moment if problem else None
    row.save()
