"""A project's connection to GitHub: which organisation and team its licences let people into, and with which token.

Invariants: `token` holds a ciphertext only, and never leaves by an answer; everything is kept per project and mode, and a mode
without an active connection invites and removes nobody.
"""

import uuid

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from common.encryption import SecretContext, decrypt, encrypt, mask
from common.ids import uuid7
from common.modes import MODE_CHOICES
from projects.models import Project


class GitHubConnectionQuerySet(models.QuerySet["GitHubConnection"]):
    def for_project(self, project: Project | uuid.UUID) -> "GitHubConnectionQuerySet":
        """Keep one project's connections."""
        return self.filter(project=project)

    def active(self) -> "GitHubConnectionQuerySet":
        """Keep connections that are in use."""
        return self.filter(is_active=True)

    def current_for(self, project: Project | uuid.UUID, mode: str) -> "GitHubConnection | None":
        """Return the connection in use of a project and mode; None when there is none, which means no effect."""
        return self.for_project(project).active().filter(mode=mode).first()


class GitHubConnection(models.Model):
    """Where licences of a project and mode let people in, and the token that does it."""

    class Problem(models.TextChoices):
        """What keeps the connection from working; "" = nothing that is known."""

        TOKEN_REJECTED = "token_rejected", "The token is refused"
        TOKEN_UNREADABLE = "token_unreadable", "The stored token cannot be read"
        NOT_PERMITTED = "not_permitted", "The token may not manage members"
        NOT_OWNER = "not_owner", "The token's user does not own the organisation"
        SINGLE_SIGN_ON = "single_sign_on", "The token is not authorised for single sign-on"
        ORGANIZATION_MISSING = "organization_missing", "The organisation is not there"
        TEAM_MISSING = "team_missing", "The team is not there"
        BASE_PERMISSION = "base_permission", "Every member of the organisation may see every repository"
        UNREACHABLE = "unreachable", "No answer"
        UNEXPECTED = "unexpected", "The answer is not GitHub's"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="github_connections")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    organization = models.CharField(max_length=100)
    # The team of licence products that name none of their own.
    team_slug = models.CharField(max_length=255)
    token = models.TextField(blank=True, editable=False)
    token_masked = models.CharField(max_length=64, blank=True, editable=False)
    # Whose token it is and when it ends, as GitHub said; "" and null = not known.
    token_login = models.CharField(max_length=100, blank=True, default="")
    token_expires_at = models.DateTimeField(null=True, blank=True)
    is_active = models.BooleanField(default=True)
    problem = models.CharField(max_length=32, choices=Problem.choices, blank=True, default="")
    problem_since = models.DateTimeField(null=True, blank=True)
    # When GitHub last answered as it should.
    answered_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)

    ENCRYPTED_COLUMNS = ("token",)

    objects = GitHubConnectionQuerySet.as_manager()

    class Meta:
        verbose_name = "GitHub connection"
        constraints = [
            models.UniqueConstraint(fields=["project", "mode"], name="github_connection_once_per_mode"),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="github_connection_mode"),
        ]

    def __str__(self) -> str:
        return f"GitHub ({self.mode}): {self.organization}/{self.team_slug}"

    def __repr__(self) -> str:
        return f"<GitHubConnection {self.project_id} {self.mode} {self.organization} {self.token_masked}>"

    def encryption_context(self, column: str) -> SecretContext:
        """Say what the ciphertext of a column is bound to, for the rotation of keys."""
        return SecretContext("licenses_githubconnection", str(self.project_id), self.mode, column)

    def set_token(self, plaintext: str) -> None:
        """Encrypt and keep the token, or forget it when it is empty; saving is the caller's."""
        self.token = encrypt(plaintext, self.encryption_context("token")) if plaintext else ""
        self.token_masked = mask(plaintext) if plaintext else ""

    def get_token(self) -> str:
        """Decrypt the token. Raises common.encryption.DecryptionError."""
        return decrypt(self.token, self.encryption_context("token"))
