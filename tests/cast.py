"""The cast: who acts in the tests. Everyone is fresh in every test.

Alice owns the project acme. Bob is a member of it (a developer; `set_role` makes him a viewer). Charlie owns another
project and must see nothing of acme. Dana is a user of acme's app, Erin another one, and Frank one of Charlie's app.
"""

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from django.test import Client

    from accounts.models import User
    from projects.models import EndUser, Project

PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Developer:
    """Somebody who signs in."""

    user: "User"
    access_token: str = field(repr=False)
    password: str = PASSWORD

    @property
    def headers(self) -> dict[str, str]:
        """Headers of a signed-in request."""
        return {"Authorization": f"Bearer {self.access_token}"}

    @property
    def client(self) -> "Client":
        """A test client that is signed in."""
        return _client(self.headers)


@dataclass(frozen=True)
class AppUser:
    """A user of a project's app, with a token that the app's server had minted for both modes."""

    end_user: "EndUser"
    access_token: str = field(repr=False)

    @property
    def user_id(self) -> str:
        """The app's own id for this user."""
        return self.end_user.external_id

    @property
    def headers(self) -> dict[str, str]:
        """Headers of this user's requests."""
        return {"Authorization": f"Bearer {self.access_token}"}

    @property
    def client(self) -> "Client":
        """A test client that is signed in."""
        return _client(self.headers)


@dataclass(frozen=True)
class AppServer:
    """A project's server with its key."""

    key: str = field(repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """Headers of the server's requests."""
        return {"Authorization": f"Bearer {self.key}"}

    @property
    def client(self) -> "Client":
        """A test client that is signed in."""
        return _client(self.headers)


def _client(headers: dict[str, str]) -> "Client":
    from django.test import Client

    # Answers of 500 are answers here, as they are to a real client.
    return Client(headers=headers, raise_request_exception=False)


def create_developer(name: str, **fields: Any) -> Developer:
    """Register somebody whose address nobody else has, and sign them in."""
    from accounts.models import User
    from accounts.services.tokens import issue_login_tokens

    user = User.objects.create_user(f"{name}-{uuid.uuid4().hex[:12]}@example.com", PASSWORD, full_name=name, **fields)
    return Developer(user, issue_login_tokens(user=user).access_token)


def create_project(owner: Developer, name: str, **fields: Any) -> "Project":
    """Make a project of somebody."""
    from projects.services import projects

    return projects.create_project(
        owner=owner.user,
        **{"name": name, "slug": f"{name.lower()}-{uuid.uuid4().hex[:12]}", "allowed_origins": ["https://app.example"]}
        | fields,
    )


def add_member(project: "Project", member: Developer, role: str) -> None:
    """Give somebody a role in a project."""
    from projects.models import Role
    from projects.services import members

    members.add_member(project=project, email=member.user.email, role=Role(role))


def set_role(project: "Project", member: Developer, role: str) -> None:
    """Change a member's role."""
    from projects.models import Role
    from projects.services import members

    members.change_role(project=project, user_id=member.user.pk, role=Role(role))


def create_server(project: "Project", owner: Developer, *, is_test_mode: bool) -> AppServer:
    """Make a key for a project's server."""
    from projects.services.api_keys import create_api_key

    return AppServer(
        create_api_key(project=project, created_by=owner.user, name="server", is_test_mode=is_test_mode)[1]
    )


def create_app_user(project: "Project", name: str, *, test_only: bool = False) -> AppUser:
    """Make a user of a project's app and mint a token for them. They have been here before, in both modes."""
    from django.utils import timezone

    from projects.models import ApiKey, EndUser
    from projects.principals import ServerPrincipal
    from projects.services.end_user_tokens import mint_end_user_token

    server = ServerPrincipal(ApiKey(project=project, is_test_mode=False), project, "live")
    user_id = f"{name}-{uuid.uuid4().hex[:12]}"
    now = timezone.now()
    EndUser.objects.create(
        project=project, external_id=user_id, last_seen_at=now, appeared_test_at=now, appeared_live_at=now
    )
    token = mint_end_user_token(
        server=server, user_id=user_id, email=f"{user_id}@example.com", ttl_seconds=3600, test_only=test_only
    )
    return AppUser(token.end_user, token.access_token)


@pytest.fixture
def alice(database: None) -> Developer:
    """Owns acme."""
    return create_developer("alice")


@pytest.fixture
def acme(alice: Developer) -> "Project":
    """Alice's project."""
    return create_project(alice, "Acme")


@pytest.fixture
def bob(database: None, acme: "Project") -> Developer:
    """A developer in acme who does not own it."""
    bob = create_developer("bob")
    add_member(acme, bob, "developer")
    return bob


@pytest.fixture
def charlie(database: None) -> Developer:
    """Owns another project and must see nothing of acme."""
    return create_developer("charlie")


@pytest.fixture
def other_project(charlie: Developer) -> "Project":
    """Charlie's project."""
    return create_project(charlie, "Other")


@pytest.fixture
def dana(acme: "Project") -> AppUser:
    """A user of acme's app."""
    return create_app_user(acme, "dana")


@pytest.fixture
def erin(acme: "Project") -> AppUser:
    """Another user of acme's app."""
    return create_app_user(acme, "erin")


@pytest.fixture
def frank(other_project: "Project") -> AppUser:
    """A user of Charlie's app."""
    return create_app_user(other_project, "frank")


@pytest.fixture
def acme_server(acme: "Project", alice: Developer) -> AppServer:
    """Acme's server with a test key."""
    return create_server(acme, alice, is_test_mode=True)


@pytest.fixture
def acme_live_server(acme: "Project", alice: Developer) -> AppServer:
    """Acme's server with a live key."""
    return create_server(acme, alice, is_test_mode=False)


@pytest.fixture
def other_server(other_project: "Project", charlie: Developer) -> AppServer:
    """The server of Charlie's project with a test key."""
    return create_server(other_project, charlie, is_test_mode=True)
