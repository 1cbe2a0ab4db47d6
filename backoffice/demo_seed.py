"""The demo of `make run`: a project wired to the sandbox, and people who can sign in."""

import json
import os
import secrets
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import Group

from accounts.models import ROLE_MODERATOR, ROLE_SUPPORT, User
from backoffice.github_wiring import wire_to_github
from backoffice.litellm_wiring import wire_to_litellm
from backoffice.sandbox_wiring import sandbox_answers, wire_to_sandbox
from projects.models import Project
from projects.services.projects import create_project

DEMO_SLUG = "demo"
DEMO_SHOPPER = "demo-shopper"
WELCOME_FILE = "welcome.json"
DEVELOPER_EMAIL = "developer@demo.example"
SUPPORT_EMAIL = "support@demo.example"
MODERATOR_EMAIL = "moderator@demo.example"
ADMIN_EMAIL = "admin@demo.example"


def seed_demo() -> Project:
    """Make what is missing of the demo and return its project. Passwords are random and kept beside the data."""
    passwords = _passwords()
    developer = _person(DEVELOPER_EMAIL, passwords, full_name="Demo Developer", is_staff=True)
    support = _person(SUPPORT_EMAIL, passwords, full_name="Demo Support", is_staff=True)
    support.groups.add(Group.objects.get_or_create(name=ROLE_SUPPORT)[0])
    moderator = _person(MODERATOR_EMAIL, passwords, full_name="Demo Moderator", is_staff=True)
    moderator.groups.add(Group.objects.get_or_create(name=ROLE_MODERATOR)[0])
    _person(ADMIN_EMAIL, passwords, full_name="Demo Admin", is_staff=True, is_superuser=True)
    project = Project.objects.filter(slug=DEMO_SLUG).first()
    if project is None:
        project = create_project(
            owner=developer,
            name="Demo shop",
            slug=DEMO_SLUG,
            description="Made by the first start, wired to the sandbox.",
            allowed_origins=[settings.PUBLIC_BASE_URL] if settings.PUBLIC_BASE_URL.startswith("https://") else [],
        )
    if sandbox_answers():
        wire_to_sandbox(project=project)
        wire_to_litellm(project=project)
        wire_to_github(project=project)
    _write_welcome(passwords)
    return project


def _person(email: str, passwords: dict[str, str], **fields: object) -> User:
    """Return the user, made on the first call; later ones change nothing, not even a changed password."""
    found = User.objects.filter(email=email).first()
    return found or User.objects.create_user(email, passwords[email], **fields)


def _passwords() -> dict[str, str]:
    """Return the demo's passwords: those of the first start, or new ones."""
    path = Path(settings.VAR_DIR) / "demo-passwords.json"
    kept: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    for email in (DEVELOPER_EMAIL, SUPPORT_EMAIL, MODERATOR_EMAIL, ADMIN_EMAIL):
        kept.setdefault(email, secrets.token_urlsafe(9))
    _write_private(path, kept)
    return kept


def _write_welcome(passwords: dict[str, str]) -> None:
    """Leave what `make run` prints, in the order in which it prints it."""
    lines = {
        "developer": f"{DEVELOPER_EMAIL}   password {passwords[DEVELOPER_EMAIL]}",
        "support": f"{SUPPORT_EMAIL}     password {passwords[SUPPORT_EMAIL]}",
        "moderator": f"{MODERATOR_EMAIL}   password {passwords[MODERATOR_EMAIL]}",
        "admin": f"{ADMIN_EMAIL}       password {passwords[ADMIN_EMAIL]}",
        "end user": f"{DEMO_SHOPPER}   signed in by the demo page, no password",
    }
    _write_private(Path(settings.VAR_DIR) / WELCOME_FILE, lines)


def _write_private(path: Path, content: dict[str, str]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(content, file, indent=1)
