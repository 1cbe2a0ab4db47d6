"""What the hosted pages remember: a project's choices, and who is at them.

Invariants: a link opens one session and no second; of a session's cookie only a digest is kept.
"""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from common.ids import uuid7
from common.modes import MODE_CHOICES
from projects.models import EndUser, Project, ProjectOwnedQuerySet

DEFAULT_TIME_ZONE = "UTC"


class HostedPages(models.Model):
    """A project's choices about its pages, for both modes. A project without a row has the defaults."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="hosted_pages")
    sign_in_url = models.CharField("where visitors sign in", max_length=2048, blank=True)
    return_url = models.CharField("where the way back leads", max_length=2048, blank=True)
    time_zone = models.CharField(max_length=64, default=DEFAULT_TIME_ZONE)
    updated_at = models.DateTimeField(auto_now=True)

    objects = ProjectOwnedQuerySet.as_manager()

    class Meta:
        verbose_name = "Hosted pages"
        verbose_name_plural = "Hosted pages"

    def __str__(self) -> str:
        return f"Hosted pages of {self.project}"


class HostedSession(models.Model):
    """Somebody at a project's pages in one mode, from the opening of their link until its time is over or they leave."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="hosted_sessions")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    end_user = models.ForeignKey(EndUser, on_delete=models.CASCADE, related_name="hosted_sessions")
    # The link that opened it: kept longer than any link lasts, so that none opens a second one.
    link_id = models.UUIDField(editable=False)
    key_hash = models.CharField(max_length=64, editable=False)
    return_url = models.CharField(max_length=2048, blank=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True, blank=True)

    objects = ProjectOwnedQuerySet.as_manager()

    class Meta:
        verbose_name = "Session at the hosted pages"
        verbose_name_plural = "Sessions at the hosted pages"
        constraints = [
            models.UniqueConstraint(fields=["project", "mode", "link_id"], name="hosted_link_opens_once"),
            models.UniqueConstraint(fields=["project", "mode", "key_hash"], name="hosted_session_key_once"),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="hosted_session_mode"),
        ]
        indexes = [models.Index(fields=["project", "expires_at"], name="hosted_session_expiry")]

    def __str__(self) -> str:
        return f"Session of {self.end_user_id} ({self.mode})"
