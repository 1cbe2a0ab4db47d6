"""Finds the words that identify a person wherever their project holds them, and replaces them.

Invariants: a document stays one, with its numbers and the names of its fields; and a word that could be any word, as a name of one
word or a username, is replaced in rows about the person only. Else whoever called themselves "customer" would take that word out of
everybody's rows.
"""

import json
import re
from collections.abc import Callable
from typing import Any

from django.db import connection
from django.db.models import Model

from backoffice.services.people.person import Person
from entitlements.models import UsageEvent
from licenses.models import LicenseChange
from moderation.models import ActionLog, ReviewItem, ReviewNote
from notifications.models import OutboxRow, WebhookDelivery
from payments.models import (
    CheckoutSession,
    Drift,
    Invoice,
    MirrorFailure,
    StripeIntent,
    Subscription,
    SubscriptionChange,
    Transaction,
    WebhookEvent,
)

ERASED = "[erased]"
CHUNK_ROWS = 200
# Texts and bodies in which the person's words are replaced wherever they stand in the project: (rows, texts, JSON columns).
SEARCHED: tuple[tuple[type[Model], tuple[str, ...], tuple[str, ...]], ...] = (
    (ReviewItem, ("title", "subject", "note"), ("details",)),
    (ReviewNote, ("text",), ()),
    (ActionLog, ("subject", "reason"), ("details",)),
    (OutboxRow, ("error", "cause"), ("payload", "result")),
    (WebhookDelivery, ("error",), ("log",)),
    (WebhookEvent, ("error",), ("payload",)),
    (CheckoutSession, ("error",), ("request",)),
    (StripeIntent, ("error",), ("params",)),
    (Transaction, ("description", "failure_message"), ()),
    (Invoice, ("finalization_error",), ()),
    (Drift, (), ("ours", "stripes")),
    (MirrorFailure, ("error",), ()),
    (SubscriptionChange, (), ("before", "after")),
    (Subscription, ("cancellation_comment",), ()),
    (UsageEvent, (), ("metadata",)),
    (LicenseChange, ("note", "by"), ()),
)
# An id of the person's anywhere in a row makes it one about them.
_ABOUT = "EXISTS (SELECT 1 FROM unnest(%(ids)s::text[]) known WHERE strpos({row}::text, known) > 0)"
# An empty pattern would find everything.
_TELLING, _TELLING_IN_JSON = "NULLIF(%(telling)s, '')", "NULLIF(%(telling_in_json)s, '')"
_DELETE_ANSWERS = f"""
    DELETE FROM projects_idempotencyrecord one WHERE project_id = %(project)s AND (
        response_body::text ~* {_TELLING_IN_JSON}
        OR response_body::text ~* %(pattern_in_json)s AND {_ABOUT.format(row="one")})
"""  # noqa: S608 - names of ours
# A string of PostgreSQL's own way to write JSON, and whether it is the name of a field.
_STRING = re.compile(r'("(?:[^"\\]|\\.)*")(\s*:)?')
Replace = Callable[[str], str]


def replace_words(person: Person) -> dict[str, int]:
    """Replace a person's words in all rows of their project; returns how many rows by table. Reads whole tables of it."""
    return {model._meta.db_table: _replace(person, model, texts, bodies) for model, texts, bodies in SEARCHED}


def delete_answers(person: Person) -> int:
    """Delete the answers kept for repeats that tell of a person; returns how many."""
    with connection.cursor() as cursor:
        cursor.execute(_DELETE_ANSWERS, _values(person))
        return int(cursor.rowcount)


def _values(person: Person) -> dict[str, Any]:
    return {
        "project": person.project_id,
        "ids": person.ids,
        "pattern": person.pattern,
        "pattern_in_json": person.pattern_in_json,
        "telling": person.telling_pattern,
        "telling_in_json": person.telling_pattern_in_json,
    }


def _replace(person: Person, model: type[Model], texts: tuple[str, ...], bodies: tuple[str, ...]) -> int:
    keys = _rows_with_words(person, model, texts, bodies)
    changed = 0
    for first in range(0, len(keys), CHUNK_ROWS):
        changed += _replace_in(person, model, texts, bodies, keys[first : first + CHUNK_ROWS])
    return changed


def _rows_with_words(person: Person, model: type[Model], texts: tuple[str, ...], bodies: tuple[str, ...]) -> list[Any]:
    named = [f"{name} ~* %(pattern)s" for name in texts] + [f"{name}::text ~* %(pattern_in_json)s" for name in bodies]
    tells = [f"{name} ~* {_TELLING}" for name in texts] + [f"{name}::text ~* {_TELLING_IN_JSON}" for name in bodies]
    about = _ABOUT.format(row="one")
    # Names of tables and columns are ours, from the list above.
    query = (
        f"SELECT id FROM {model._meta.db_table} one "  # noqa: S608
        f"WHERE project_id = %(project)s AND ({' OR '.join(named)}) AND ({' OR '.join(tells)} OR {about})"
    )
    with connection.cursor() as cursor:
        cursor.execute(query, _values(person))
        return [key for (key,) in cursor.fetchall()]


def _replace_in(
    person: Person, model: type[Model], texts: tuple[str, ...], bodies: tuple[str, ...], keys: list[Any]
) -> int:
    table, every, telling = model._meta.db_table, _replacing(person.words), _replacing(person.telling_words)
    shown = [*texts, *(f"{name}::text" for name in bodies)]
    sets = [*(f"{name} = %s" for name in texts), *(f"{name} = %s::jsonb" for name in bodies)]
    lengths = [getattr(model._meta.get_field(name), "max_length", None) for name in texts]
    changed = 0
    with connection.cursor() as cursor:
        # Names of tables and columns are ours, from the list above.
        cursor.execute(f"SELECT id, {', '.join(shown)} FROM {table} WHERE id = ANY(%s) FOR UPDATE", [keys])  # noqa: S608
        for key, *before in cursor.fetchall():
            held, documents = before[: len(texts)], before[len(texts) :]
            after = [text and every(text)[:most] for text, most in zip(held, lengths, strict=True)]
            after += [text and _in_document(text, every, telling) for text in documents]
            if after != before:
                cursor.execute(f"UPDATE {table} SET {', '.join(sets)} WHERE id = %s", [*after, key])  # noqa: S608
                changed += 1
    return changed


def _replacing(words: list[str]) -> Replace:
    """Return what replaces words in a text, each as a whole, whatever its case."""
    if not words:
        return lambda text: text
    wholes = [rf"(?<!\w){re.escape(word)}(?!\w)" if _is_bounded(word) else re.escape(word) for word in words]
    pattern = re.compile("|".join(wholes), re.IGNORECASE)
    return lambda text: pattern.sub(ERASED, text)


def _is_bounded(word: str) -> bool:
    return word[0].isalnum() and word[-1].isalnum()


def _in_document(text: str, every: Replace, telling: Replace) -> str:
    """Replace words in the texts of a JSON document; in the names of its fields those that are no word of anybody else's."""

    def replace(found: re.Match[str]) -> str:
        string, colon = found.group(1), found.group(2) or ""
        before = json.loads(string)
        after = telling(before) if colon else every(before)
        return string + colon if after == before else json.dumps(after, ensure_ascii=False) + colon

    return _STRING.sub(replace, text)
