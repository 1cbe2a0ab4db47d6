"""What people do at GitHub itself: answer an invitation, and look at who belongs to an organisation."""

from __future__ import annotations

from typing import Any

from ..store import Tx
from . import state
from .state import Account, Organization

NOTHING_TO_ANSWER = "There is no invitation that waits for an answer: it was answered, withdrawn, or has expired."
TWO_FACTOR = "This organisation asks for two-factor authentication: set it up before you accept."


def answer(tx: Tx, organization: Organization, account: Account, *, accept: bool) -> str:
    """Accept or decline an invitation; give "" or why that cannot be."""
    invitation = state.invitation_of(tx, organization, account)
    if invitation is None:
        return NOTHING_TO_ANSWER
    if not accept:
        state.end_invitation(tx, invitation, "declined")
        return ""
    if organization.settings["requires_two_factor"] and not account.settings.get("two_factor", True):
        return TWO_FACTOR
    state.accept(tx, organization, account, invitation)
    return ""


def advance(tx: Tx, organization: Organization, seconds: float) -> None:
    """Move an organisation's clock."""
    state.change_settings(tx, organization, {"offset_seconds": organization.settings["offset_seconds"] + seconds})


def overview(tx: Tx, organization: Organization) -> dict[str, Any]:
    """Give everybody who belongs to an organisation or was invited, with the teams."""
    teams = state.list_teams(tx, organization)

    def invited(one: state.Invitation) -> dict[str, Any]:
        account = state.account_by_id(tx, one.account)
        led = [team.slug for team in teams if state.team_of_invitation(tx, one, team)]
        login = account.login if account else None
        return {"id": one.id, "login": login, "teams": led, "created": one.created, "ends": one.ends}

    return {
        "organization": organization.login,
        "id": organization.id,
        "now": organization.now,
        "settings": organization.settings,
        "members": [
            {
                "login": account.login,
                "id": account.id,
                "role": role,
                "teams": [team.slug for team in teams if state.team_role(tx, team, account)],
            }
            for account, role in state.list_members(tx, organization)
        ],
        "teams": {team.slug: [account.login for account in state.team_members(tx, team)] for team in teams},
        "invitations": [invited(one) for one in state.pending_invitations(tx, organization)],
        "expired": [invited(one) for one in state.expired_invitations(tx, organization)],
    }
