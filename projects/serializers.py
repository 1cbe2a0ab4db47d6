"""Shapes of the project endpoints."""

from typing import Any

from rest_framework import serializers

from common.drf_fields import OneOfField, PlainCharField, PlainEmailField
from projects.models import ApiKey, EndUser, IdentityProvider, Membership, Project, ProviderKind, Role
from projects.services.end_user_tokens import DEFAULT_TTL_SECONDS, MAX_TTL_SECONDS
from projects.services.end_users import is_external_id
from projects.services.projects import clean_slug


class SlugField(PlainCharField):
    """A project's name in addresses."""

    default_error_messages = {"slug": "Use 1 to 63 lower-case letters, digits and hyphens; no hyphen first or last."}

    def to_internal_value(self, data: Any) -> str:
        try:
            return clean_slug(super().to_internal_value(data))
        except ValueError:
            self.fail("slug")


class ExternalIdField(PlainCharField):
    """The app's own id for a user: exactly as sent, 1 to 255 characters."""

    def __init__(self, **options: Any) -> None:
        super().__init__(min_length=1, max_length=255, trim_whitespace=False, **options)


class CreateProjectSerializer(serializers.Serializer[Any]):
    """POST /projects/."""

    name = PlainCharField(max_length=255)
    description = PlainCharField(max_length=1000, multiline=True, required=False, allow_null=True, allow_blank=True)
    slug = SlugField(max_length=63, required=False, allow_null=True)
    allowed_origins = serializers.ListField(child=PlainCharField(max_length=300), required=False, max_length=50)
    default_success_url = PlainCharField(max_length=2048, required=False, allow_null=True, allow_blank=True)
    default_cancel_url = PlainCharField(max_length=2048, required=False, allow_null=True, allow_blank=True)
    default_return_url = PlainCharField(max_length=2048, required=False, allow_null=True, allow_blank=True)
    shared_webhook = serializers.BooleanField(required=False)


class UpdateProjectSerializer(CreateProjectSerializer):
    """PUT /projects/{id}: what is left out is kept."""

    name = PlainCharField(max_length=255, required=False)
    is_active = serializers.BooleanField(required=False)


class ProjectSerializer(serializers.ModelSerializer[Project]):
    """A whole project."""

    class Meta:
        model = Project
        fields = [
            "id",
            "name",
            "slug",
            "description",
            "is_active",
            "allowed_origins",
            "default_success_url",
            "default_cancel_url",
            "default_return_url",
            "shared_webhook",
            "created_at",
            "updated_at",
        ]
        read_only_fields = fields
        extra_kwargs = {"allowed_origins": {"help_text": "Exact origins, for instance https://app.example."}}

    allowed_origins = serializers.ListField(child=serializers.CharField(), read_only=True)


class ProjectListSerializer(serializers.Serializer[Any]):
    """GET /projects/."""

    projects = ProjectSerializer(many=True)
    total = serializers.IntegerField(required=False)
    page = serializers.IntegerField(required=False)
    page_size = serializers.IntegerField(required=False)
    next_cursor = serializers.CharField(required=False, allow_null=True)


class CreateApiKeySerializer(serializers.Serializer[Any]):
    """POST /projects/{id}/api-keys."""

    name = PlainCharField(max_length=255)
    is_test_mode = serializers.BooleanField(default=True)


class ApiKeySerializer(serializers.ModelSerializer[ApiKey]):
    """An API key without the key."""

    class Meta:
        model = ApiKey
        fields = ["id", "name", "key_prefix", "is_test_mode", "is_active", "created_at", "last_used_at"]
        read_only_fields = fields


class NewApiKeySerializer(ApiKeySerializer):
    """The same with the key, shown once."""

    key = serializers.CharField(read_only=True)

    class Meta(ApiKeySerializer.Meta):
        fields = ["id", "name", "key", "key_prefix", "is_test_mode", "is_active", "created_at"]
        read_only_fields = fields


class ApiKeyListSerializer(serializers.Serializer[Any]):
    """GET /projects/{id}/api-keys."""

    api_keys = ApiKeySerializer(many=True)
    total = serializers.IntegerField()


class AddMemberSerializer(serializers.Serializer[Any]):
    """POST /projects/{id}/members."""

    email = PlainEmailField()
    role = OneOfField(choices=Role.choices, default=Role.VIEWER)


class ChangeRoleSerializer(serializers.Serializer[Any]):
    """PUT /projects/{id}/members/{user_id}."""

    role = OneOfField(choices=Role.choices)


class MemberSerializer(serializers.ModelSerializer[Membership]):
    """A member of a project."""

    user_id = serializers.UUIDField(source="user.pk", read_only=True)
    email = serializers.EmailField(source="user.email", read_only=True)
    full_name = serializers.SerializerMethodField()

    class Meta:
        model = Membership
        fields = ["user_id", "email", "full_name", "role", "created_at"]
        read_only_fields = fields

    def get_full_name(self, member: Membership) -> str | None:
        """Return the name, or null when none was given."""
        return member.user.full_name or None


class MemberListSerializer(serializers.Serializer[Any]):
    """GET /projects/{id}/members."""

    members = MemberSerializer(many=True)
    total = serializers.IntegerField()


class EndUserSerializer(serializers.ModelSerializer[EndUser]):
    """An end user of a project."""

    class Meta:
        model = EndUser
        fields = ["id", "external_id", "email", "is_active", "banned_at", "created_at", "last_seen_at"]
        read_only_fields = fields


class EndUserListSerializer(serializers.Serializer[Any]):
    """GET /projects/{id}/users."""

    users = EndUserSerializer(many=True)
    total = serializers.IntegerField(required=False)
    page = serializers.IntegerField(required=False)
    page_size = serializers.IntegerField(required=False)
    next_cursor = serializers.CharField(required=False, allow_null=True)


class ChangeEndUserSerializer(serializers.Serializer[Any]):
    """PATCH /projects/{id}/users/{user_id}."""

    is_active = serializers.BooleanField(help_text="false bans the user.")
    reason = PlainCharField(
        max_length=1000,
        multiline=True,
        required=False,
        allow_null=True,
        allow_blank=True,
        help_text="Kept in the action log.",
    )


class PutIdentityProviderSerializer(serializers.Serializer[Any]):
    """PUT /projects/{id}/identity-provider."""

    kind = OneOfField(choices=ProviderKind.choices)
    issuer = PlainCharField(max_length=500)
    audience = PlainCharField(max_length=500)
    jwks_url = PlainCharField(max_length=2048, required=False, allow_null=True)
    hs256_secret = PlainCharField(
        max_length=4096,
        required=False,
        allow_null=True,
        trim_whitespace=False,
        write_only=True,
        help_text="At least 32 bytes; left out or null keeps the one that is stored. Never shown.",
    )
    user_id_claim = PlainCharField(max_length=100, required=False)
    email_claim = PlainCharField(max_length=100, required=False)
    test_only = serializers.BooleanField(required=False)
    is_active = serializers.BooleanField(required=False)


class IdentityProviderSerializer(serializers.ModelSerializer[IdentityProvider]):
    """A project's identity provider, without its secret."""

    jwks_url = serializers.SerializerMethodField()
    has_hs256_secret = serializers.SerializerMethodField()

    class Meta:
        model = IdentityProvider
        fields = [
            "id",
            "kind",
            "issuer",
            "audience",
            "jwks_url",
            "has_hs256_secret",
            "user_id_claim",
            "email_claim",
            "test_only",
            "is_active",
            "jwks_fetched_at",
            "created_at",
            "updated_at",
        ]
        read_only_fields = fields

    def get_jwks_url(self, provider: IdentityProvider) -> str | None:
        """Return the address of the key set, or null for a shared secret."""
        return provider.jwks_url or None

    def get_has_hs256_secret(self, provider: IdentityProvider) -> bool:
        """Say whether a shared secret is stored."""
        return bool(provider.hs256_secret_encrypted)


class MintTokenSerializer(serializers.Serializer[Any]):
    """POST /projects/{id}/end-user-tokens."""

    user_id = ExternalIdField(help_text="The app's own id for the user.")
    email = PlainEmailField(required=False, allow_null=True)
    ttl_seconds = serializers.IntegerField(min_value=1, max_value=MAX_TTL_SECONDS, default=DEFAULT_TTL_SECONDS)
    test_only = serializers.BooleanField(default=False)

    def validate_user_id(self, value: str) -> str:
        """Refuse what a token could not carry."""
        if not is_external_id(value):
            raise serializers.ValidationError("Give 1 to 255 characters without control characters.")
        return value


class EndUserTokenSerializer(serializers.Serializer[Any]):
    """A minted end-user token."""

    access_token = serializers.CharField()
    token_type = serializers.ChoiceField(choices=["bearer"], default="bearer")
    expires_in = serializers.IntegerField(help_text="Seconds.")
    end_user_id = serializers.UUIDField(source="end_user.pk")
