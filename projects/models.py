"""A project is one app of a developer: its members, keys, identity provider and end users.

Every row that belongs to a project has `project`, and every query on such rows starts at `for_project`.
"""

import uuid
from typing import Any, Self

from django.conf import settings
from django.contrib.postgres.indexes import OpClass
from django.db import models
from django.db.models.functions import Upper
from django.utils import timezone

from common.encryption import SecretContext, decrypt, encrypt
from common.ids import uuid7
from common.modes import Mode, mode_of


class ProjectQuerySet(models.QuerySet["Project"]):
    """Projects, as far as somebody may see them."""

    def for_user(self, user: Any) -> Self:
        """Keep the projects that the user is a member of."""
        return self.filter(
            pk__in=Membership.objects.filter(user_id=user.pk).values("project_id"), deleted_at__isnull=True
        )

    def existing(self) -> Self:
        """Leave deleted projects out."""
        return self.filter(deleted_at__isnull=True)


class Project(models.Model):
    """One app. Its slug names it in server-to-server addresses."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    name = models.CharField(max_length=255)
    slug = models.SlugField(max_length=63, unique=True)
    description = models.CharField(max_length=1000, null=True, blank=True)
    is_active = models.BooleanField(default=True)
    allowed_origins = models.JSONField(default=list, blank=True)
    default_success_url = models.CharField(max_length=2048, null=True, blank=True)
    default_cancel_url = models.CharField(max_length=2048, null=True, blank=True)
    default_return_url = models.CharField(max_length=2048, null=True, blank=True)
    shared_webhook = models.BooleanField(default=False, help_text="Take part in the shared webhook address.")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = ProjectQuerySet.as_manager()

    class Meta:
        indexes = [models.Index(fields=["-created_at", "-id"], name="project_newest")]

    def __str__(self) -> str:
        return self.name


class ProjectOwnedQuerySet(models.QuerySet[Any]):
    """Rows that belong to a project."""

    def for_project(self, project: Project | uuid.UUID) -> Self:
        """Keep the rows of one project."""
        return self.filter(project=project)


class Role(models.TextChoices):
    """What a member may do: a viewer reads, a developer changes, an owner also manages members and deletes."""

    OWNER = "owner", "Owner"
    DEVELOPER = "developer", "Developer"
    VIEWER = "viewer", "Viewer"


ROLE_RANK = {Role.VIEWER: 1, Role.DEVELOPER: 2, Role.OWNER: 3}


class Membership(models.Model):
    """A user's role in a project."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=16, choices=Role.choices, default=Role.VIEWER)
    created_at = models.DateTimeField(default=timezone.now, editable=False)

    objects = ProjectOwnedQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "user"], name="membership_once_per_user"),
            models.CheckConstraint(condition=models.Q(role__in=Role.values), name="membership_role_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user} ({self.role})"


class ApiKey(models.Model):
    """A server's key. Only its SHA-256 and its first eight characters are kept."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=255)
    key_hash = models.CharField(max_length=64, unique=True, editable=False)
    key_prefix = models.CharField(max_length=8, editable=False)
    is_test_mode = models.BooleanField(default=True)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+", editable=False
    )

    objects = ProjectOwnedQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.name} ({self.key_prefix}…)"

    @property
    def mode(self) -> Mode:
        """The mode that this key acts in."""
        return mode_of(self.is_test_mode)


class ProviderKind(models.TextChoices):
    """How a project's identity provider signs."""

    JWKS = "jwks", "Public keys at an address (JWKS)"
    HS256 = "hs256", "Shared secret (HS256)"


class IdentityProvider(models.Model):
    """Whose tokens a project accepts for its end users, besides those that this service mints."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="identity_provider")
    kind = models.CharField(max_length=8, choices=ProviderKind.choices)
    issuer = models.CharField(max_length=500)
    audience = models.CharField(max_length=500)
    jwks_url = models.CharField(max_length=2048, blank=True, default="")
    hs256_secret_encrypted = models.TextField(blank=True, default="", editable=False)
    user_id_claim = models.CharField(max_length=100, default="sub")
    email_claim = models.CharField(max_length=100, default="email")
    test_only = models.BooleanField(default=False, help_text="Its tokens never reach live mode.")
    is_active = models.BooleanField(default=True)
    jwks_document = models.JSONField(null=True, blank=True, editable=False)
    jwks_fetched_at = models.DateTimeField(null=True, blank=True, editable=False)
    jwks_attempted_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    updated_at = models.DateTimeField(auto_now=True)

    ENCRYPTED_COLUMNS = ("hs256_secret_encrypted",)

    objects = ProjectOwnedQuerySet.as_manager()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(kind__in=ProviderKind.values), name="identity_provider_kind_known"
            )
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.issuer}"

    def __repr__(self) -> str:
        return f"<IdentityProvider {self.pk} {self.kind}>"

    def _secret_context(self) -> SecretContext:
        return SecretContext("projects_identityprovider", str(self.project_id), "", "hs256_secret")

    def encryption_context(self, column: str) -> SecretContext:
        """Say what the ciphertext of a column is bound to, for the rotation of keys."""
        return self._secret_context()

    def set_hs256_secret(self, secret: str) -> None:
        """Encrypt and keep the shared secret; saving is the caller's."""
        self.hs256_secret_encrypted = encrypt(secret, self._secret_context())

    def hs256_secret(self) -> str:
        """Decrypt the shared secret. Raises common.encryption.DecryptionError."""
        return decrypt(self.hs256_secret_encrypted, self._secret_context())


class EndUserQuerySet(ProjectOwnedQuerySet):
    """End users of a project."""

    def by_external_id(self, project: Project | uuid.UUID, external_id: str) -> Self:
        """Keep the one that the app knows by this id."""
        return self.for_project(project).filter(external_id=external_id)


class EndUser(models.Model):
    """A user of a project's app; `external_id` is the app's own id for them."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="end_users")
    external_id = models.CharField(max_length=255)
    email = models.EmailField(max_length=254, null=True, blank=True)
    is_active = models.BooleanField(default=True)
    banned_at = models.DateTimeField(null=True, blank=True)
    # What identified the person was taken out of every table then; the row stays for the books.
    anonymised_at = models.DateTimeField(null=True, blank=True, editable=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    last_seen_at = models.DateTimeField(null=True, blank=True)
    # When they first came with a token or were named by the app's server, in each mode.
    appeared_test_at = models.DateTimeField(null=True, blank=True, editable=False)
    appeared_live_at = models.DateTimeField(null=True, blank=True, editable=False)

    objects = EndUserQuerySet.as_manager()

    class Meta:
        permissions = [
            ("ban_enduser", "Can ban end users and let them in again"),
            ("anonymise_enduser", "Can hand out and erase what is kept about an end user"),
        ]
        constraints = [models.UniqueConstraint(fields=["project", "external_id"], name="end_user_once_per_project")]
        indexes = [
            models.Index(fields=["project", "-created_at", "-id"], name="end_user_newest"),
            # The search of staff over all projects: by the beginning, whatever the case.
            models.Index(OpClass(Upper("email"), "text_pattern_ops"), name="end_user_email_begins"),
            models.Index(OpClass(Upper("external_id"), "text_pattern_ops"), name="end_user_id_begins"),
        ]

    def __str__(self) -> str:
        return self.external_id


class IdempotencyState(models.TextChoices):
    """How far the request of a key has come."""

    IN_FLIGHT = "in_flight", "In flight"
    DONE = "done", "Done"


class IdempotencyRecord(models.Model):
    """The first answer to a POST with an Idempotency-Key. Answers that hold a secret are not kept, only that they were given."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    caller = models.CharField(max_length=100, help_text="Who asked: user:…, key:… or end_user:….")
    key = models.CharField(max_length=255)
    method = models.CharField(max_length=8)
    path = models.CharField(max_length=2048)
    request_hash = models.CharField(max_length=64)
    state = models.CharField(max_length=16, choices=IdempotencyState.choices, default=IdempotencyState.IN_FLIGHT)
    claim = models.UUIDField(
        default=uuid.uuid4, editable=False, help_text="Whose attempt this is; a late one may not answer."
    )
    lease_until = models.DateTimeField()
    status_code = models.PositiveSmallIntegerField(null=True, blank=True)
    response_body = models.JSONField(null=True, blank=True)
    holds_secret = models.BooleanField(default=False)
    created_at = models.DateTimeField(default=timezone.now, editable=False, db_index=True)

    objects = ProjectOwnedQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["project", "caller", "key"], name="idempotency_key_once_per_caller", nulls_distinct=False
            )
        ]

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.state}"
