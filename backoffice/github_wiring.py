"""Connects the demo project to an organisation at the sandbox's GitHub, the way that a developer connects a real one."""

import httpx
from django.conf import settings

from common.errors import FieldError
from common.modes import LIVE, TEST
from licenses.models import GitHubConnection
from licenses.services.github_connection import check_github_connection, put_github_connection
from projects.models import Project

TIMEOUT_SECONDS = 10
SWITCHES = "/_sandbox/api/github"
TAKEN = 409
# Test purchases never lead into the team of live ones.
TEAMS = {TEST: "test-customers", LIVE: "customers"}
# Who can be named as a buyer's username; more are made on the stand-in's page.
PEOPLE = ("octocat", "monalisa", "hubot")
# What only a new organisation or token mends: the sandbox began anew, or ours cannot be read.
LOST = (
    GitHubConnection.Problem.TOKEN_REJECTED,
    GitHubConnection.Problem.TOKEN_UNREADABLE,
    GitHubConnection.Problem.ORGANIZATION_MISSING,
)


def wire_to_github(*, project: Project) -> None:
    """Give the project an organisation of its own with a team for each mode; repeated, it mends only what is missing.

    Nothing happens where GitHub is not played by the sandbox.
    """
    if settings.GITHUB_API_BASE.rstrip("/") != f"{settings.STRIPE_API_BASE}/_github":
        return
    _make_people()
    made: dict[str, str] = {}
    for mode in (TEST, LIVE):
        if _is_wired(project, mode):
            continue
        made = made or _make_organization(project.slug)
        fields = {"organization": made["organization"], "team_slug": TEAMS[mode], "token": made["token"]}
        try:
            put_github_connection(project=project, mode=mode, fields=fields, actor=None)
        except FieldError as error:
            raise RuntimeError(f"the sandbox's GitHub refuses what it just made: {error.errors[0]['msg']}") from error


def _is_wired(project: Project, mode: str) -> bool:
    row = GitHubConnection.objects.current_for(project, mode)
    return row is not None and check_github_connection(row).problem not in LOST


def _make_people() -> None:
    for login in PEOPLE:
        answer = _switch("users", {"login": login})
        if answer.status_code != TAKEN:
            answer.raise_for_status()


def _make_organization(slug: str) -> dict[str, str]:
    """Make an organisation named after the project, or nearly so where that name is taken."""
    for number in range(1, 100):
        login = slug if number == 1 else f"{slug}-{number}"
        answer = _switch("organizations", {"login": login, "teams": list(TEAMS.values())})
        if answer.status_code == TAKEN:
            continue
        answer.raise_for_status()
        return dict(answer.json())
    raise RuntimeError("the sandbox's GitHub has no name left for the organisation")


def _switch(what: str, body: dict[str, object]) -> httpx.Response:
    return httpx.post(f"{settings.STRIPE_API_BASE}{SWITCHES}/{what}", json=body, timeout=TIMEOUT_SECONDS)
