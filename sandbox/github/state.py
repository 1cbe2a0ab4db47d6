"""What the stand-in keeps: accounts, teams, members, invitations, tokens. The only file of the stand-in that touches tables.

Invariant: an invitation that nobody answered within seven days has failed, by the organisation's own clock and by itself.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from .. import clock
from ..store import Tx

Object = dict[str, Any]
INVITATION_SECONDS = 7 * 24 * 3600
QUOTA_SECONDS = 24 * 3600
EXPIRED = "Invitation expired. User did not accept this invite for 7 days."
SCHEMA = [
    """CREATE TABLE IF NOT EXISTS github_accounts (
        id INTEGER PRIMARY KEY AUTOINCREMENT, login TEXT NOT NULL, login_key TEXT NOT NULL UNIQUE, type TEXT NOT NULL,
        created REAL NOT NULL, settings TEXT NOT NULL DEFAULT '{}')""",
    """CREATE TABLE IF NOT EXISTS github_teams (
        id INTEGER PRIMARY KEY AUTOINCREMENT, org INTEGER NOT NULL, slug TEXT NOT NULL, name TEXT NOT NULL,
        synced INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL, UNIQUE (org, slug))""",
    """CREATE TABLE IF NOT EXISTS github_members (
        org INTEGER NOT NULL, account INTEGER NOT NULL, role TEXT NOT NULL, PRIMARY KEY (org, account))""",
    """CREATE TABLE IF NOT EXISTS github_team_members (
        team INTEGER NOT NULL, account INTEGER NOT NULL, role TEXT NOT NULL, PRIMARY KEY (team, account))""",
    """CREATE TABLE IF NOT EXISTS github_invitations (
        id INTEGER PRIMARY KEY AUTOINCREMENT, org INTEGER NOT NULL, account INTEGER NOT NULL, role TEXT NOT NULL,
        inviter INTEGER NOT NULL, created REAL NOT NULL, state TEXT NOT NULL DEFAULT 'pending')""",
    "CREATE INDEX IF NOT EXISTS github_invitations_of ON github_invitations (org, account, state)",
    """CREATE TABLE IF NOT EXISTS github_invitation_teams (
        invitation INTEGER NOT NULL, team INTEGER NOT NULL, role TEXT NOT NULL, PRIMARY KEY (invitation, team))""",
    """CREATE TABLE IF NOT EXISTS github_tokens (
        token_hash TEXT PRIMARY KEY, org TEXT NOT NULL, account INTEGER NOT NULL, kind TEXT NOT NULL, permissions TEXT NOT NULL,
        authorised INTEGER NOT NULL, expires REAL, created REAL NOT NULL)""",
]
# `invitations_per_day`: how many may be sent within 24 hours. `seats`: how many people a paid plan has room for. `requires_...`:
# what the organisation asks of tokens and members. `offset_seconds`: how far its clock is ahead.
DEFAULTS: Object = {
    "invitations_per_day": 50,
    "seats": None,
    "requires_single_sign_on": False,
    "requires_two_factor": False,
    "offset_seconds": 0,
    # GitHub's own default is "read", with which licences refuse to work.
    "default_repository_permission": "none",
    "requests_per_hour": 5000,
    "creations_per_minute": 80,
}


@dataclass(frozen=True)
class Account:
    """A person, an organisation or a bot. The id stays; the name may change."""

    id: int
    login: str
    type: str
    created: float
    settings: Object = field(default_factory=dict)


@dataclass(frozen=True)
class Organization(Account):
    """An account that people belong to."""

    @property
    def now(self) -> float:
        """Its time."""
        return clock.now() + float(self.settings["offset_seconds"])


@dataclass(frozen=True)
class Team:
    """A team of an organisation; one that an identity provider manages is `synced`."""

    id: int
    slug: str
    name: str
    synced: bool
    created: float


@dataclass(frozen=True)
class Invitation:
    """An invitation to an organisation and, with it, to teams."""

    id: int
    account: int
    role: str
    inviter: int
    created: float
    team_count: int

    @property
    def ends(self) -> float:
        """When it expires."""
        return self.created + INVITATION_SECONDS


@dataclass(frozen=True)
class Token:
    """Whose token it is and what it may do. kind: fine (permissions by name) or classic (scopes)."""

    hash: str
    organization: str
    account: int
    kind: str
    permissions: Object
    authorised: bool
    expires: float | None


def digest(token: str) -> str:
    """Give what a token is stored as."""
    return hashlib.sha256(token.encode()).hexdigest()


# Accounts


def create_account(tx: Tx, login: str, kind: str = "User", **settings: Any) -> Account:
    """Make a person (User) or a Bot."""
    cursor = tx.execute(
        "INSERT INTO github_accounts (login, login_key, type, created, settings) VALUES (?,?,?,?,?)",
        (login, login.lower(), kind, clock.now(), json.dumps(settings)),
    )
    made = account_by_id(tx, int(cursor.lastrowid or 0))
    assert made is not None
    return made


def _account(row: Any) -> Account:
    settings = json.loads(row["settings"])
    if row["type"] == "Organization":
        return Organization(row["id"], row["login"], row["type"], row["created"], {**DEFAULTS, **settings})
    return Account(row["id"], row["login"], row["type"], row["created"], settings)


def account_by_id(tx: Tx, account_id: int) -> Account | None:
    """Find an account by the id that stays."""
    row = tx.execute("SELECT * FROM github_accounts WHERE id = ?", (account_id,)).fetchone()
    return _account(row) if row else None


def account_by_login(tx: Tx, login: str) -> Account | None:
    """Find an account by today's name, in any case of letters."""
    row = tx.execute("SELECT * FROM github_accounts WHERE login_key = ?", (login.lower(),)).fetchone()
    return _account(row) if row else None


def rename(tx: Tx, account: Account, login: str) -> None:
    """Give an account another name; the one before is free."""
    tx.execute("UPDATE github_accounts SET login = ?, login_key = ? WHERE id = ?", (login, login.lower(), account.id))


def delete_account(tx: Tx, account: Account) -> None:
    """Remove an account from everywhere."""
    tx.execute("DELETE FROM github_accounts WHERE id = ?", (account.id,))
    for table in ("github_members", "github_team_members", "github_invitations"):
        tx.execute(f"DELETE FROM {table} WHERE account = ?", (account.id,))  # noqa: S608


def change_settings(tx: Tx, account: Account, changes: Object) -> None:
    """Change how an account behaves."""
    settings = json.dumps({**account.settings, **changes})
    tx.execute("UPDATE github_accounts SET settings = ? WHERE id = ?", (settings, account.id))


def list_accounts(tx: Tx, kind: str) -> list[Account]:
    """Give all accounts of a type, by name."""
    rows = tx.execute("SELECT * FROM github_accounts WHERE type = ? ORDER BY login_key", (kind,))
    return [_account(row) for row in rows]


def organization_by_login(tx: Tx, login: str) -> Organization | None:
    """Find an organisation by its name."""
    found = account_by_login(tx, login)
    return found if isinstance(found, Organization) else None


# Teams


def create_team(tx: Tx, organization: Account, slug: str, *, synced: bool = False) -> None:
    """Make a team."""
    tx.execute(
        "INSERT INTO github_teams (org, slug, name, synced, created) VALUES (?,?,?,?,?)",
        (organization.id, slug, slug.replace("-", " ").capitalize(), int(synced), clock.now()),
    )


def list_teams(tx: Tx, organization: Account) -> list[Team]:
    """Give the teams of an organisation, by name."""
    rows = tx.execute("SELECT * FROM github_teams WHERE org = ? ORDER BY slug", (organization.id,))
    return [Team(row["id"], row["slug"], row["name"], bool(row["synced"]), row["created"]) for row in rows]


def find_team(tx: Tx, organization: Account, slug: str) -> Team | None:
    """Find a team by its slug."""
    return next((team for team in list_teams(tx, organization) if team.slug == slug.lower()), None)


def team_role(tx: Tx, team: Team, account: Account) -> str | None:
    """Give somebody's role in a team; None for who is not in it."""
    values = (team.id, account.id)
    row = tx.execute("SELECT role FROM github_team_members WHERE team = ? AND account = ?", values).fetchone()
    return str(row["role"]) if row else None


def set_team_role(tx: Tx, team: Team, account: Account, role: str | None) -> None:
    """Put somebody into a team, or take them out."""
    tx.execute("DELETE FROM github_team_members WHERE team = ? AND account = ?", (team.id, account.id))
    if role:
        values = (team.id, account.id, role)
        tx.execute("INSERT INTO github_team_members (team, account, role) VALUES (?,?,?)", values)


def team_members(tx: Tx, team: Team) -> list[Account]:
    """Give who is in a team, by name."""
    rows = tx.execute(
        "SELECT a.* FROM github_accounts a JOIN github_team_members m ON m.account = a.id WHERE m.team = ? ORDER BY a.login_key",
        (team.id,),
    )
    return [_account(row) for row in rows]


# Members


def role_of(tx: Tx, organization: Account, account: Account | int) -> str | None:
    """Give somebody's role in an organisation (admin, member); None for who does not belong to it."""
    account_id = account if isinstance(account, int) else account.id
    values = (organization.id, account_id)
    row = tx.execute("SELECT role FROM github_members WHERE org = ? AND account = ?", values).fetchone()
    return str(row["role"]) if row else None


def set_role(tx: Tx, organization: Account, account: Account, role: str | None) -> None:
    """Make somebody a member, or end that, in all teams too."""
    values = (organization.id, account.id)
    tx.execute("DELETE FROM github_members WHERE org = ? AND account = ?", values)
    if role:
        tx.execute("INSERT INTO github_members (org, account, role) VALUES (?,?,?)", (*values, role))
        return
    for team in list_teams(tx, organization):
        set_team_role(tx, team, account, None)


def list_members(tx: Tx, organization: Account) -> list[tuple[Account, str]]:
    """Give who belongs to an organisation, by name, with their roles."""
    rows = tx.execute(
        """SELECT a.*, m.role FROM github_accounts a JOIN github_members m ON m.account = a.id
           WHERE m.org = ? ORDER BY a.login_key""",
        (organization.id,),
    )
    return [(_account(row), row["role"]) for row in rows]


# Invitations


def create_invitation(tx: Tx, organization: Organization, account: Account, inviter: int) -> Invitation:
    """Invite somebody to an organisation."""
    tx.execute(
        "INSERT INTO github_invitations (org, account, role, inviter, created) VALUES (?,?,?,?,?)",
        (organization.id, account.id, "direct_member", inviter, organization.now),
    )
    made = invitation_of(tx, organization, account)
    assert made is not None
    return made


def add_team(tx: Tx, invitation: Invitation, team: Team, role: str | None) -> None:
    """Let an invitation lead into a team too, or no longer."""
    values = (invitation.id, team.id)
    tx.execute("DELETE FROM github_invitation_teams WHERE invitation = ? AND team = ?", values)
    if role:
        tx.execute("INSERT INTO github_invitation_teams (invitation, team, role) VALUES (?,?,?)", (*values, role))


def team_of_invitation(tx: Tx, invitation: Invitation, team: Team) -> str | None:
    """Give the role in a team that an invitation leads to."""
    row = tx.execute(
        "SELECT role FROM github_invitation_teams WHERE invitation = ? AND team = ?", (invitation.id, team.id)
    ).fetchone()
    return str(row["role"]) if row else None


def _invitations(tx: Tx, organization: Organization, condition: str, *values: Any) -> list[Invitation]:
    rows = tx.execute(
        f"""SELECT i.*, (SELECT count(*) FROM github_invitation_teams t WHERE t.invitation = i.id) AS teams
            FROM github_invitations i WHERE org = ? AND {condition} ORDER BY id""",  # noqa: S608
        (organization.id, *values),
    )
    return [
        Invitation(row["id"], row["account"], row["role"], row["inviter"], row["created"], row["teams"]) for row in rows
    ]


def pending_invitations(tx: Tx, organization: Organization) -> list[Invitation]:
    """Give the invitations that wait for an answer."""
    oldest = organization.now - INVITATION_SECONDS
    return _invitations(tx, organization, "state = 'pending' AND created > ?", oldest)


def expired_invitations(tx: Tx, organization: Organization) -> list[Invitation]:
    """Give the invitations that nobody answered in time."""
    oldest = organization.now - INVITATION_SECONDS
    return _invitations(tx, organization, "state = 'pending' AND created <= ?", oldest)


def sent_within_a_day(tx: Tx, organization: Organization) -> int:
    """Count what the quota counts."""
    return len(_invitations(tx, organization, "created > ?", organization.now - QUOTA_SECONDS))


def invitation_of(tx: Tx, organization: Organization, account: Account) -> Invitation | None:
    """Find the invitation of somebody that waits for an answer."""
    return next((one for one in pending_invitations(tx, organization) if one.account == account.id), None)


def end_invitation(tx: Tx, invitation: Invitation, how: str) -> None:
    """Mark an invitation as accepted, declined or cancelled."""
    tx.execute("UPDATE github_invitations SET state = ? WHERE id = ?", (how, invitation.id))


def accept(tx: Tx, organization: Organization, account: Account, invitation: Invitation) -> None:
    """Make somebody a member of the organisation and of the teams of their invitation."""
    set_role(tx, organization, account, "member")
    for team in list_teams(tx, organization):
        role = team_of_invitation(tx, invitation, team)
        if role:
            set_team_role(tx, team, account, role)
    end_invitation(tx, invitation, "accepted")


# Tokens


def create_token(tx: Tx, organization: Account, account: Account, **wanted: Any) -> str:
    """Make a token; its text is given this once."""
    kind = wanted.get("kind", "fine")
    token = ("ghp_" if kind == "classic" else "github_pat_") + secrets.token_urlsafe(30).replace("-", "a").replace(
        "_", "b"
    )
    permissions = wanted.get("permissions", {"members": "write"} if kind == "fine" else {"scopes": ["admin:org"]})
    tx.execute(
        """INSERT INTO github_tokens (token_hash, org, account, kind, permissions, authorised, expires, created)
           VALUES (?,?,?,?,?,?,?,?)""",
        (
            digest(token), organization.login.lower(), account.id, kind, json.dumps(permissions),
            int(wanted.get("authorised", True)), wanted.get("expires"), clock.now(),
        ),
    )  # fmt: skip
    return token


def token_of(tx: Tx, token: str) -> Token | None:
    """Find a token that is in force."""
    if not token:
        return None
    row = tx.execute("SELECT * FROM github_tokens WHERE token_hash = ?", (digest(token),)).fetchone()
    if row is None or (row["expires"] is not None and row["expires"] <= clock.now()):
        return None
    return Token(
        row["token_hash"], row["org"], row["account"], row["kind"], json.loads(row["permissions"]), bool(row["authorised"]),
        row["expires"],
    )  # fmt: skip


def revoke_tokens(tx: Tx, organization: Account) -> None:
    """Make every token of an organisation worthless."""
    tx.execute("DELETE FROM github_tokens WHERE org = ?", (organization.login.lower(),))
