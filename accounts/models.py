"""Who signs in: developers and staff. End users of the projects are `projects.EndUser`, never a User.

An e-mail address is stored in lower case, so that one person cannot register twice by its case.
"""

from typing import Any, ClassVar

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models
from django.db.models.functions import Lower
from django.utils import timezone

from common.ids import uuid7

ROLE_ADMIN = "Admin"
ROLE_MODERATOR = "Moderator"
ROLE_SUPPORT = "Support"
STAFF_ROLES = (ROLE_ADMIN, ROLE_MODERATOR, ROLE_SUPPORT)


def normalize_email(email: str) -> str:
    """Bring an address to its stored form."""
    return email.strip().lower()


class UserManager(BaseUserManager["User"]):
    """Looks users up whatever the case of the address."""

    def get_by_natural_key(self, username: str | None) -> "User":
        return self.get(email=normalize_email(username or ""))

    def create_user(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Create a developer who can sign in."""
        user = self.model(email=normalize_email(email), **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, email: str, password: str | None = None, **fields: Any) -> "User":
        """Create a user who may do everything."""
        return self.create_user(email, password, **{"is_staff": True, "is_superuser": True, **fields})


class User(AbstractBaseUser, PermissionsMixin):
    """A developer or a member of staff."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    email = models.EmailField("e-mail address", max_length=254, unique=True)
    full_name = models.CharField(max_length=255, blank=True, default="")
    is_active = models.BooleanField(default=True)
    is_staff = models.BooleanField("may open the admin", default=False)
    date_joined = models.DateTimeField(default=timezone.now, editable=False)
    tokens_valid_from = models.DateTimeField(
        default=timezone.now,
        editable=False,
        help_text="Tokens issued before this moment are refused. It moves when the password changes.",
    )

    objects = UserManager()

    USERNAME_FIELD = "email"
    EMAIL_FIELD = "email"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        constraints = [
            models.CheckConstraint(condition=models.Q(email=Lower("email")), name="user_email_is_lower_case")
        ]
        ordering = ["email"]

    def __str__(self) -> str:
        return self.email

    def clean(self) -> None:
        super().clean()
        self.email = normalize_email(self.email)

    def set_password(self, raw_password: str | None) -> None:
        """Set the password and refuse every token issued so far, from the next request on."""
        super().set_password(raw_password)
        # A rehash of the same password saves only the column `password`, so it signs nobody out.
        self.tokens_valid_from = timezone.now()

    def get_full_name(self) -> str:
        return self.full_name or self.email

    def get_short_name(self) -> str:
        return self.full_name.split(" ")[0] if self.full_name else self.email


class TokenFamily(models.Model):
    """One sign-in and all tokens that descend from it by refreshing. Ends as a whole."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="token_families")
    created_at = models.DateTimeField(default=timezone.now, editable=False)
    ended_at = models.DateTimeField(null=True, blank=True)
    end_reason = models.CharField(max_length=32, blank=True, default="")

    class Meta:
        verbose_name_plural = "token families"

    def __str__(self) -> str:
        return f"{self.user_id} since {self.created_at:%Y-%m-%d %H:%M}"


class FamilyToken(models.Model):
    """The hash of a token of a family. It outlives the token itself, so that a second use of a refresh token is noticed."""

    token_hash = models.CharField(primary_key=True, max_length=64)
    family = models.ForeignKey(TokenFamily, on_delete=models.CASCADE, related_name="tokens")
    is_refresh = models.BooleanField()
    used_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(default=timezone.now, editable=False, db_index=True)

    def __str__(self) -> str:
        return f"{'refresh' if self.is_refresh else 'access'} token {self.token_hash[:8]}"
