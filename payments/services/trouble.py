"""Puts trouble with money before the staff (a review item) and the project's owners (an alert), each cause once."""

import uuid
from collections.abc import Mapping
from typing import Any

from moderation.services.review import open_review_item
from payments.services.effects import ALERT, cause_effect
from payments.services.ownership import Cause, Scope


def put_before_staff(
    scope: Scope,
    cause: Cause,
    *,
    kind: str,
    subject: str,
    title: str,
    end_user_id: uuid.UUID | None,
    details: Mapping[str, Any],
    discriminator: str = "",
    template: str = "",
) -> None:
    """Open a review item and alert the owners: two statements, once per kind, subject and discriminator.

    Nothing is opened for what was found again after a restore or imported: staff have dealt with it, or never will.
    """
    if not cause.without_effects:
        open_review_item(
            project_id=scope.project_id,
            mode=scope.mode,
            kind=kind,
            cause_key=f"{kind}:{subject}{discriminator}",
            title=title,
            subject=subject,
            end_user_id=end_user_id,
            details=details,
        )
    cause_effect(
        scope,
        cause,
        kind=ALERT,
        effect_key=f"alert:{kind}:{subject}{discriminator}",
        payload={"template": template, "title": title, "context": dict(details)},
        end_user_id=end_user_id,
    )
