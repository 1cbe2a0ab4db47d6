"""A project's connection to a LiteLLM proxy, and what each end user is to have there.

Invariants: `master_key` holds a ciphertext only, and never leaves by an answer; everything is kept per project and mode, and a mode
without an active connection has no effect anywhere; `desired` is written in the transaction that changes what a user holds.
"""

import uuid

from django.db import models
from django.db.models import Q, Value
from django.db.models.functions import Now

from common.encryption import SecretContext, decrypt, encrypt, mask
from common.ids import uuid7
from common.modes import MODE_CHOICES
from projects.models import EndUser, Project

NOTHING_DESIRED = Value({}, output_field=models.JSONField())


class ConnectionQuerySet(models.QuerySet["Connection"]):
    def for_project(self, project: Project | uuid.UUID) -> "ConnectionQuerySet":
        """Keep one project's connections."""
        return self.filter(project=project)

    def active(self) -> "ConnectionQuerySet":
        """Keep connections that are in use."""
        return self.filter(is_active=True)

    def litellm_of(self, project: Project | uuid.UUID, mode: str) -> "Connection | None":
        """Return the LiteLLM connection in use of a project and mode; None when there is none, which means no effect."""
        return self.for_project(project).active().filter(mode=mode, kind=Connection.Kind.LITELLM).first()


class Connection(models.Model):
    """Where a project's LiteLLM proxy is in one mode, and its master key."""

    class Kind(models.TextChoices):
        LITELLM = "litellm", "LiteLLM"

    class SpendReset(models.TextChoices):
        """Who sets a user's spend back to zero."""

        LITELLM = "litellm", "LiteLLM, by the calendar (UTC)"
        PAYMENT = "payment", "Each paid period"

    class Problem(models.TextChoices):
        """What keeps the connection from working; "" = nothing that is known."""

        KEY_REJECTED = "key_rejected", "The key is refused"
        NOT_ADMIN = "not_admin", "The key may not see users"
        KEY_OVER_BUDGET = "key_over_budget", "The key is over its own budget"
        ADDRESS_REFUSED = "address_refused", "The address may not be called"
        KEY_UNREADABLE = "key_unreadable", "The stored key cannot be read"
        UNREACHABLE = "unreachable", "No answer"
        UNEXPECTED = "unexpected", "The answer is not LiteLLM's"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="connections")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    kind = models.CharField(max_length=16, choices=Kind.choices, default=Kind.LITELLM)
    base_url = models.CharField(max_length=2048)
    master_key = models.TextField(blank=True, editable=False)
    master_key_masked = models.CharField(max_length=64, blank=True, editable=False)
    # A user's id there is this and the app's own id. It parts projects and modes that share one proxy.
    user_id_prefix = models.CharField(max_length=100, blank=True)
    spend_reset = models.CharField(max_length=16, choices=SpendReset.choices, default=SpendReset.LITELLM)
    # Paid periods that began before this had the spend set back already: the database was restored from a backup, LiteLLM was not.
    spend_settled_until = models.DateTimeField(null=True, blank=True)
    # Whether users are made with their e-mail address, as far as it is known.
    share_email = models.BooleanField(default=True)
    is_active = models.BooleanField(default=True)
    problem = models.CharField(max_length=32, choices=Problem.choices, blank=True, default="")
    problem_since = models.DateTimeField(null=True, blank=True)
    # When the proxy last answered as it should.
    answered_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    ENCRYPTED_COLUMNS = ("master_key",)

    objects = ConnectionQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "mode", "kind"], name="connection_once_per_mode"),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="connection_mode"),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} ({self.mode}) at {self.base_url}"

    def __repr__(self) -> str:
        return f"<Connection {self.project_id} {self.mode} {self.kind} {self.master_key_masked}>"

    def encryption_context(self, column: str) -> SecretContext:
        """Say what the ciphertext of a column is bound to, for the rotation of keys."""
        return SecretContext("entitlements_connection", str(self.project_id), self.mode, f"{self.kind}.{column}")

    def set_master_key(self, plaintext: str) -> None:
        """Encrypt and keep the key, or forget it when it is empty; saving is the caller's."""
        self.master_key = encrypt(plaintext, self.encryption_context("master_key")) if plaintext else ""
        self.master_key_masked = mask(plaintext) if plaintext else ""

    def get_master_key(self) -> str:
        """Decrypt the key. Raises common.encryption.DecryptionError."""
        return decrypt(self.master_key, self.encryption_context("master_key"))


class ProvisionedUserQuerySet(models.QuerySet["ProvisionedUser"]):
    def for_project(self, project: Project | uuid.UUID) -> "ProvisionedUserQuerySet":
        """Keep one project's users."""
        return self.filter(project=project)

    def in_mode(self, mode: str) -> "ProvisionedUserQuerySet":
        """Keep one mode's users."""
        return self.filter(mode=mode)


class ProvisionedUser(models.Model):
    """One end user at LiteLLM: what they are to have there, and what they had when they were last read."""

    class Status(models.TextChoices):
        PENDING = "pending", "Pending"
        APPLIED = "applied", "As it should be"
        FAILED = "failed", "Failed"
        # The connection was deleted: the user keeps the last limits there until somebody connects it again.
        LEFT_BEHIND = "left_behind", "Left behind"

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="provisioned_users")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    end_user = models.ForeignKey(EndUser, on_delete=models.CASCADE, related_name="provisioned_users")
    litellm_user_id = models.CharField(max_length=400)
    # max_budget_cents, budget_duration, tpm_limit, rpm_limit (null = no limit), plan. See services/provisioning.py.
    desired = models.JSONField(default=dict, db_default=NOTHING_DESIRED)
    desired_revision = models.PositiveIntegerField(default=0, db_default=0)
    applied_revision = models.PositiveIntegerField(default=0, db_default=0)
    # Names the paid period that the spend was last to be set back for, and was.
    spend_reset_key = models.CharField(max_length=300, blank=True, default="", db_default="")
    spend_reset_done = models.CharField(max_length=300, blank=True, default="", db_default="")
    observed = models.JSONField(null=True, blank=True)
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.PENDING, db_default="pending")
    error = models.TextField(blank=True, default="", db_default="")
    failed_at = models.DateTimeField(null=True, blank=True)
    # LiteLLM has the address at another user, so this one is there without it.
    email_refused = models.BooleanField(default=False, db_default=False)
    drift_count = models.PositiveIntegerField(default=0, db_default=0)
    last_read_at = models.DateTimeField(null=True, blank=True)
    keys_read_at = models.DateTimeField(null=True, blank=True)
    # Keys that belong to a team: LiteLLM does not hold them to the user's budget.
    team_keys = models.PositiveIntegerField(default=0, db_default=0)
    created_at = models.DateTimeField(db_default=Now())

    objects = ProvisionedUserQuerySet.as_manager()

    class Meta:
        verbose_name = "LiteLLM user"
        constraints = [
            models.UniqueConstraint(fields=["project", "mode", "end_user"], name="provisioned_user_once"),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="provisioned_user_mode"),
        ]
        indexes = [
            models.Index(fields=["project", "mode", "last_read_at"], name="provisioned_user_read"),
            models.Index(fields=["project", "mode", "status"], name="provisioned_user_status"),
        ]

    def __str__(self) -> str:
        return f"{self.litellm_user_id} ({self.mode})"
