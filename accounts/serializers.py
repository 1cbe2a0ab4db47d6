"""Shapes of the sign-in endpoints."""

from typing import Any

from rest_framework import serializers

from accounts.models import User
from common.drf_fields import OneOfField, PlainCharField, PlainEmailField


class RegisterSerializer(serializers.Serializer[Any]):
    """POST /auth/register."""

    email = PlainEmailField()
    password = PlainCharField(min_length=8, max_length=256, trim_whitespace=False, write_only=True)
    full_name = PlainCharField(max_length=255, required=False, allow_null=True, allow_blank=True)


class LoginSerializer(serializers.Serializer[Any]):
    """POST /auth/login."""

    email = PlainEmailField()
    password = PlainCharField(max_length=256, trim_whitespace=False, write_only=True)


class RefreshSerializer(serializers.Serializer[Any]):
    """POST /auth/refresh."""

    refresh_token = PlainCharField(max_length=8192, trim_whitespace=False, write_only=True)


class TokenSerializer(serializers.Serializer[Any]):
    """A developer's tokens."""

    access_token = serializers.CharField()
    refresh_token = serializers.CharField(required=False, allow_null=True)
    token_type = serializers.ChoiceField(choices=["bearer"], default="bearer")
    expires_in = serializers.IntegerField(help_text="Seconds until the access token ends.")


class UserSerializer(serializers.ModelSerializer[User]):
    """A developer, as they see themselves."""

    full_name = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField(source="date_joined", read_only=True)

    class Meta:
        model = User
        fields = ["id", "email", "full_name", "is_active", "created_at"]
        read_only_fields = fields

    def get_full_name(self, user: User) -> str | None:
        """Return the name, or null when none was given."""
        return user.full_name or None


class RegisteredSerializer(TokenSerializer):
    """A new developer, signed in already."""

    id = serializers.UUIDField()
    email = serializers.CharField()
    full_name = serializers.CharField(allow_null=True)
    is_active = serializers.BooleanField()
    created_at = serializers.DateTimeField()


class OAuthClientInputSerializer(serializers.Serializer[Any]):
    """POST /auth/clients."""

    name = PlainCharField(max_length=100)
    type = OneOfField(choices=["confidential", "public"], default="confidential")
    redirect_uris = serializers.ListField(child=PlainCharField(max_length=2000), default=list, max_length=20)
    grant_types = serializers.ListField(
        child=OneOfField(choices=["authorization_code", "client_credentials", "refresh_token"]),
        required=False,
        min_length=1,
        max_length=3,
    )


class OAuthClientSerializer(serializers.Serializer[Any]):
    """An OAuth2 client, without its secret."""

    client_id = serializers.CharField(source="pk")
    name = serializers.CharField()
    type = serializers.ChoiceField(choices=["confidential", "public"])
    redirect_uris = serializers.ListField(child=serializers.CharField(), source="get_redirect_uris")
    grant_types = serializers.ListField(child=serializers.CharField(), source="get_grant_types")
    created_at = serializers.DateTimeField()


class NewOAuthClientSerializer(OAuthClientSerializer):
    """The same with the secret, shown once."""

    client_secret = serializers.CharField(allow_null=True)


class OAuthClientListSerializer(serializers.Serializer[Any]):
    """GET /auth/clients."""

    clients = OAuthClientSerializer(many=True)
    total = serializers.IntegerField()
