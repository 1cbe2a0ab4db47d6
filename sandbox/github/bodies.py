"""What the stand-in says of its accounts, teams and invitations, in GitHub's shapes."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import Any

from ..store import Tx
from . import state
from .state import Account, Invitation, Organization, Team

Object = dict[str, Any]
USER_LINKS = (
    "followers", "following", "gists", "starred", "subscriptions", "organizations", "repos", "events", "received_events",
)  # fmt: skip
ORGANIZATION_LINKS = ("repos", "events", "hooks", "issues", "members", "public_members")


def moment(seconds: float) -> str:
    """Write a moment as GitHub does."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def node_id(kind: str, number: int) -> str:
    """Make the id of GitHub's other API."""
    return base64.urlsafe_b64encode(f"{kind}{number}".encode()).decode()


def simple_user(base: str, account: Account) -> Object:
    """Describe an account in short."""
    url = f"{base}/users/{account.login}"
    return {
        "login": account.login,
        "id": account.id,
        "node_id": node_id("U", account.id),
        "avatar_url": f"{base}/_web/avatars/{account.id}",
        "gravatar_id": "",
        "url": url,
        "html_url": f"{base}/_web/{account.login}",
        **{f"{name}_url": f"{url}/{name}" for name in USER_LINKS},
        "type": account.type,
        "user_view_type": "public",
        "site_admin": False,
    }


def public_user(base: str, account: Account) -> Object:
    """Describe an account as everybody sees it."""
    unknown = ("name", "company", "location", "email", "hireable", "bio", "twitter_username")
    return {
        **simple_user(base, account),
        **dict.fromkeys(unknown),
        "blog": "",
        **dict.fromkeys(("public_repos", "public_gists", "followers", "following"), 0),
        "created_at": moment(account.created),
        "updated_at": moment(account.created),
    }


def simple_organization(base: str, organization: Account) -> Object:
    """Describe an organisation in short."""
    url = f"{base}/orgs/{organization.login}"
    links = {f"{name}_url": f"{url}/{name}" for name in ORGANIZATION_LINKS}
    for name in ("members", "public_members"):
        links[f"{name}_url"] += "{/member}"
    return {
        "login": organization.login,
        "id": organization.id,
        "node_id": node_id("O", organization.id),
        "url": url,
        **links,
        "avatar_url": f"{base}/_web/avatars/{organization.id}",
        "description": None,
    }


def full_organization(tx: Tx, base: str, organization: Organization, *, for_owner: bool) -> Object:
    """Describe an organisation; its owners see what it asks of members, and its plan."""
    body = {
        **simple_organization(base, organization),
        "html_url": f"{base}/_web/orgs/{organization.login}",
        "type": "Organization",
        "has_organization_projects": True,
        "has_repository_projects": True,
        **dict.fromkeys(("public_repos", "public_gists", "followers", "following"), 0),
        "created_at": moment(organization.created),
        "updated_at": moment(organization.created),
        "archived_at": None,
    }
    if not for_owner:
        return body
    seats = organization.settings["seats"]
    plan = {"name": "free", "space": 976562499, "private_repos": 10000}
    if seats is not None:
        plan |= {"name": "team", "seats": seats, "filled_seats": filled_seats(tx, organization)}
    return {
        **body,
        "two_factor_requirement_enabled": bool(organization.settings["requires_two_factor"]),
        "default_repository_permission": organization.settings["default_repository_permission"],
        "plan": plan,
    }


def filled_seats(tx: Tx, organization: Organization) -> int:
    """Count the seats that are taken; an invitation holds one."""
    return len(state.list_members(tx, organization)) + len(state.pending_invitations(tx, organization))


def full_team(tx: Tx, base: str, organization: Organization, team: Team) -> Object:
    """Describe a team."""
    url = f"{base}/organizations/{organization.id}/team/{team.id}"
    return {
        "id": team.id,
        "node_id": node_id("T", team.id),
        "url": url,
        "html_url": f"{base}/_web/orgs/{organization.login}#{team.slug}",
        "name": team.name,
        "slug": team.slug,
        "description": None,
        "privacy": "closed",
        "notification_setting": "notifications_enabled",
        "permission": "pull",
        "members_url": url + "/members{/member}",
        "repositories_url": f"{url}/repos",
        "parent": None,
        "members_count": len(state.team_members(tx, team)),
        "repos_count": 1,
        "created_at": moment(team.created),
        "updated_at": moment(team.created),
        "type": "organization",
        "organization_id": organization.id,
        "organization": full_organization(tx, base, organization, for_owner=False),
    }


def team_membership(base: str, organization: Organization, team: Team, account: Account, **place: str) -> Object:
    """Describe somebody's place in a team."""
    return {
        **place,
        "url": f"{base}/organizations/{organization.id}/team/{team.id}/memberships/{account.login}",
    }


def organization_membership(base: str, organization: Organization, account: Account, **place: str) -> Object:
    """Describe somebody's place in an organisation."""
    whole = simple_organization(base, organization)
    return {
        **place,
        "url": f"{whole['url']}/memberships/{account.login}",
        "direct_membership": True,
        "organization_url": whole["url"],
        "organization": whole,
        "user": simple_user(base, account),
    }


def invitation(tx: Tx, base: str, organization: Organization, one: Invitation, *, failed: bool) -> Object:
    """Describe an invitation."""
    account, inviter = state.account_by_id(tx, one.account), state.account_by_id(tx, one.inviter)
    body: Object = {
        "id": one.id,
        "node_id": node_id("OI", one.id),
        "login": account.login if account else None,
        "email": None,
        "role": one.role,
        "created_at": moment(one.created),
        "inviter": simple_user(base, inviter or organization),
        "team_count": one.team_count,
        "invitation_teams_url": f"{base}/organizations/{organization.id}/invitations/{one.id}/teams",
        "invitation_source": "member",
    }
    if failed:
        return body | {"failed_at": moment(one.ends), "failed_reason": state.EXPIRED}
    return body | {"failed_at": None, "failed_reason": None}
