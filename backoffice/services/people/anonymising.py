"""Takes what identifies one end user out of every table, and keeps the books: amounts, ids, times, states and the ledger stay.

Invariant: all of it is one transaction, but for the deletion of files that were asked for during it; who asked for it, when and why
is in the action log, which names nobody. What Stripe still sends about the person afterwards is emptied by a daily round
(`keep_people_anonymised`).
"""

import datetime as dt
import uuid
from collections.abc import Mapping
from typing import Any

from django.db import connection
from django.db.models import Q
from django.utils import timezone

from accounts.models import User
from backoffice.models import Export, ExportPart
from backoffice.services.people.handing_out import events_of, reviews_of
from backoffice.services.people.person import Person, read_person
from backoffice.services.people.words import ERASED, delete_answers, replace_words
from common.errors import Conflict, FieldError
from common.long_statements import long_statements
from entitlements.models import ProvisionedUser, TokenMark, UsageEvent
from hosted.models import HostedSession
from licenses.models import License, LicenseActivation, LicenseChange, LicenseSeat, LicenseState
from moderation.models import ReviewNote
from moderation.services.action_log import log_action
from moderation.services.review import checked_reason
from notifications.models import OutboxRow, WebhookDelivery
from payments import mirror
from payments.models import (
    CheckoutSession,
    Dispute,
    StripeCustomer,
    StripeIntent,
    Subscription,
    Transaction,
    WebhookEvent,
)
from payments.services.revocation import OPEN_DISPUTE_STATUSES
from projects.bans import announce_ban
from projects.models import EndUser, IdempotencyRecord

ENDED_STATUSES = ("canceled", "incomplete_expired")
# For so long what comes in about somebody who was anonymised is emptied again: longer than Stripe sends anything of its own.
WATCHED_FOR = dt.timedelta(days=400)
# Logs of the admin itself, which know no project: only lines about the person's own rows.
ADMIN_LOGS = (
    ("django_admin_log", "object_id", ("object_repr", "change_message")),
    ("auditlog_logentry", "object_pk", ("object_repr",)),
)
_EMPTY_EFFECT = """
    UPDATE notifications_outboxrow SET result = NULL, payload = jsonb_strip_nulls(jsonb_build_object(
        'type', payload->'type', 'template', payload->'template', 'data', '{}'::jsonb, 'erased', true))
    WHERE project_id = %s AND end_user_id = %s AND NOT payload ? 'erased'
"""
_DIGEST_KEYS = """
    UPDATE entitlements_credittransaction SET description = '', metadata = '{}'::jsonb,
        key = CASE WHEN %(pattern)s <> '' AND key ~* %(pattern)s THEN 'erased:' || id ELSE key END
    WHERE project_id = %(project)s AND wallet_id IN (
        SELECT id FROM entitlements_creditwallet WHERE project_id = %(project)s AND end_user_id = %(user)s)
      AND (description <> '' OR metadata <> '{}'::jsonb OR (%(pattern)s <> '' AND key ~* %(pattern)s))
"""


class NotYet(Conflict):
    """409: something is still going on with this person, and would need what is to be erased."""

    code = "end_user_still_active"
    detail = "This end user cannot be anonymised yet."


class AlreadyAnonymised(Conflict):
    """409: done before."""

    code = "end_user_anonymised"
    detail = "This end user was anonymised already."


def why_not_yet(end_user: EndUser) -> list[str]:
    """Say what has to end before somebody can be anonymised; nothing when they can be."""
    person = read_person(end_user)
    mine: dict[str, Any] = {"project": end_user.project_id, "end_user": end_user.pk}
    effects = OutboxRow.objects.filter(**mine).unfinished()
    events = WebhookEvent.objects.for_project(end_user.project_id).unfinished()
    disputes = Dispute.objects.for_project(end_user.project_id).filter(transaction__end_user=end_user.pk)
    banned = not end_user.is_active
    found = {
        "A subscription still runs: cancel it first.": Subscription.objects.filter(**mine).exclude(
            status__in=ENDED_STATUSES
        ),
        "A licence still holds: revoke it first.": License.objects.filter(pk__in=person.license_ids).exclude(
            state=LicenseState.REVOKED
        ),
        "A dispute is open, for which evidence may be needed.": disputes.filter(status__in=OPEN_DISPUTE_STATUSES),
        "A checkout is still open: wait until it expires.": CheckoutSession.objects.filter(**mine, status="open"),
        "Mails or other effects are still to be carried out, or are dead letters: replay or wait.": effects,
        "Events of Stripe about them are still being processed.": events.filter(root__in=person.stripe_ids),
        "They are a LiteLLM user: ban them first, so that they are switched off there.": ProvisionedUser.objects.filter(
            **mine
        )
        if not banned
        else ProvisionedUser.objects.none(),
    }
    return [text for text, rows in found.items() if rows.exists()]


def anonymise(*, end_user: EndUser, confirm: str, actor: User | None, reason: str) -> Mapping[str, int]:
    """Erase what identifies an end user, for good, and return how many rows of which table were touched.

    `confirm` is the app's own id of the user, typed again.
    Raises: FieldError (422), AlreadyAnonymised, NotYet (409).
    """
    reason = checked_reason(reason)
    if confirm != end_user.external_id:
        raise FieldError("body", "confirm", msg="Type the app's own id of this user, exactly.")
    with long_statements():
        held = EndUser.objects.for_project(end_user.project_id).select_for_update().get(pk=end_user.pk)
        if held.anonymised_at is not None:
            raise AlreadyAnonymised()
        if reasons := why_not_yet(held):
            raise NotYet(" ".join(reasons))
        person = read_person(held)
        counts = _erase(person)
        _erase_user(held)
        log_action(
            action="end_user.anonymise",
            subject=str(held.pk),
            actor=actor,
            reason=_without_words(reason, person),
            project_id=held.project_id,
            details={"rows": counts},
        )
    if person.words:
        with long_statements():
            # Files that were asked for meanwhile were made of the rows of before.
            _take_exports(person)
    return counts


def keep_people_anonymised() -> int:
    """Empty again what came in since about people who were anonymised; returns how many people had something."""
    moment = timezone.now()
    touched = 0
    for end_user in EndUser.objects.filter(anonymised_at__gt=moment - WATCHED_FOR).iterator(chunk_size=100):
        with long_statements():
            touched += any(_erase(read_person(end_user)).values())
    return touched


def _erase(person: Person) -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('payments.redacting', 'on', true)")
    counts = _erase_money(person) | _erase_goods(person) | _erase_traffic(person) | _erase_words(person)
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('payments.redacting', 'off', true)")
    return {name: count for name, count in counts.items() if count}


def _erase_money(person: Person) -> dict[str, int]:
    mine: dict[str, Any] = {"project": person.project_id, "end_user": person.end_user.pk}
    subscriptions = Subscription.objects.filter(**mine)
    return {
        "customers": StripeCustomer.objects.filter(**mine)
        .exclude(email="", name="", billing={})
        .update(email="", name="", billing={}),
        "subscriptions": subscriptions.exclude(cancellation_comment="").update(cancellation_comment=""),
        "payments": Transaction.objects.filter(**mine)
        .exclude(method_last4="", failure_message="")
        .update(method_last4="", failure_message=""),
        "checkouts": CheckoutSession.objects.filter(**mine).exclude(request={}).update(request={}, url="", error=""),
        "requests_to_stripe": StripeIntent.objects.filter(**mine).exclude(params={}).update(params={}, error=""),
        "mirror": mirror.forget_people(person.stripe_ids),
    }


def _erase_goods(person: Person) -> dict[str, int]:
    mine: dict[str, Any] = {"project": person.project_id, "end_user": person.end_user.pk}
    licenses = License.objects.filter(pk__in=person.license_ids)
    of_license = {"project": person.project_id, "license__in": person.license_ids}
    found = {
        "licences": licenses.exclude(email="", username="").update(email="", username="", github_user_id=None),
        "licence_history": LicenseChange.objects.filter(**of_license).exclude(note="").update(note=""),
        "licence_seats": LicenseSeat.objects.filter(**of_license).exclude(login="").update(login="", github_user_id=0),
        "licence_devices": LicenseActivation.objects.filter(**of_license).delete()[0],
        "litellm_users": ProvisionedUser.objects.filter(**mine).delete()[0],
        "usage_reports": UsageEvent.objects.filter(**mine).exclude(metadata={}).update(metadata={}),
        "hosted_sessions": HostedSession.objects.filter(**mine).delete()[0],
        "token_marks": TokenMark.objects.filter(**mine).delete()[0],
    }
    with connection.cursor() as cursor:
        cursor.execute(
            _DIGEST_KEYS, {"project": person.project_id, "user": person.end_user.pk, "pattern": person.pattern}
        )
        return found | {"credit_history": cursor.rowcount}


def _erase_traffic(person: Person) -> dict[str, int]:
    """Empty what was sent and received about the person: mails, the app's webhooks, Stripe's events, answers kept for repeats."""
    effects = OutboxRow.objects.filter(project=person.project_id, end_user=person.end_user.pk)
    deliveries = WebhookDelivery.objects.filter(project=person.project_id, event__in=effects)
    reviews = reviews_of(person)
    items = [row.pk for row in reviews]
    for item in reviews:
        item.details = {
            name: value for name, value in item.details.items() if name not in ("text", "reference", "email")
        }
        item.save(update_fields=["details"])
    found = {
        "webhooks_to_the_app": deliveries.exclude(log=[]).update(log=[], error=""),
        "stripe_events": events_of(person)
        .exclude(status__in=WebhookEvent.UNFINISHED_STATUSES)
        .update(payload=None, emptied_at=timezone.now()),
        "answers_kept": IdempotencyRecord.objects.filter(
            project=person.project_id, caller=f"end_user:{person.end_user.pk}"
        ).delete()[0],
        "review_notes": ReviewNote.objects.for_project(person.project_id)
        .filter(item__in=items)
        .exclude(text=ERASED)
        .update(text=ERASED),
    }
    with connection.cursor() as cursor:
        cursor.execute(_EMPTY_EFFECT, [person.project_id, person.end_user.pk])
        return found | {"effects": cursor.rowcount}


def _erase_words(person: Person) -> dict[str, int]:
    """Replace the person's words wherever else they stand in the project. Reads whole tables of it: this is done once."""
    if not person.words:
        return {}
    found = replace_words(person)
    found["answers_kept"] = delete_answers(person)
    found["exports"] = _take_exports(person)
    found |= {table: _replace_in_log(person, table, column, texts) for table, column, texts in ADMIN_LOGS}
    return found


def _take_exports(person: Person) -> int:
    """Delete finished files, and stop those being made: their maker would go on with rows that were read before."""
    # Files of this project, and those over all: nobody else's.
    of_theirs = Q(project=person.project_id) | Q(project=None)
    stopped_text = "A person was anonymised meanwhile. Ask for the file again."
    status = Export.Status
    unfinished = Export.objects.filter(of_theirs, status__in=[status.PENDING, status.RUNNING])
    # Without its lease the maker writes no further piece, and takes away what it has written (`TakenOver`).
    stopped = unfinished.update(
        status=status.FAILED, error=stopped_text, filters="", lease_until=None, done_at=timezone.now()
    )
    # What was searched for may be the person's address.
    Export.objects.filter(of_theirs, status=status.FAILED).exclude(filters="").update(filters="")
    done = list(Export.objects.filter(of_theirs, status=status.DONE).select_for_update(no_key=True))
    pieces = ExportPart.objects.filter(export__in=done).delete()[0]
    Export.objects.filter(pk__in=[row.pk for row in done]).update(status=status.EXPIRED, filters="")
    return stopped + pieces


def _replace_in_log(person: Person, table: str, column: str, texts: tuple[str, ...]) -> int:
    replaced = ", ".join(f"{name} = regexp_replace({name}, %(pattern)s, %(erased)s, 'gi')" for name in texts)
    holds = " OR ".join(f"{name} ~* %(pattern)s" for name in texts)
    query = f"UPDATE {table} SET {replaced} WHERE {column} = ANY(%(rows)s) AND ({holds})"  # noqa: S608 - names of ours
    rows: list[uuid.UUID] = [person.end_user.pk, *person.license_ids]
    mine = {"project": person.project_id, "end_user": person.end_user.pk}
    for model in (StripeCustomer, Subscription, Transaction, CheckoutSession):
        rows += model._default_manager.filter(**mine).values_list("pk", flat=True)
    with connection.cursor() as cursor:
        cursor.execute(query, {"pattern": person.pattern, "erased": ERASED, "rows": [str(one) for one in rows]})
        return int(cursor.rowcount)


def _erase_user(end_user: EndUser) -> None:
    """The row stays, as somebody of whom nothing is known, and who cannot be let in again."""
    was_active = end_user.is_active
    moment = timezone.now()
    end_user.external_id, end_user.email = f"anonymised-{end_user.pk}", None
    end_user.is_active, end_user.banned_at = False, end_user.banned_at or moment
    end_user.anonymised_at = moment
    end_user.save(update_fields=["external_id", "email", "is_active", "banned_at", "anonymised_at"])
    if was_active:
        announce_ban(end_user)


def _without_words(text: str, person: Person) -> str:
    if not person.words:
        return text
    with connection.cursor() as cursor:
        cursor.execute("SELECT regexp_replace(%s, %s, %s, 'gi')", [text, person.pattern, ERASED])
        return str(cursor.fetchone()[0])
