"""How a project's mails look and who signs them, and who wants fewer of them.

Invariant: of an address that unsubscribed only a digest is kept, so that the wish outlives the address when a user is anonymised.
"""

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from common.ids import uuid7
from common.modes import MODE_CHOICES
from projects.models import Project, ProjectOwnedQuerySet

DEFAULT_COLOR = "#3358d4"


class Brand(models.Model):
    """A project's sender and look, for both modes. A project without a row has the defaults; an empty field is the default too."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.OneToOneField(Project, on_delete=models.CASCADE, related_name="brand")
    from_name = models.CharField("sender's name", max_length=100, blank=True)
    from_address = models.CharField("sender's address", max_length=254, blank=True)
    # The address of the operator's own domain that staff chose for this project: a developer may use it and no other there.
    staff_from_address = models.CharField(max_length=254, blank=True, editable=False, default="", db_default="")
    reply_to = models.CharField("answers go to", max_length=254, blank=True)
    color = models.CharField("colour of buttons", max_length=7, blank=True)
    logo_url = models.CharField("logo", max_length=2048, blank=True)
    footer_text = models.TextField("footer", blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    objects = ProjectOwnedQuerySet.as_manager()

    class Meta:
        verbose_name = "Mail brand"
        verbose_name_plural = "Mail brands"

    def __str__(self) -> str:
        return f"Mail brand of {self.project}"


class MailOptOut(models.Model):
    """An address that wants no mails of a project but those that are about its own purchases."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="mail_opt_outs")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    address_digest = models.CharField(max_length=64)
    created_at = models.DateTimeField(db_default=Now())

    objects = ProjectOwnedQuerySet.as_manager()

    class Meta:
        verbose_name = "Unsubscribed address"
        verbose_name_plural = "Unsubscribed addresses"
        constraints = [
            models.UniqueConstraint(fields=["project", "mode", "address_digest"], name="mail_opt_out_once"),
            models.CheckConstraint(condition=Q(mode__in=["test", "live"]), name="mail_opt_out_mode"),
        ]

    def __str__(self) -> str:
        return f"{self.mode} {self.address_digest[:8]}"
