"""Identifiers. Rows that follow a Stripe object get the same id whenever they are rebuilt."""

import datetime as dt
import uuid

import uuid_utils

STRIPE_ROW_NAMESPACE = uuid.UUID("5b6f4b1c-3f0e-5d0a-9a53-0a8f4f6a7c11")


def uuid7() -> uuid.UUID:
    """Make a time-ordered id for a row of our own."""
    return uuid.UUID(bytes=uuid_utils.uuid7().bytes)


def first_uuid7_of(moment: dt.datetime) -> uuid.UUID:
    """Return an id that no id made at or after a moment is below. Source: https://www.rfc-editor.org/rfc/rfc9562#section-5.7"""
    milliseconds = int(moment.timestamp() * 1000)
    return uuid.UUID(int=(milliseconds << 80) | (7 << 76) | (2 << 62))


def stripe_row_id(project_id: uuid.UUID, mode: str, stripe_id: str) -> uuid.UUID:
    """Derive the id of the row that follows one Stripe object, so that a rebuild gives the same id."""
    return uuid.uuid5(STRIPE_ROW_NAMESPACE, f"{project_id}:{mode}:{stripe_id}")
