"""Where the mirror of Stripe's objects fell behind. The product's state never depends on the mirror."""

from django.db import models

from common.ids import uuid7
from common.modes import MODE_CHOICES
from projects.models import Project


class MirrorFailure(models.Model):
    """One object that could not be written to the mirror, kept until a later write of it succeeds."""

    id = models.UUIDField(primary_key=True, default=uuid7, editable=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="mirror_failures")
    mode = models.CharField(max_length=4, choices=MODE_CHOICES)
    stripe_object_id = models.CharField(max_length=255)
    error = models.TextField()
    failed_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "mode", "stripe_object_id"], name="mirror_failure_once")
        ]

    def __str__(self) -> str:
        return self.stripe_object_id
