"""Who is at the pages: a link becomes a session once, and a session's cookie says no more than a random number.

Invariant: every request reads the session anew, so that leaving, a ban and a project that is switched off hold at once.
"""

import datetime as dt
import hashlib
import secrets
import uuid
from dataclasses import dataclass

from django.db import IntegrityError, transaction
from django.utils import timezone

from hosted.models import HostedSession
from hosted.services.links import Link, LinkRefused, LinkUsed
from projects.models import EndUser, Project

LIFETIME = dt.timedelta(hours=2)
# A link lives minutes: what ended a day ago is needed for nothing.
KEPT = dt.timedelta(days=1)
SWEPT_AT_ONCE = 100
KEY_CHARS_MAX = 100


@dataclass(frozen=True)
class OpenedSession:
    """A session and the value of its cookie, which is never stored."""

    session: HostedSession
    key: str

    def __repr__(self) -> str:
        return f"<OpenedSession {self.session.pk}>"


def open_session(*, link: Link) -> OpenedSession:
    """Exchange a link for a session. Raises: LinkUsed, LinkRefused (401)."""
    end_user = EndUser.objects.for_project(link.project_id).filter(pk=link.end_user_id).first()
    if end_user is None or not end_user.is_active or end_user.banned_at is not None:
        raise LinkRefused()
    _sweep(link.project_id)
    key = secrets.token_urlsafe(32)
    session = HostedSession(
        project_id=link.project_id,
        mode=link.mode,
        end_user=end_user,
        link_id=link.link_id,
        key_hash=_digest(key),
        return_url=link.return_url,
        expires_at=timezone.now() + LIFETIME,
    )
    try:
        with transaction.atomic():
            session.save(force_insert=True)
    except IntegrityError:
        # Of two that open it at once, one is let in.
        raise LinkUsed() from None
    return OpenedSession(session, key)


def find_session(*, slug: str, mode: str, key: str) -> HostedSession | None:
    """Return the session of a cookie at a project's pages, while it and its user and project may be used. One query."""
    if not key or len(key) > KEY_CHARS_MAX:
        return None
    rows = HostedSession.objects.filter(
        project__slug=slug,
        project__is_active=True,
        project__deleted_at__isnull=True,
        mode=mode,
        key_hash=_digest(key),
        expires_at__gt=timezone.now(),
        ended_at__isnull=True,
        end_user__is_active=True,
        end_user__banned_at__isnull=True,
    )
    return rows.select_related("end_user", "project__hosted_pages", "project__billing_policy").first()


def end_session(*, session: HostedSession) -> None:
    """Let nobody in by it any more."""
    rows = HostedSession.objects.for_project(session.project_id).filter(pk=session.pk, ended_at__isnull=True)
    rows.update(ended_at=timezone.now())


def was_opened_by(*, session: HostedSession | None, link: Link) -> bool:
    """Say whether whoever comes with a used link is the one who opened it: by the back button, or by a second click."""
    return session is not None and session.link_id == link.link_id


def _sweep(project_id: uuid.UUID) -> None:
    """Forget some of the project's sessions that ended long ago: nobody but who opens another one has to."""
    old = HostedSession.objects.filter(project_id=project_id, expires_at__lt=timezone.now() - KEPT)
    HostedSession.objects.filter(pk__in=old.values("pk")[:SWEPT_AT_ONCE]).delete()


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def project_at(slug: str) -> Project | None:
    """Return the project whose pages are at an address. One query."""
    rows = Project.objects.existing().filter(slug=slug, is_active=True)
    return rows.select_related("hosted_pages", "billing_policy").first()
