"""What licences ask of GitHub: who somebody is, let them into a team, see how that stands, take them out again.

Invariants: called with no transaction open, from outbox executors and pollers only; an invitation is sent only to somebody who has
none; an error never counts as "declined" or "removed"; an owner of the organisation is never removed; a removal counts only after
GitHub was asked and said that nothing is left. The sequence and its sources: docs/github.md.
"""

import datetime as dt
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from django.db import connection as database
from django.utils import timezone

from common.encryption import DecryptionError
from licenses.models import GitHubConnection
from licenses.services.github_client import (
    GitHubClient,
    GitHubError,
    GitHubUser,
    Invitation,
    Membership,
    NotFound,
    OwnerKept,
    QuotaReached,
    RateLimited,
    Refused,
    TokenTrouble,
    Unavailable,
    Unexpected,
    invitation_of,
    membership_of,
    quoted,
    user_of,
)
from licenses.services.github_state import note_answer, note_problem
from notifications.services.outbox import EffectWaits
from projects.models import Project

__all__ = [
    "GITHUB_CONNECTION",
    "GitHub",
    "GitHubError",
    "GitHubUser",
    "Invitation",
    "Membership",
    "NotConnected",
    "NotFound",
    "OwnerKept",
    "QuotaReached",
    "RateLimited",
    "Refused",
    "Standing",
    "State",
    "TokenTrouble",
    "Unavailable",
    "Unexpected",
    "clean_username",
    "github_effect",
    "is_connected",
]

Problem = GitHubConnection.Problem
# What effects wait for while GitHub is not connected or the token has to be mended; saving the connection wakes them.
GITHUB_CONNECTION = "github_connection"
# Source: https://docs.github.com/organizations/managing-membership-in-your-organization (invitations expire after seven days)
INVITATION_LIFE = dt.timedelta(days=7)
# Looser than what GitHub gives out today: some old names end in a hyphen, those of managed users hold an underscore.
_USERNAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,38}")
_PROFILE = re.compile(r"(?:https?://)?(?:www\.)?github\.com/@?([^/?#]+)/?", re.IGNORECASE)
_EXPIRED = re.compile(r"expired", re.IGNORECASE)


class NotConnected(TokenTrouble):
    """No organisation is connected in this mode."""

    def __init__(self) -> None:
        super().__init__("", "GitHub is not connected in this mode.")


class State(StrEnum):
    """How it stands with somebody who was invited."""

    ACTIVE = "active"
    PENDING = "pending"
    EXPIRED = "expired"
    GONE = "gone"


@dataclass(frozen=True)
class Standing:
    """How it stands, and why an invitation came to nothing when GitHub says so. GONE: declined, withdrawn or removed."""

    state: State
    reason: str = ""


def clean_username(text: str) -> str | None:
    """Return a GitHub user name as somebody typed it: bare, with a leading @, or as the address of their profile.

    None for what cannot be one.
    """
    typed = text.strip()
    profile = _PROFILE.fullmatch(typed)
    name = profile[1] if profile else typed.removeprefix("@")
    return name if _USERNAME.fullmatch(name) else None


def is_connected(*, project: Project | uuid.UUID, mode: str) -> bool:
    """Say whether licences of a project and mode can let anybody in."""
    return GitHubConnection.objects.current_for(project, mode) is not None


class GitHub:
    """One organisation and team at GitHub, as a project's connection reaches them."""

    def __init__(self, project: Project | uuid.UUID, mode: str, *, team_slug: str = "") -> None:
        """Use the project's connection, and its team unless another is named. Raises: NotConnected, TokenTrouble."""
        found = GitHubConnection.objects.current_for(project, mode)
        if found is None:
            raise NotConnected
        self.connection = found
        try:
            self._client = GitHubClient(token=found.get_token())
        except DecryptionError as error:
            trouble = TokenTrouble(Problem.TOKEN_UNREADABLE, error.detail)
            note_problem(found, trouble.problem)
            raise trouble from None
        self.organization = found.organization
        self.team_slug = team_slug or found.team_slug

    # Who somebody is

    def resolve(self, username: str) -> GitHubUser:
        """Return the person of a user name as GitHub spells it today.

        Raises: NotFound, Refused for an organisation, GitHubError.
        """
        name = clean_username(username)
        if name is None:
            raise NotFound("This is no GitHub user name.")
        with self._watched():
            user = user_of(self._client.ask("GET", f"/users/{quoted(name)}").object())
        if user.type != "User":
            raise Refused(f"{user.login} is no person's account at GitHub but of the type {user.type}.")
        return user

    def user_by_id(self, user_id: int) -> GitHubUser:
        """Return whoever has a numeric id, with today's login. Raises: NotFound, GitHubError."""
        with self._watched():
            user = user_of(self._client.ask("GET", f"/user/{int(user_id)}").object())
            if user.id != user_id:
                raise Unexpected("The answer is about another user than the one who was asked for.")
            return user

    # How it stands

    def membership(self, login: str) -> Membership | None:
        """Return somebody's place in the team; None without one, or when the token sees too little. Raises: GitHubError."""
        with self._watched():
            return self._read(self._team_path(login))

    def organization_membership(self, login: str) -> Membership | None:
        """Return somebody's place in the organisation; None without one. Raises: GitHubError."""
        with self._watched():
            return self._read(self._organization_path(login))

    def standing(self, login: str, *, invited_at: dt.datetime | None = None) -> Standing:
        """Say how it stands with somebody who was invited. At most five calls and the list of failed ones. Raises: GitHubError."""
        with self._watched():
            found = self._read(self._team_path(login)) or self._pending_in_organization(login)
            if found is not None:
                return Standing(State(found.state))
            # Somebody who is not there, and a token that sees nothing, look alike.
            self._check_sight()
            failed = [one for one in self._list("failed_invitations") if one.is_of(login)]
        since = [one for one in failed if invited_at is None or one.failed_at is None or one.failed_at >= invited_at]
        if since:
            reason = max(since, key=lambda one: one.created_at).failed_reason
            return Standing(State.EXPIRED if _EXPIRED.search(reason) else State.GONE, reason)
        is_old = invited_at is not None and timezone.now() - invited_at >= INVITATION_LIFE
        return Standing(State.EXPIRED if is_old else State.GONE)

    def list_invitations(self) -> list[Invitation]:
        """Return every invitation to the organisation that waits for an answer. One call for each hundred. Raises: GitHubError."""
        with self._watched():
            return self._list("invitations")

    def failed_invitations(self) -> list[Invitation]:
        """Return every invitation that came to nothing. One call for each hundred. Raises: GitHubError."""
        with self._watched():
            return self._list("failed_invitations")

    # Changes

    def invite(self, login: str) -> Literal["active", "pending"]:
        """Let somebody into the team, by an invitation where they are not in the organisation; nothing is sent to who has a place.

        Raises: NotFound, QuotaReached, RateLimited, TokenTrouble, Refused, Unavailable.
        """
        with self._watched():
            place = self._read(self._team_path(login)) or self._put(login)
            return "active" if place.state == "active" else "pending"

    def revoke(self, login: str, *, leave_organization: bool = True) -> None:
        """Take somebody out of the team, withdraw their invitation and, unless something else entitles them, end their membership.

        Done when GitHub answers that nothing is left. Raises: OwnerKept when nothing was changed, GitHubError.
        """
        with self._watched():
            before = self._read(self._organization_path(login))
            if before is not None and before.role == "admin":
                raise OwnerKept(f"{login} owns the organisation {self.organization} and was left there.")
            team, organization = self._team_path(login), self._organization_path(login)
            self._client.ask("DELETE", team, accepted=(204, 404))
            leaves = leave_organization or (before is not None and before.state == "pending")
            if leaves:
                self._client.ask("DELETE", organization, accepted=(204, 404))
            if self._read(team) is not None or (leaves and self._read(organization) is not None):
                raise Unavailable("GitHub has not removed the member yet.")
            # All of that looks the same to a token that sees nothing.
            self._check_sight()

    def _put(self, login: str) -> Membership:
        path = self._team_path(login)
        try:
            return membership_of(self._client.ask("PUT", path, {"role": "member"}).object())
        except NotFound:
            raise self._what_is_missing(login) from None
        except Unavailable:
            # It may have happened all the same.
            found = self._read(path)
            if found is None:
                raise
            return found

    def _what_is_missing(self, login: str) -> GitHubError:
        """Find out which of user, team and permission a 404 was about."""
        try:
            self._client.ask("GET", f"/users/{quoted(login)}")
        except NotFound as error:
            return error
        self._check_sight()
        return TokenTrouble(Problem.NOT_PERMITTED, "GitHub does not let this token invite anybody to the team (404).")

    def _check_sight(self) -> None:
        """Raise TokenTrouble unless the token sees the team and who is in the organisation."""
        organization = quoted(self.organization)
        try:
            self._client.ask("GET", f"/orgs/{organization}/teams/{quoted(self.team_slug)}")
        except NotFound:
            raise TokenTrouble(Problem.TEAM_MISSING, f"The token sees no team {self.team_slug} (404).") from None
        try:
            self._client.ask("GET", f"/orgs/{organization}/invitations?per_page=1")
        except NotFound:
            raise _sees_no_invitations() from None

    def _pending_in_organization(self, login: str) -> Membership | None:
        """Return an invitation that is alive without its team; a member who is in no team any more has none."""
        found = self._read(self._organization_path(login))
        return found if found is not None and found.state == "pending" else None

    def _read(self, path: str) -> Membership | None:
        answer = self._client.ask("GET", path, accepted=(200, 404))
        return membership_of(answer.object()) if answer.status == 200 else None

    def _list(self, what: str) -> list[Invitation]:
        try:
            return [invitation_of(row) for row in self._client.pages(f"/orgs/{quoted(self.organization)}/{what}")]
        except NotFound:
            raise _sees_no_invitations() from None

    def _team_path(self, login: str) -> str:
        return f"/orgs/{quoted(self.organization)}/teams/{quoted(self.team_slug)}/memberships/{quoted(login)}"

    def _organization_path(self, login: str) -> str:
        return f"/orgs/{quoted(self.organization)}/memberships/{quoted(login)}"

    @contextmanager
    def _watched(self) -> Iterator[None]:
        """Keep on the connection what its calls say about it."""
        if database.in_atomic_block:
            raise RuntimeError("GitHub is called with no transaction open")
        self._client.has_written = False
        try:
            yield
        except GitHubError as error:
            note_problem(self.connection, error.problem)
            raise
        note_answer(self.connection, has_written=self._client.has_written)


def _sees_no_invitations() -> TokenTrouble:
    return TokenTrouble(Problem.NOT_PERMITTED, "The token does not see who is invited to the organisation (404).")


@contextmanager
def github_effect(*, project_id: uuid.UUID, mode: str, team_slug: str = "") -> Iterator[GitHub]:
    """Yield GitHub to an outbox executor. While somebody has to mend the connection, the effects of the kind wait.

    Raises: EffectWaits for TokenTrouble; other errors of GitHub as they are, which say when to try again.
    """
    try:
        yield GitHub(project_id, mode, team_slug=team_slug)
    except TokenTrouble as error:
        raise EffectWaits(
            GITHUB_CONNECTION, f"{error} This waits for a connection that works.", holds_its_kind=True
        ) from None
