"""Projects: made by a developer, who becomes their owner; deleting one keeps its history (money) and ends all access."""

import re
import secrets
import unicodedata
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.text import slugify

from accounts.models import User
from common.errors import Conflict, FieldError
from projects.access import ProjectNotFound
from projects.models import ApiKey, Membership, Project, Role
from projects.origins import is_allowed, normalize_origin
from projects.shared_webhook import check_may_take_part

SLUG = re.compile(r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$")
URL_FIELDS = ("default_success_url", "default_cancel_url", "default_return_url")
CHANGEABLE = ("name", "slug", "is_active", "shared_webhook", "description", "allowed_origins", *URL_FIELDS)
MAX_ORIGINS = 50
# A deleted project gives its slug back; this prefix is what its row keeps instead.
DELETED_PREFIX = "deleted-"


class SlugTaken(Conflict):
    """409: another project has this slug."""

    code = "slug_taken"
    detail = "Another project has this slug."


def create_project(*, owner: User, name: str, slug: str | None = None, **fields: Any) -> Project:
    """Create a project with its owner. Raises: SlugTaken (409), FieldError (422)."""
    project = Project(name=name, slug=slug or _free_slug(name))
    _assign(project, fields)
    try:
        with transaction.atomic():
            if project.shared_webhook:
                check_may_take_part(project)
            project.save(force_insert=True)
            Membership.objects.create(project=project, user=owner, role=Role.OWNER)
    except IntegrityError as error:
        if slug is None:
            return create_project(owner=owner, name=name, slug=_random_slug(name), **fields)
        raise SlugTaken from error
    return project


def update_project(*, project: Project, **fields: Any) -> Project:
    """Change what is given and keep the rest. Raises: SlugTaken (409), FieldError (422), ProjectNotFound (404) once deleted."""
    for name in ("name", "slug", "is_active", "shared_webhook"):
        if fields.get(name) is not None:
            setattr(project, name, fields[name])
    _assign(project, fields)
    try:
        with transaction.atomic():
            # Whoever deleted it meanwhile is not undone, and what others changed is not written over.
            if Project.objects.existing().select_for_update(no_key=True).filter(pk=project.pk).first() is None:
                raise ProjectNotFound
            if project.shared_webhook:
                check_may_take_part(project)
            project.save(update_fields=[*(name for name in CHANGEABLE if name in fields), "updated_at"])
    except IntegrityError as error:
        raise SlugTaken from error
    return project


def delete_project(*, project: Project) -> None:
    """Delete a project for everybody: keys and tokens end at once, webhooks stop verifying, the slug is free again.

    Its payments stay in the database, because books must be kept.
    """
    with transaction.atomic():
        ApiKey.objects.for_project(project).update(is_active=False)
        project.is_active = False
        project.deleted_at = timezone.now()
        project.slug = f"{DELETED_PREFIX}{project.pk.hex}"
        project.save(update_fields=["is_active", "deleted_at", "slug", "updated_at"])


def clean_slug(slug: str) -> str:
    """Return a slug that may be used. Raises ValueError that says what is wrong."""
    if not SLUG.fullmatch(slug) or slug.startswith(DELETED_PREFIX):
        raise ValueError("Use 1 to 63 lower-case letters, digits and hyphens; no hyphen first or last.")
    return slug


def _assign(project: Project, fields: dict[str, Any]) -> None:
    if fields.get("shared_webhook") is not None:
        project.shared_webhook = fields["shared_webhook"]
    if "description" in fields:
        project.description = fields["description"] or None
    if fields.get("allowed_origins") is not None:
        project.allowed_origins = _clean_origins(fields["allowed_origins"])
    for name in URL_FIELDS:
        if name in fields:
            setattr(project, name, fields[name] or None)
        url = getattr(project, name)
        if url and not is_allowed(allowed_origins=project.allowed_origins, url=url, test_mode=True):
            raise FieldError("body", name, msg="This address is not on one of the project's allowed origins.")


def _clean_origins(origins: list[str]) -> list[str]:
    if len(origins) > MAX_ORIGINS:
        raise FieldError("body", "allowed_origins", msg=f"At most {MAX_ORIGINS} origins.")
    cleaned: list[str] = []
    for position, text in enumerate(origins):
        try:
            cleaned.append(normalize_origin(text))
        except ValueError as error:
            raise FieldError("body", "allowed_origins", position, msg=str(error)) from error
    return list(dict.fromkeys(cleaned))


def _free_slug(name: str) -> str:
    base = _base_slug(name)
    taken = Project.objects.filter(slug=base).exists()
    return _random_slug(name) if taken or base.startswith(DELETED_PREFIX) else base


def _random_slug(name: str) -> str:
    return f"{_base_slug(name)[:50].rstrip('-')}-{secrets.token_hex(4)}".removeprefix(DELETED_PREFIX)


def _base_slug(name: str) -> str:
    plain = unicodedata.normalize("NFKD", name)
    slug = slugify(plain).replace("_", "-").strip("-")[:63].strip("-")
    return re.sub(r"-{2,}", "-", slug) or "project"
