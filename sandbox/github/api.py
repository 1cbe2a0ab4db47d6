"""GitHub's calls for people, teams and invitations, as docs/github.md lists them. What it marks as inferred is so here too."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import Request, Response

from ..store import Store, Tx
from . import bodies, state
from .limits import Limits
from .state import Account, Organization, Team, Token

Object = dict[str, Any]
DOCS = "https://docs.github.com/rest"
API_VERSION = "2022-11-28"
PER_PAGE, PER_PAGE_MAX = 30, 100
READ, WRITE = "read", "write"
CLASSIC_SCOPES = {READ: {"read:org", "write:org", "admin:org"}, WRITE: {"admin:org"}}


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, message: str, headers: dict[str, str] | None = None, **more: Any) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"message": message, "documentation_url": DOCS, "status": str(status), **more}
        self.headers = headers or {}


@dataclass
class Call:
    """One request by somebody who is known."""

    tx: Tx
    request: Request
    base: str
    token: Token

    @property
    def caller(self) -> Account:
        """Whose token it is."""
        found = state.account_by_id(self.tx, self.token.account)
        if found is None:
            raise Refused(401, "Bad credentials")
        return found

    def account(self, login: str) -> Account:
        """Find an account by its name. Raises: Refused 404."""
        found = state.account_by_login(self.tx, login)
        if found is None:
            raise not_found()
        return found

    def organization(self, login: str, level: str) -> Organization:
        """Find an organisation that the token may see, or change. Raises: Refused."""
        found = state.organization_by_login(self.tx, login)
        if found is None or found.login.lower() != self.token.organization:
            raise not_found()
        if found.settings["requires_single_sign_on"] and not self.token.authorised:
            url = f"https://github.com/orgs/{found.login}/sso?authorization_request=0"
            text = "Resource protected by organization SAML enforcement. You must grant your token access to it."
            raise Refused(403, text, {"X-GitHub-SSO": f"required; url={url}"})
        self._check_permission(level)
        return found

    def _check_permission(self, level: str) -> None:
        if self.token.kind == "classic":
            # A scope that lacks hides what is there. (inferred)
            if not CLASSIC_SCOPES[level] & set(self.token.permissions["scopes"]):
                raise not_found()
        elif self.token.permissions.get("members") not in (level, WRITE):
            raise Refused(403, "Resource not accessible by personal access token")

    def owned(self, login: str, level: str = WRITE) -> Organization:
        """Find an organisation that the caller owns. Raises: Refused 403."""
        found = self.organization(login, level)
        if state.role_of(self.tx, found, self.caller) != "admin":
            raise Refused(403, "You must be an owner of the organization to do this.")
        return found

    def team(self, organization: Organization, slug: str) -> Team:
        """Find a team. Raises: Refused 404."""
        found = state.find_team(self.tx, organization, slug)
        if found is None:
            raise not_found()
        return found


def not_found() -> Refused:
    """Make the refusal that says as little as possible."""
    return Refused(404, "Not Found")


def invalid(message: str, resource: str = "TeamMembership") -> Refused:
    """Make the refusal of something that was understood."""
    error = {"resource": resource, "code": "unprocessable", "field": "data", "message": message}
    return Refused(422, "Validation Failed", errors=[error])


# Who somebody is


def show_caller(call: Call) -> Object:
    """GET /user."""
    return bodies.public_user(call.base, call.caller)


def show_user(call: Call, login: str) -> Object:
    """GET /users/{username}."""
    return bodies.public_user(call.base, call.account(login))


def show_user_by_id(call: Call, number: str) -> Object:
    """GET /user/{account_id}."""
    found = state.account_by_id(call.tx, int(number))
    if found is None:
        raise not_found()
    return bodies.public_user(call.base, found)


def show_organization(call: Call, login: str) -> Object:
    """GET /orgs/{org}: everybody sees that it is there."""
    found = state.organization_by_login(call.tx, login)
    if found is None:
        raise not_found()
    is_owner = state.role_of(call.tx, found, call.caller) == "admin" and found.login.lower() == call.token.organization
    return bodies.full_organization(call.tx, call.base, found, for_owner=is_owner)


def show_team(call: Call, login: str, slug: str) -> Object:
    """GET /orgs/{org}/teams/{team_slug}."""
    organization = call.organization(login, READ)
    return bodies.full_team(call.tx, call.base, organization, call.team(organization, slug))


# A team's members


def _place_in_team(call: Call, organization: Organization, team: Team, account: Account) -> tuple[str, str] | None:
    role = state.team_role(call.tx, team, account)
    if role:
        return "active", role
    invited = state.invitation_of(call.tx, organization, account)
    role = state.team_of_invitation(call.tx, invited, team) if invited else None
    return ("pending", role) if role else None


def show_team_membership(call: Call, login: str, slug: str, username: str) -> Object:
    """GET /orgs/{org}/teams/{team_slug}/memberships/{username}."""
    organization = call.organization(login, READ)
    team, account = call.team(organization, slug), call.account(username)
    place = _place_in_team(call, organization, team, account)
    if place is None:
        raise not_found()
    return bodies.team_membership(call.base, organization, team, account, state=place[0], role=place[1])


def put_team_membership(call: Call, login: str, slug: str, username: str) -> Object:
    """PUT /orgs/{org}/teams/{team_slug}/memberships/{username}: invites who does not belong to the organisation."""
    organization = call.owned(login)
    team, account = call.team(organization, slug), call.account(username)
    role = (call.request.get_json(silent=True) or {}).get("role", "member")
    if team.synced:
        raise Refused(403, "This team is managed by an identity provider.")
    if account.type != "User":
        raise invalid("Cannot add an organization as a member.")
    if state.role_of(call.tx, organization, account):
        state.set_team_role(call.tx, team, account, role)
        return bodies.team_membership(call.base, organization, team, account, state="active", role=role)
    invitation = state.invitation_of(call.tx, organization, account) or _invite(call, organization, account)
    state.add_team(call.tx, invitation, team, role)
    return bodies.team_membership(call.base, organization, team, account, state="pending", role=role)


def _invite(call: Call, organization: Organization, account: Account) -> state.Invitation:
    if state.sent_within_a_day(call.tx, organization) >= organization.settings["invitations_per_day"]:
        raise invalid("Over invitation rate limit", "OrganizationInvitation")
    seats = organization.settings["seats"]
    if seats is not None and bodies.filled_seats(call.tx, organization) >= seats:
        # What GitHub says then is inferred; that it refuses is documented.
        raise invalid(
            "You must purchase at least one more seat to add this user as a member.", "OrganizationInvitation"
        )
    return state.create_invitation(call.tx, organization, account, call.caller.id)


def delete_team_membership(call: Call, login: str, slug: str, username: str) -> None:
    """DELETE /orgs/{org}/teams/{team_slug}/memberships/{username}: the invitation to the organisation stays."""
    organization = call.owned(login)
    team, account = call.team(organization, slug), call.account(username)
    if team.synced:
        raise Refused(403, "This team is managed by an identity provider.")
    if _place_in_team(call, organization, team, account) is None:
        raise not_found()
    state.set_team_role(call.tx, team, account, None)
    invited = state.invitation_of(call.tx, organization, account)
    if invited:
        state.add_team(call.tx, invited, team, None)


# An organisation's members


def show_membership(call: Call, login: str, username: str) -> Object:
    """GET /orgs/{org}/memberships/{username}."""
    organization = call.organization(login, READ)
    if not state.role_of(call.tx, organization, call.caller):
        raise Refused(
            403, f"You must be a member of {organization.login} to see membership information for {username}."
        )
    account = call.account(username)
    role = state.role_of(call.tx, organization, account)
    invited = state.invitation_of(call.tx, organization, account)
    if not role and not invited:
        raise not_found()
    place = {"state": "active" if role else "pending", "role": role or "member"}
    return bodies.organization_membership(call.base, organization, account, **place)


def delete_membership(call: Call, login: str, username: str) -> None:
    """DELETE /orgs/{org}/memberships/{username}: ends a membership, or cancels the invitation."""
    organization = call.owned(login)
    account = call.account(username)
    role, invited = (
        state.role_of(call.tx, organization, account),
        state.invitation_of(call.tx, organization, account),
    )
    if role == "admin" and sum(role == "admin" for _, role in state.list_members(call.tx, organization)) == 1:
        raise Refused(403, "The last owner of an organization cannot be removed.")
    if not role and not invited:
        raise not_found()
    state.set_role(call.tx, organization, account, None)
    if invited:
        state.end_invitation(call.tx, invited, "cancelled")


def list_invitations(call: Call, login: str) -> Response:
    """GET /orgs/{org}/invitations."""
    organization = _seen_by_owner(call, login)
    return _page(call, organization, "invitations", state.pending_invitations(call.tx, organization), failed=False)


def list_failed_invitations(call: Call, login: str) -> Response:
    """GET /orgs/{org}/failed_invitations."""
    organization = _seen_by_owner(call, login)
    return _page(
        call, organization, "failed_invitations", state.expired_invitations(call.tx, organization), failed=True
    )


def _seen_by_owner(call: Call, login: str) -> Organization:
    """Find an organisation by its name or number: links to further pages have the number."""
    by_number = (
        state.account_by_id(call.tx, int(login)) if call.request.path.startswith("/_github/organizations/") else None
    )
    organization = call.organization(by_number.login if by_number else login, READ)
    if state.role_of(call.tx, organization, call.caller) != "admin":
        raise not_found()
    return organization


def delete_invitation(call: Call, login: str, number: str) -> None:
    """DELETE /orgs/{org}/invitations/{invitation_id}."""
    organization = call.owned(login)
    pending = state.pending_invitations(call.tx, organization)
    found = next((one for one in pending if str(one.id) == number), None)
    if found is None:
        raise not_found()
    state.end_invitation(call.tx, found, "cancelled")


def _page(call: Call, organization: Organization, name: str, rows: list[state.Invitation], *, failed: bool) -> Response:
    size = min(max(call.request.args.get("per_page", PER_PAGE, type=int), 1), PER_PAGE_MAX)
    page = max(call.request.args.get("page", 1, type=int), 1)
    last = max(-(-len(rows) // size), 1)
    url = f"{call.base}/organizations/{organization.id}/{name}?per_page={size}&page="
    links = {"next": page + 1, "last": last} if page < last else {}
    links |= {"prev": page - 1, "first": 1} if page > 1 else {}
    shown = rows[(page - 1) * size : page * size]
    response = _json([bodies.invitation(call.tx, call.base, organization, one, failed=failed) for one in shown], 200)
    if links:
        response.headers["Link"] = ", ".join(f'<{url}{number}>; rel="{name}"' for name, number in links.items())
    return response


NAME = r"([^/]+)"
TEAM = rf"/orgs/{NAME}/teams/{NAME}"
ROUTES: list[tuple[str, str, Callable[..., Any]]] = [
    ("GET", "/user", show_caller),
    ("GET", r"/user/(\d+)", show_user_by_id),
    ("GET", f"/users/{NAME}", show_user),
    ("GET", f"/orgs/{NAME}", show_organization),
    ("GET", TEAM, show_team),
    ("GET", rf"{TEAM}/memberships/{NAME}", show_team_membership),
    ("PUT", rf"{TEAM}/memberships/{NAME}", put_team_membership),
    ("DELETE", rf"{TEAM}/memberships/{NAME}", delete_team_membership),
    ("GET", f"/orgs/{NAME}/memberships/{NAME}", show_membership),
    ("DELETE", f"/orgs/{NAME}/memberships/{NAME}", delete_membership),
    ("GET", f"/orgs/{NAME}/invitations", list_invitations),
    ("GET", r"/organizations/(\d+)/invitations", list_invitations),
    ("GET", f"/orgs/{NAME}/failed_invitations", list_failed_invitations),
    ("GET", r"/organizations/(\d+)/failed_invitations", list_failed_invitations),
    ("DELETE", rf"/orgs/{NAME}/invitations/(\d+)", delete_invitation),
]


def bearer(request: Request) -> str:
    """Read the token of a request; "" without one."""
    scheme, _, token = (request.headers.get("Authorization") or "").partition(" ")
    return token.strip() if scheme.lower() in ("bearer", "token") else ""


def answer(store: Store, limits: Limits, request: Request, path: str) -> Response:
    """Answer one call."""
    headers: dict[str, str] = {"X-GitHub-Media-Type": "github.v3; format=json"}
    base = f"{request.host_url}_github"
    writes = request.method != "GET"
    try:
        with store.transaction() if writes else store.read() as tx:
            token = state.token_of(tx, bearer(request))
            if token is None:
                raise Refused(401, "Bad credentials")
            headers |= _headers_of(tx, limits, token, writes)
            response = _carry_out(Call(tx, request, base, token), path)
    except Refused as refusal:
        response = _json(refusal.body, refusal.status)
        response.headers.update(refusal.headers)
    for name, value in headers.items():
        response.headers.setdefault(name, value)
    return response


def _headers_of(tx: Tx, limits: Limits, token: Token, writes: bool) -> dict[str, str]:
    """Count the request. Raises: Refused when there were too many."""
    organization = state.organization_by_login(tx, token.organization)
    settings = organization.settings if organization else state.DEFAULTS
    refused, headers = limits.count(
        token.hash,
        changes=writes,
        per_hour=settings["requests_per_hour"],
        changes_per_minute=settings["creations_per_minute"],
    )
    if token.kind == "classic":
        headers["X-OAuth-Scopes"] = ", ".join(token.permissions["scopes"])
    if token.expires is not None:
        headers["GitHub-Authentication-Token-Expiration"] = (
            bodies.moment(token.expires).replace("T", " ").replace("Z", " UTC")
        )
    if refused == "primary":
        raise Refused(403, "API rate limit exceeded for user.", headers)
    if refused == "secondary":
        raise Refused(403, "You have exceeded a secondary rate limit. Please wait a few minutes.", headers)
    return headers


def _carry_out(call: Call, path: str) -> Response:
    for method, pattern, handler in ROUTES:
        found = re.fullmatch(pattern, path) if method == call.request.method else None
        if found:
            result = handler(call, *found.groups())
            if isinstance(result, Response):
                return result
            return Response(status=204) if result is None else _json(result, 200)
    raise not_found()


def _json(body: Any, status: int) -> Response:
    response = Response(json.dumps(body), status=status, content_type="application/json; charset=utf-8")
    response.headers["X-GitHub-Api-Version-Selected"] = API_VERSION
    return response
