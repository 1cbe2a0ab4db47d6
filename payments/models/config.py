"""A project's Stripe configuration: one row per project, one set of credentials per mode, every secret encrypted."""

import datetime as dt
import uuid

from django.db import models
from django.db.models import Case, Exists, OuterRef, Q, Value, When

from common.encryption import SecretContext, decrypt, encrypt, key_id_of, mask
from common.ids import uuid7
from common.modes import MODE_CHOICES
from projects.models import Project

EMPTY_LIST = Value([], output_field=models.JSONField())
SECRET_FIELDS = ("secret_key", "publishable_key", "webhook_secret", "previous_webhook_secret")


class StripeConfigQuerySet(models.QuerySet["StripeConfig"]):
    def for_project(self, project: Project | uuid.UUID) -> "StripeConfigQuerySet":
        """Keep one project's configuration."""
        return self.filter(project=project)


class StripeConfig(models.Model):
    """Whether a project takes payments at all. Deactivated: history stays, webhooks stop verifying."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="stripe_config")
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(null=True, blank=True)

    objects = StripeConfigQuerySet.as_manager()

    class Meta:
        verbose_name = "Stripe configuration"

    def __str__(self) -> str:
        return f"Stripe configuration of {self.project_id}"


class StripeCredentialsQuerySet(models.QuerySet["StripeCredentials"]):
    def for_project(self, project: Project | uuid.UUID) -> "StripeCredentialsQuerySet":
        """Keep one project's credentials."""
        return self.filter(project=project)

    def usable(self) -> "StripeCredentialsQuerySet":
        """Keep credentials of active projects with an active configuration."""
        return self.filter(config__is_active=True, project__is_active=True)

    def with_sharing(self) -> "StripeCredentialsQuerySet":
        """Add `account_is_shared`: whether another project is, or may be, on the same account in the same mode.

        An account that its key may not name is possibly any other project's. Alone in its mode, it is not shared.
        """
        others = StripeCredentials.objects.usable().filter(mode=OuterRef("mode")).exclude(project=OuterRef("project"))
        nameless = Q(stripe_account_id="") & ~Q(secret_key="")
        return self.annotate(
            account_is_shared=Case(
                When(stripe_account_id="", then=Exists(others.exclude(secret_key=""))),
                default=Exists(others.filter(nameless | Q(stripe_account_id=OuterRef("stripe_account_id")))),
            )
        )


class StripeCredentials(models.Model):
    """One mode's keys. Columns hold ciphertexts only; `set_secret` and `get_secret` are the way in and out."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    config = models.ForeignKey(StripeConfig, on_delete=models.CASCADE, related_name="credentials")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="stripe_credentials")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    secret_key = models.TextField(blank=True, editable=False)
    publishable_key = models.TextField(blank=True, editable=False)
    webhook_secret = models.TextField(blank=True, editable=False)
    previous_webhook_secret = models.TextField(blank=True, editable=False)
    previous_webhook_secret_expires_at = models.DateTimeField(null=True, blank=True)
    secret_key_masked = models.CharField(max_length=64, blank=True, editable=False)
    publishable_key_masked = models.CharField(max_length=64, blank=True, editable=False)
    webhook_secret_masked = models.CharField(max_length=64, blank=True, editable=False)
    # A keyed fingerprint, so that the shared webhook URL can refuse a secret that another project already uses there.
    webhook_secret_fingerprint = models.CharField(max_length=64, blank=True, editable=False, db_index=True)
    stripe_account_id = models.CharField(max_length=255, blank=True)
    # The endpoint in the customer's Stripe account, when this service made it; "" when it was set up by hand.
    webhook_endpoint_id = models.CharField(max_length=255, blank=True, default="", db_default="")
    # The endpoint before it, while a roll lets both deliver. It goes when the previous secret does.
    previous_webhook_endpoint_id = models.CharField(max_length=255, blank=True, default="", db_default="")
    webhook_status = models.CharField(max_length=32, blank=True)
    webhook_error = models.TextField(blank=True, default="", db_default="")
    webhook_checked_at = models.DateTimeField(null=True, blank=True)
    configured_at = models.DateTimeField(null=True, blank=True)
    # Since when this account is followed: saving its keys again does not move it, another account's key does.
    followed_since = models.DateTimeField(null=True, blank=True, editable=False)
    # When a signed probe last came back through the public address, and when the mode was opened: live sells nothing before.
    probed_at = models.DateTimeField(null=True, blank=True, editable=False)
    opened_at = models.DateTimeField(null=True, blank=True, editable=False)
    # What the key doctor found last: [{"permission", "ok", "message", "features"}], and when.
    diagnosis = models.JSONField(default=list, db_default=EMPTY_LIST, blank=True, editable=False)
    diagnosed_at = models.DateTimeField(null=True, blank=True, editable=False)
    # Bumped whenever a key changes, so that cached clients and verifying secrets notice.
    version = models.PositiveIntegerField(default=1)

    ENCRYPTED_COLUMNS = SECRET_FIELDS

    objects = StripeCredentialsQuerySet.as_manager()

    class Meta:
        verbose_name = "Stripe credentials"
        verbose_name_plural = "Stripe credentials"
        constraints = [
            models.UniqueConstraint(fields=["project", "mode"], name="stripe_credentials_once_per_mode"),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="stripe_credentials_mode"),
        ]
        indexes = [models.Index(fields=["stripe_account_id", "mode"], name="stripe_credentials_account")]

    def __str__(self) -> str:
        return f"{self.mode} credentials of {self.project_id}"

    def __repr__(self) -> str:
        return f"<StripeCredentials {self.project_id} {self.mode} {self.secret_key_masked}>"

    def secret_context(self, field: str) -> SecretContext:
        """Say what a secret of this row is bound to."""
        return SecretContext("payments_stripecredentials", str(self.project_id), self.mode, field)

    def encryption_context(self, column: str) -> SecretContext:
        """Say what the ciphertext of a column is bound to, for the rotation of keys."""
        return self.secret_context(column)

    def set_secret(self, field: str, plaintext: str) -> None:
        """Encrypt a secret into its column and keep its mask. Does not save."""
        if field not in SECRET_FIELDS:
            raise ValueError(f"{field} is not a secret of Stripe credentials")
        setattr(self, field, encrypt(plaintext, self.secret_context(field)) if plaintext else "")
        if field != "previous_webhook_secret":
            setattr(self, f"{field}_masked", mask(plaintext) if plaintext else "")

    def get_secret(self, field: str) -> str:
        """Decrypt one secret; empty when it was never set. Raises DecryptionError."""
        stored: str = getattr(self, field)
        return decrypt(stored, self.secret_context(field)) if stored else ""

    def secret_key_ids(self) -> set[str]:
        """Name the encryption keys that this row's ciphertexts need."""
        return {key_id_of(getattr(self, field)) for field in SECRET_FIELDS if getattr(self, field)}

    def webhook_secrets(self, at: dt.datetime) -> list[str]:
        """Return the secrets that verify a delivery at this moment: the current one, and a rolled one until it expires."""
        secrets = [self.get_secret("webhook_secret")] if self.webhook_secret else []
        rolled_until = self.previous_webhook_secret_expires_at
        if self.previous_webhook_secret and rolled_until and at < rolled_until:
            secrets.append(self.get_secret("previous_webhook_secret"))
        return secrets
