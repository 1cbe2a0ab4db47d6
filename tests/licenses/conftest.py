"""Fixtures of the licences' tests."""

from typing import Any

import pytest

from tests.github import TEAM, Organization, create_organization
from tests.payments.conftest import shop

__all__ = ["shop"]


@pytest.fixture
def github(sandbox: Any, settings: Any) -> str:
    """The stand-in is GitHub."""
    settings.GITHUB_API_BASE = f"{sandbox.url}/_github"
    settings.OUTGOING_ALLOWED_HOSTS = ["127.0.0.1", "localhost"]
    return str(settings.GITHUB_API_BASE)


@pytest.fixture
def seller(shop: Any, github: str) -> Any:
    """Acme sells a licence and is connected to an organisation of its own."""
    from tests.licenses.licensing import open_license_shop

    return open_license_shop(shop)


@pytest.fixture
def org(sandbox: Any, settings: Any) -> Organization:
    """An organisation at the stand-in of GitHub, with one team."""
    settings.GITHUB_API_BASE = f"{sandbox.url}/_github"
    return create_organization(sandbox.url)


@pytest.fixture
def connection(acme: Any, org: Organization) -> Any:
    """Acme's connection to it in test mode."""
    from licenses.models import GitHubConnection

    row = GitHubConnection(project=acme, mode="test", organization=org.login, team_slug=TEAM)
    row.set_token(org.token)
    row.save()
    return row
