"""Developers who call the API with a real access token."""

import uuid
from dataclasses import dataclass
from typing import Any

from django.test import Client

from accounts.models import User
from accounts.services.tokens import issue_login_tokens
from projects.models import Membership, Project, Role


@dataclass(frozen=True)
class Developer:
    """A signed-in developer."""

    user: User
    token: str

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Call the API; a body is sent as JSON."""
        options: dict[str, Any] = {} if body is None else {"data": body, "content_type": "application/json"}
        client = Client(headers={"Authorization": f"Bearer {self.token}"} | headers, raise_request_exception=False)
        return getattr(client, method)(path, **options)

    def get(self, path: str) -> Any:
        """Read."""
        return self.request("get", path)

    def put(self, path: str, body: Any) -> Any:
        """Replace."""
        return self.request("put", path, body)

    def post(self, path: str, body: Any) -> Any:
        """Create or do."""
        return self.request("post", path, body)

    def delete(self, path: str) -> Any:
        """Remove."""
        return self.request("delete", path)


def create_project(name: str = "Acme", **fields: Any) -> Project:
    """Make a project that has no member yet."""
    return Project.objects.create(name=name, **{"slug": f"p-{uuid.uuid4().hex[:16]}"} | fields)


def create_developer(*projects: Project, role: str = Role.OWNER) -> Developer:
    """Register a developer, make them a member of the projects, and sign them in."""
    user = User.objects.create_user(f"{uuid.uuid4().hex[:16]}@example.com", "correct horse battery")
    for project in projects:
        Membership.objects.create(project=project, user=user, role=role)
    return Developer(user, issue_login_tokens(user=user).access_token)


def config_path(project: Project | uuid.UUID | str, leaf: str = "config") -> str:
    """Return the path of a project's Stripe configuration, or of what is beside it."""
    key = project.pk if isinstance(project, Project) else project
    return f"/api/v1/payments/stripe/projects/{key}/{leaf}"
