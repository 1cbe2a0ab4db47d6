"""The cast of the tests in a running instance, for trying things by hand: `manage.py seed`."""

import secrets
from dataclasses import dataclass

from accounts.models import User
from backoffice.sandbox_wiring import sandbox_answers, wire_to_sandbox
from common.modes import LIVE
from projects.models import ApiKey, Membership, Project, Role
from projects.principals import ServerPrincipal
from projects.services.api_keys import create_api_key
from projects.services.end_user_tokens import MAX_TTL_SECONDS, mint_end_user_token
from projects.services.projects import create_project

CAST_KEY_NAME = "cast"


@dataclass(frozen=True)
class CastLine:
    """One line for the person at the terminal."""

    who: str
    what: str
    secret: str


def seed_cast() -> list[CastLine]:
    """Make the cast, give everyone a new password, key or token, and return what to sign in with."""
    lines = []
    people: dict[str, User] = {}
    for name in ("alice", "bob", "charlie"):
        password = secrets.token_urlsafe(9)
        email = f"{name}@example.com"
        user = User.objects.filter(email=email).first() or User(email=email, full_name=name.capitalize(), is_staff=True)
        user.set_password(password)
        user.save()
        people[name] = user
        lines.append(CastLine(email, "password", password))
    acme = _project(people["alice"], "Acme", "acme")
    other = _project(people["charlie"], "Other", "other")
    Membership.objects.get_or_create(project=acme, user=people["bob"], defaults={"role": Role.DEVELOPER})
    if sandbox_answers():
        wire_to_sandbox(project=acme)
    for project, owner, shoppers in ((acme, people["alice"], ("dana", "erin")), (other, people["charlie"], ("frank",))):
        ApiKey.objects.for_project(project).filter(name=CAST_KEY_NAME).delete()
        key, text = create_api_key(project=project, created_by=owner, name=CAST_KEY_NAME, is_test_mode=True)
        lines.append(CastLine(f"server of {project.slug} ({project.pk})", "test key", text))
        server = ServerPrincipal(key, project, LIVE)
        for name in shoppers:
            token = mint_end_user_token(
                server=server,
                user_id=name,
                email=f"{name}@example.com",
                ttl_seconds=MAX_TTL_SECONDS,
                test_only=True,
            )
            lines.append(CastLine(f"end user {name} of {project.slug}", "token for a day", token.access_token))
    return lines


def _project(owner: User, name: str, slug: str) -> Project:
    found = Project.objects.filter(slug=slug).first()
    return found or create_project(owner=owner, name=name, slug=slug, allowed_origins=["https://app.example"])
