"""The three staff roles, and the OAuth2 client that stands for /api/v1/auth/login itself."""

from typing import Any

from django.db import migrations


def create(apps: Any, schema_editor: Any) -> None:
    group = apps.get_model("auth", "Group")
    for name in ("Admin", "Moderator", "Support"):
        group.objects.get_or_create(name=name)
    apps.get_model("allauth_idp_oidc", "Client").objects.get_or_create(
        id="payments-service",
        defaults={
            "name": "This service's own sign-in",
            "secret": "!",
            "type": "public",
            "scopes": "openid\nprofile\nemail",
            "grant_types": "refresh_token",
            "response_types": "code",
        },
    )


class Migration(migrations.Migration):
    dependencies = [
        ("accounts", "0001_initial"),
        ("auth", "0012_alter_user_first_name_max_length"),
        ("allauth_idp_oidc", "0003_client_allow_uri_wildcards"),
    ]
    operations = [migrations.RunPython(create, migrations.RunPython.noop)]
