"""The mail that somebody's credits are running low. Once per user and UTC day, with the app's event of the same crossing."""

from entitlements.services.credit_notices import LowCredits
from notifications.services.outbox import record_effect
from projects.models import Project

LOW_MAIL = "credits_low"


def mail_low_credits(low: LowCredits) -> None:
    """Record the mail in the current transaction. It leads to where the project sends its users back to, if that is known."""
    found = Project.objects.filter(pk=low.project_id).values_list("default_return_url", flat=True).first()
    record_effect(
        project_id=low.project_id,
        mode=low.mode,
        kind="mail",
        effect_key=f"mail:{LOW_MAIL}:{low.end_user_id}:{low.day}",
        payload={"template": LOW_MAIL, "to": None, "context": {"credits_left": low.available, "url": found or ""}},
        end_user_id=low.end_user_id,
    )
