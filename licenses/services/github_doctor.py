"""Says whether a token can do for licences what it has to, and what is missing when it cannot.

Invariant: it changes nothing at GitHub. Whether a token may write is asked by withdrawing an invitation that cannot exist.
"""

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from django.utils import timezone

from licenses.models import GitHubConnection
from licenses.services.github_client import (
    Answer,
    GitHubClient,
    NotFound,
    Refused,
    TokenTrouble,
    membership_of,
    quoted,
    user_of,
)

Problem = GitHubConnection.Problem
SCOPE = "admin:org"
# Of a classic token only; a fine-grained one has permissions, which no header lists.
SCOPES_HEADER = "x-oauth-scopes"
EXPIRY_HEADER = "github-authentication-token-expiration"
EXPIRY_FORMATS = ("%Y-%m-%d %H:%M:%S %Z", "%Y-%m-%d %H:%M:%S %z")
EXPIRES_SOON = dt.timedelta(days=14)
# For some fine-grained tokens the header holds the present instead: https://github.com/google/go-github/issues/3708
NO_EXPIRY_WITHIN = dt.timedelta(minutes=10)
NO_SUCH_INVITATION = 0
# Source: https://docs.github.com/rest/orgs/orgs#get-an-organization; only owners are shown it, and "read" is GitHub's default.
BASE_PERMISSION, NO_PERMISSION, BASE_PERMISSIONS = "default_repository_permission", "none", ("read", "write", "admin")
SET_NONE = (
    "Whoever is let into the team is a member and has it in every private repository of the organisation: at GitHub, set "
    'Settings, Member privileges, Base permissions to "No permission".'
)
PERMISSION = 'A fine-grained token needs the organisation permission "Members: read and write", a classic one the scope admin:org.'


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at. `problem` names what is wrong; "" with ok=False is a warning, and does not stop anything."""

    name: str
    ok: bool
    message: str
    problem: str = ""


@dataclass
class Diagnosis:
    """What was found, in the order of looking; looking ends at the first thing that stops everything after it."""

    findings: list[Finding] = field(default_factory=list)
    token_login: str = ""
    token_expires_at: dt.datetime | None = None

    @property
    def problem(self) -> str:
        """Name the first thing that is wrong; "" when the connection can work."""
        return next((one.problem for one in self.findings if one.problem), "")

    @property
    def message(self) -> str:
        """Say in a sentence what is wrong, or that nothing is."""
        return next(
            (one.message for one in self.findings if one.problem), "The token can invite to and remove from the team."
        )


class _Stopped(Exception):
    """What was found makes the rest pointless."""


def diagnose(*, token: str, organization: str, team_slug: str) -> Diagnosis:
    """Look at a token, its organisation and its team. At most seven calls. Raises: Unavailable, RateLimited."""
    patient = _Patient(GitHubClient(token=token), organization, team_slug)
    looks: list[Callable[[], None]] = [
        patient.look_at_token, patient.look_at_organization, patient.look_at_ownership,
        patient.look_at_base_permission, patient.look_at_team, patient.look_at_invitations, patient.look_at_writing,
    ]  # fmt: skip
    for look in looks:
        try:
            look()
        except _Stopped:
            break
        except TokenTrouble as trouble:
            patient.note(Finding("token", False, str(trouble), trouble.problem))
            break
    return patient.diagnosis


class _Patient:
    def __init__(self, client: GitHubClient, organization: str, team_slug: str) -> None:
        self.diagnosis = Diagnosis()
        self._client = client
        self._path = f"/orgs/{quoted(organization)}"
        self._organization, self._team_slug = organization, team_slug
        self._scopes: set[str] | None = None
        self._base_permission: Any = None

    def note(self, finding: Finding) -> None:
        """Keep what was found."""
        self.diagnosis.findings.append(finding)

    def _fails(self, name: str, problem: str, message: str) -> NoReturn:
        self.note(Finding(name, False, message, problem))
        raise _Stopped

    def _passes(self, name: str, message: str) -> None:
        self.note(Finding(name, True, message))

    def _warns(self, name: str, message: str) -> None:
        self.note(Finding(name, False, message))

    def look_at_token(self) -> None:
        """Whose token is it, and until when?"""
        try:
            answer = self._client.ask("GET", "/user")
        except TokenTrouble as trouble:
            if trouble.problem != Problem.NOT_PERMITTED:
                raise
            self._fails(
                "token", trouble.problem, "This is no person's token: use a fine-grained or classic one of an owner."
            )
        user = user_of(answer.object())
        self.diagnosis.token_login = user.login
        self.diagnosis.token_expires_at = expires_at = _expiry_of(answer)
        scopes = answer.headers.get(SCOPES_HEADER)
        self._scopes = None if scopes is None else {scope.strip() for scope in scopes.split(",")}
        self._passes("token", f"GitHub takes the token; it is {user.login}'s.")
        if expires_at is not None and expires_at - timezone.now() < EXPIRES_SOON:
            self._warns("token_expiry", f"The token ends on {expires_at:%Y-%m-%d}: make another one before.")

    def look_at_organization(self) -> None:
        """Is it there, and what does it ask of members?"""
        try:
            row = self._client.ask("GET", self._path).object()
        except NotFound:
            self._fails(
                "organization", Problem.ORGANIZATION_MISSING, f"GitHub has no organisation {self._organization}."
            )
        self._passes("organization", f"The organisation {self._organization} is there.")
        self._base_permission = row.get(BASE_PERMISSION)
        if row.get("two_factor_requirement_enabled") is True:
            self._warns(
                "two_factor", "The organisation asks for two-factor authentication: without it nobody can accept."
            )
        plan = row.get("plan")
        seats, filled = (plan.get("seats"), plan.get("filled_seats")) if isinstance(plan, dict) else (None, None)
        # A free plan counts no seats.
        if isinstance(seats, int) and isinstance(filled, int) and seats > 0 and filled >= seats:
            self._warns("seats", f"All {seats} seats of the organisation's plan are taken: nobody can be invited.")

    def look_at_ownership(self) -> None:
        """Only owners may invite to and remove from the organisation."""
        login = self.diagnosis.token_login
        missing = f"{login} does not belong to {self._organization}, or the token does not show it. {PERMISSION}"
        try:
            place = membership_of(self._client.ask("GET", f"{self._path}/memberships/{quoted(login)}").object())
        except NotFound:
            self._fails("owner", Problem.NOT_PERMITTED, missing)
        except TokenTrouble as trouble:
            self._fails("owner", trouble.problem, missing if trouble.problem == Problem.NOT_PERMITTED else str(trouble))
        if (place.state, place.role) != ("active", "admin"):
            self._fails("owner", Problem.NOT_OWNER, f"{login} does not own {self._organization}: use an owner's token.")
        self._passes("owner", f"{login} owns the organisation.")

    def look_at_base_permission(self) -> None:
        """What may every member do? Who is let into the team becomes a member, and would have that in each private repository."""
        found = self._base_permission
        if not isinstance(found, str) or not found:
            self._warns(
                "base_permission", f"GitHub does not show this token the organisation's base permission. {SET_NONE}"
            )
        elif found != NO_PERMISSION:
            shown = found if found in BASE_PERMISSIONS else "another one"
            text = f"The base permission of {self._organization} is {shown}, not none. {SET_NONE}"
            self._fails("base_permission", Problem.BASE_PERMISSION, text)
        else:
            self._passes("base_permission", "Members see the repositories of their teams only.")

    def look_at_team(self) -> None:
        """Is there a team to let people into?"""
        try:
            self._client.ask("GET", f"{self._path}/teams/{quoted(self._team_slug)}").object()
        except NotFound:
            self._fails(
                "team", Problem.TEAM_MISSING, f"{self._organization} has no team with the slug {self._team_slug}."
            )
        self._passes("team", f"The team {self._team_slug} is there.")

    def look_at_invitations(self) -> None:
        """Can it be seen who was invited, and whose invitation failed?"""
        for name in ("invitations", "failed_invitations"):
            try:
                self._client.ask("GET", f"{self._path}/{name}?per_page=1").list()
            except (NotFound, TokenTrouble):
                self._fails("invitations", Problem.NOT_PERMITTED, f"The token does not see invitations. {PERMISSION}")
        self._passes("invitations", "The token sees invitations.")

    def look_at_writing(self) -> None:
        """May members be changed? GitHub answers 403 before it looks for what is to be withdrawn (inferred, not documented)."""
        if self._scopes is not None:
            if SCOPE not in self._scopes:
                self._fails("members", Problem.NOT_PERMITTED, f"The token may not change members. {PERMISSION}")
        else:
            try:
                path = f"{self._path}/invitations/{NO_SUCH_INVITATION}"
                self._client.ask("DELETE", path, accepted=(404,))
                # GitHub says 422 to some numbers that no invitation has.
            except Refused:
                pass
            except TokenTrouble:
                self._fails("members", Problem.NOT_PERMITTED, f"The token may not change members. {PERMISSION}")
        self._passes("members", "The token may change members.")


def _expiry_of(answer: Answer) -> dt.datetime | None:
    """Return when a token ends; None when it never does, or what GitHub says cannot be that."""
    text = answer.headers.get(EXPIRY_HEADER, "")
    for pattern in EXPIRY_FORMATS:
        try:
            found = dt.datetime.strptime(text, pattern)
        except ValueError:
            continue
        expires_at = found if found.tzinfo else found.replace(tzinfo=dt.UTC)
        return expires_at if expires_at - timezone.now() > NO_EXPIRY_WITHIN else None
    return None
