"""The demo is connected to an organisation at the stand-in of GitHub, and a second start mends what is missing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backoffice.demo_seed import DEMO_SLUG, seed_demo
from backoffice.github_wiring import TEAMS, wire_to_github
from licenses.models import GitHubConnection
from licenses.services.github import GitHub
from projects.models import Project
from tests.conftest import Sandbox


@pytest.fixture
def demo(settings: Any, tmp_path: Path, sandbox: Sandbox) -> Iterator[Project]:
    settings.DEMO = True
    settings.VAR_DIR = tmp_path
    settings.PUBLIC_BASE_URL = "http://127.0.0.1:8000"
    settings.GITHUB_API_BASE = f"{sandbox.url}/_github"
    project = seed_demo()
    yield project
    Project.objects.filter(slug=DEMO_SLUG).update(slug=f"seeded-{project.pk}")


def rows_of(project: Project) -> dict[str, GitHubConnection]:
    return {row.mode: row for row in GitHubConnection.objects.for_project(project)}


def test_the_demo_can_invite_at_once_and_modes_have_teams_of_their_own(demo: Project) -> None:
    rows = rows_of(demo)
    assert {mode: row.team_slug for mode, row in rows.items()} == TEAMS
    assert len({row.organization for row in rows.values()}) == 1 and not any(row.problem for row in rows.values())
    github = GitHub(demo, "test")
    assert github.invite(github.resolve("octocat").login) == "pending"
    assert GitHub(demo, "live").membership("octocat") is None


def test_another_start_keeps_or_renews_the_connection(demo: Project, settings: Any) -> None:
    before = {mode: (row.organization, row.get_token()) for mode, row in rows_of(demo).items()}
    wire_to_github(project=demo)
    assert {mode: (row.organization, row.get_token()) for mode, row in rows_of(demo).items()} == before
    for row in rows_of(demo).values():
        row.set_token("a-token-of-a-sandbox-that-was-reset")
        row.save()
    wire_to_github(project=demo)
    for mode, row in rows_of(demo).items():
        assert row.problem == "" and row.get_token() != before[mode][1]
    # Where GitHub is the real one, nothing is made there.
    GitHubConnection.objects.for_project(demo).delete()
    settings.GITHUB_API_BASE = "https://api.github.com"
    wire_to_github(project=demo)
    assert rows_of(demo) == {}
