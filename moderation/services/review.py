"""Puts things before a person, each cause once."""

import uuid
from collections.abc import Mapping
from typing import Any

from django.db import connection

from common.ids import uuid7
from moderation.models import ReviewItem

_INSERT = """
    INSERT INTO moderation_reviewitem
        (id, project_id, mode, kind, cause_key, subject, end_user_id, title, details, status, note)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb, 'pending', '')
    ON CONFLICT (project_id, mode, cause_key) DO NOTHING
"""


def open_review_item(
    *,
    project_id: uuid.UUID,
    mode: str,
    kind: str,
    cause_key: str,
    title: str,
    subject: str = "",
    end_user_id: uuid.UUID | None = None,
    details: Mapping[str, Any] | None = None,
) -> bool:
    """Open an item; False when this cause has one already, open or closed. One statement."""
    stored = ReviewItem._meta.get_field("details").get_db_prep_save(dict(details or {}), connection)
    values = [
        uuid7(), project_id, mode, str(kind), cause_key[:255], subject[:255], end_user_id, title[:255], stored,
    ]  # fmt: skip
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, values)
        return bool(cursor.rowcount == 1)
