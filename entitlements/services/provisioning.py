"""What an end user is to have at LiteLLM, and bringing it about.

Invariants: what is desired is written in the transaction that changes what the user holds, with a revision that only rises and an
effect for each; effects of one user run one at a time in their order, and each brings about the newest revision or nothing; a user
counts as done only after LiteLLM was asked and said so. Only the executor here changes anything at LiteLLM, and it makes no user by
an update: what is read first is not there is made on purpose (docs/litellm.md).
"""

import datetime as dt
import json
import logging
import uuid
from collections.abc import Mapping
from typing import Any

from django.db import connection as database
from django.db import transaction
from django.db.models import Value
from django.db.models.functions import Greatest, Now

from common import clock
from common.encryption import DecryptionError
from common.ids import uuid7
from entitlements.models import Connection, Entitlement, Plan, ProvisionedUser
from entitlements.services.connection_state import note_answer, note_problem
from entitlements.services.litellm_client import (
    USER_ROLE,
    Budget,
    LiteLLM,
    LiteLLMConflict,
    LiteLLMError,
    LiteLLMMisconfigured,
    LiteLLMUser,
)
from moderation.models import ReviewItem
from moderation.services.review import open_review_item
from notifications.models import OutboxRow
from notifications.services.outbox import EffectSkipped, EffectWaits, record_effect

logger = logging.getLogger(__name__)

Status = ProvisionedUser.Status
LITELLM = "litellm"
# What effects wait for while somebody has to mend the connection; saving it wakes them.
CONNECTION_ERROR = "connection_error"
WAITS = "This waits for a connection that works."
NO_CONNECTION = "No LiteLLM proxy is connected in this mode."
NEWER = "A newer state of this user follows."
USER_GONE = "The end user is gone."
# After so many attempts in vain a person is told; trying goes on.
ATTEMPTS_BEFORE_REVIEW = 3
METADATA_KEY = "payments"
BUDGET_TOLERANCE = 1e-6
NOTHING: dict[str, Any] = {
    "max_budget_cents": 0,
    "budget_duration": None,
    "tpm_limit": 0,
    "rpm_limit": 0,
    "plan": "",
}


class NotKept(LiteLLMError):
    """LiteLLM took the call and has something else: trying again may help, and a person is told."""


def follow_plan(entitlement: Entitlement, plan: Plan | None, moment: dt.datetime) -> None:
    """Record what an end user is to have from now on. One statement without a connection, a few with one.

    `plan` is the one that holds now: the user's own, else the free one, else None. Call in the transaction of the change.
    """
    connection = Connection.objects.litellm_of(entitlement.project_id, entitlement.mode)
    if connection is not None:
        desire(connection=connection, entitlement=entitlement, plan=plan, cause=entitlement.subscription_id)


def desire(*, connection: Connection, entitlement: Entitlement, plan: Plan | None, cause: str) -> bool:
    """Record what a user is to have by a plan; True when that is new, and an effect was recorded with it.

    A user who has nothing and never had anything is not made at LiteLLM.
    """
    is_bought = plan is not None and plan.pk == entitlement.plan_id and bool(entitlement.subscription_id)
    by_payment = is_bought and connection.spend_reset == Connection.SpendReset.PAYMENT
    reset_key, period, settled = "", entitlement.granted_period_start, connection.spend_settled_until
    if by_payment and period is not None and (settled is None or period >= settled):
        reset_key = f"{entitlement.subscription_id}:{int(period.timestamp())}"
    revision = _write_desire(
        connection=connection,
        end_user_id=entitlement.end_user_id,
        desired=NOTHING if plan is None else desired_of(plan, with_duration=not by_payment),
        reset_key=reset_key,
    )
    if revision is None:
        return False
    record_user_effect(
        project_id=connection.project_id,
        mode=connection.mode,
        end_user_id=entitlement.end_user_id,
        revision=revision,
        cause=cause,
    )
    return True


def follow_edit(plan: Plan) -> None:
    """Have everybody compared in the next round who has what this plan gave, or nothing, before it was edited."""
    rows = ProvisionedUser.objects.for_project(plan.project_id)
    rows.filter(desired__plan__in=[plan.code, ""]).update(last_read_at=None)


# The key ends with the begin of the period: see desire.
_SETTLE = """
    UPDATE entitlements_provisioneduser SET spend_reset_done = spend_reset_key
    WHERE project_id = %s AND mode = %s AND spend_reset_done <> spend_reset_key
      AND substring(spend_reset_key FROM '[0-9]+$')::bigint < %s
"""


def settle_spend(*, project_id: uuid.UUID, mode: str, until: dt.datetime) -> None:
    """Count the spend as set back for every paid period that began before a moment: after a restore it was, before the loss."""
    rows = Connection.objects.for_project(project_id).filter(mode=mode)
    with transaction.atomic(), database.cursor() as cursor:
        rows.update(spend_settled_until=Greatest("spend_settled_until", Value(until)))
        cursor.execute(_SETTLE, [project_id, mode, until.timestamp()])


def desired_of(plan: Plan, *, with_duration: bool = True) -> dict[str, Any]:
    """Return what a plan gives. Without a duration LiteLLM never sets the spend back by itself."""
    return {
        "max_budget_cents": plan.compute_budget_cents,
        "budget_duration": plan.compute_budget_duration if with_duration else None,
        "tpm_limit": plan.tokens_per_minute,
        "rpm_limit": plan.requests_per_minute,
        "plan": plan.code,
    }


def record_user_effect(
    *, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID, revision: int, cause: str, discriminator: str = ""
) -> bool:
    """Record that a revision is to be brought about; an older one that waits for its next attempt is not waited for."""
    lane = f"{LITELLM}:{end_user_id}"
    recorded = record_effect(
        project_id=project_id,
        mode=mode,
        kind=LITELLM,
        effect_key=f"{lane}:{revision}" + (f":{discriminator}" if discriminator else ""),
        payload={"revision": revision},
        end_user_id=end_user_id,
        cause=cause,
        lane=lane,
    )
    if recorded:
        before = OutboxRow.objects.for_project(project_id).filter(mode=mode, kind=LITELLM, lane=lane, wait_reason="")
        before.filter(status=OutboxRow.Status.PENDING, attempts__gt=0).update(next_attempt_at=Now())
    return recorded


# One statement, so that two changes at once each get a revision. A banned user has nothing, nor has one of a deleted project.
_DESIRE = """
    WITH wanted AS (
        SELECT e.id AS end_user_id, e.project_id, e.external_id,
               e.is_active AND e.banned_at IS NULL AND p.deleted_at IS NULL AS may_have
        FROM projects_enduser e JOIN projects_project p ON p.id = e.project_id
        WHERE e.id = %(end_user)s AND e.project_id = %(project)s
    )
    INSERT INTO entitlements_provisioneduser AS held
        (id, project_id, mode, end_user_id, litellm_user_id, desired, desired_revision, spend_reset_key)
    SELECT %(id)s, wanted.project_id, %(mode)s, wanted.end_user_id, %(prefix)s || wanted.external_id,
           CASE WHEN wanted.may_have THEN %(desired)s::jsonb ELSE %(nothing)s::jsonb END, 1, %(reset_key)s
    FROM wanted
    WHERE (wanted.may_have AND %(gives)s)
       OR EXISTS (SELECT 1 FROM entitlements_provisioneduser known
                  WHERE known.project_id = wanted.project_id AND known.mode = %(mode)s AND known.end_user_id = wanted.end_user_id)
    ON CONFLICT (project_id, mode, end_user_id) DO UPDATE
    SET desired = EXCLUDED.desired, desired_revision = held.desired_revision + 1, status = 'pending', error = '',
        spend_reset_key = CASE WHEN EXCLUDED.spend_reset_key = '' THEN held.spend_reset_key ELSE EXCLUDED.spend_reset_key END
    WHERE held.desired IS DISTINCT FROM EXCLUDED.desired
       OR (EXCLUDED.spend_reset_key <> '' AND held.spend_reset_key <> EXCLUDED.spend_reset_key)
    RETURNING desired_revision
"""


def _write_desire(
    *, connection: Connection, end_user_id: uuid.UUID, desired: Mapping[str, Any], reset_key: str
) -> int | None:
    """Write what is desired and return its revision; None when nothing changed."""
    values: dict[str, Any] = {
        "id": uuid7(),
        "project": connection.project_id,
        "mode": connection.mode,
        "end_user": end_user_id,
        "prefix": connection.user_id_prefix,
        "desired": json.dumps(dict(desired)),
        "nothing": json.dumps(NOTHING),
        "gives": dict(desired) != NOTHING,
        "reset_key": reset_key,
    }
    with database.cursor() as cursor:
        cursor.execute(_DESIRE, values)
        row = cursor.fetchone()
    return int(row[0]) if row else None


# Carrying it out


def provision_user(row: OutboxRow) -> Mapping[str, Any]:
    """Bring about at LiteLLM what a user is to have now, and read back that it is so.

    Raises: EffectSkipped, EffectWaits while somebody has to mend the connection, LiteLLMError.
    """
    rows = ProvisionedUser.objects.for_project(row.project_id).in_mode(row.mode)
    user = rows.filter(end_user=row.end_user_id).select_related("end_user").first()
    if user is None:
        raise EffectSkipped(USER_GONE)
    if user.desired_revision > int(row.payload.get("revision", 0)):
        raise EffectSkipped(NEWER)
    connection = Connection.objects.litellm_of(row.project_id, row.mode)
    if connection is None:
        raise EffectSkipped(NO_CONNECTION)
    try:
        client = client_of(connection)
        seen, done = bring_about(client, connection, user)
    except (DecryptionError, LiteLLMMisconfigured) as error:
        note_problem(connection, problem_of(error))
        raise EffectWaits(CONNECTION_ERROR, f"{error} {WAITS}", holds_its_kind=True) from None
    except LiteLLMError as error:
        note_problem(connection, error.problem)
        _note_failure(row, user, error)
        raise
    note_answer(connection)
    note_applied(user, seen)
    return {"user_id": user.litellm_user_id, "revision": user.desired_revision, "done": done}


def client_of(connection: Connection) -> LiteLLM:
    """Return a client of a connection. Raises common.encryption.DecryptionError."""
    return LiteLLM(
        base_url=connection.base_url, master_key=connection.get_master_key(), whose=str(connection.project_id)
    )


def problem_of(error: Exception) -> str:
    """Name what keeps a connection from working, for its page."""
    return error.problem if isinstance(error, LiteLLMError) else Connection.Problem.KEY_UNREADABLE


def bring_about(client: LiteLLM, connection: Connection, user: ProvisionedUser) -> tuple[LiteLLMUser, str]:
    """Make or change the user where it differs, and return it as it was read back. Raises: LiteLLMError, NotKept."""
    seen, done = client.read_user(user.litellm_user_id), "nothing"
    resets = bool(user.spend_reset_key) and user.spend_reset_key != user.spend_reset_done
    if seen is None:
        seen, done, resets = *_make(client, connection, user), False
    if resets or differences(connection, user, seen):
        _change(client, connection, user, seen, resets=resets)
        seen, done = _read_back(client, user), "changed" if done == "nothing" else done
    left = differences(connection, user, seen)
    if left:
        raise NotKept(f"LiteLLM has something else than it was told: {', '.join(left)}.")
    return seen, done


def _make(client: LiteLLM, connection: Connection, user: ProvisionedUser) -> tuple[LiteLLMUser, str]:
    """Make a user without a key. Somebody else may have made it meanwhile, or hold its address."""
    wanted: dict[str, Any] = {
        "user_id": user.litellm_user_id,
        "budget": budget_of(user),
        "metadata": _metadata_of(user),
    }
    try:
        client.create_user(user_email=_email_of(connection, user), **wanted)
    except LiteLLMConflict:
        found = client.read_user(user.litellm_user_id)
        if found is not None:
            _note_spend_reset(user)
            return found, "found"
        _go_without_email(user)
        client.create_user(user_email=None, **wanted)
    # Who was made a moment ago has spent nothing.
    _note_spend_reset(user)
    return _read_back(client, user), "made"


def _change(client: LiteLLM, connection: Connection, user: ProvisionedUser, seen: LiteLLMUser, *, resets: bool) -> None:
    changes: dict[str, Any] = {}
    if seen.metadata.get(METADATA_KEY) != _metadata_of(user)[METADATA_KEY]:
        # LiteLLM replaces the whole, so what others keep there is sent along.
        changes["metadata"] = seen.metadata | _metadata_of(user)
    if seen.user_role is None:
        changes["user_role"] = USER_ROLE
    if resets:
        changes["spend"] = 0
    email = _email_of(connection, user)
    with_email = {"user_email": email} if email and not _same_text(email, seen.user_email) else {}
    try:
        client.update_user(user_id=user.litellm_user_id, budget=budget_of(user), changes=changes | with_email)
    except LiteLLMConflict:
        if not with_email:
            raise
        _go_without_email(user)
        client.update_user(user_id=user.litellm_user_id, budget=budget_of(user), changes=changes)
    if resets:
        _note_spend_reset(user)


def _note_spend_reset(user: ProvisionedUser) -> None:
    """Note that the spend was set back, before anything else can fail: an attempt that comes after must not do it again."""
    user.spend_reset_done = user.spend_reset_key
    rows = ProvisionedUser.objects.for_project(user.project_id).filter(pk=user.pk)
    rows.update(spend_reset_done=user.spend_reset_key)


def _read_back(client: LiteLLM, user: ProvisionedUser) -> LiteLLMUser:
    seen = client.read_user(user.litellm_user_id)
    if seen is None:
        raise NotKept("LiteLLM took the user and does not know them.")
    return seen


def differences(connection: Connection, user: ProvisionedUser, seen: LiteLLMUser) -> list[str]:
    """Name what LiteLLM has otherwise than it should. Spend and dates are its own."""
    wanted, found = budget_of(user).fields(), seen.budget_fields()
    differing = [name for name in wanted if not _same(wanted[name], found[name])]
    email = _email_of(connection, user)
    if email and not _same_text(email, seen.user_email):
        differing.append("user_email")
    if seen.user_role is None:
        # A user whom an update made by itself has none, and can do nothing.
        differing.append("user_role")
    if seen.metadata.get(METADATA_KEY) != _metadata_of(user)[METADATA_KEY]:
        differing.append("metadata")
    return differing


def _same(wanted: Any, found: Any) -> bool:
    if isinstance(wanted, int | float) and isinstance(found, int | float):
        return abs(wanted - found) < BUDGET_TOLERANCE
    return bool(wanted == found)


def _same_text(wanted: str, found: str | None) -> bool:
    return found is not None and wanted.casefold() == found.casefold()


def budget_of(user: ProvisionedUser) -> Budget:
    """Return a user's desired limits."""
    return Budget(**{name: user.desired.get(name) for name in NOTHING if name != "plan"})


def _email_of(connection: Connection, user: ProvisionedUser) -> str | None:
    return (user.end_user.email or None) if connection.share_email and not user.email_refused else None


def _metadata_of(user: ProvisionedUser) -> dict[str, dict[str, str]]:
    """Return our own part of the user's metadata, by which people at LiteLLM see whose user it is."""
    own = {
        "project_id": str(user.project_id),
        "mode": user.mode,
        "user_id": user.end_user.external_id,
        "plan": str(user.desired.get("plan") or ""),
    }
    return {METADATA_KEY: own}


def _go_without_email(user: ProvisionedUser) -> None:
    user.email_refused = True
    ProvisionedUser.objects.for_project(user.project_id).filter(pk=user.pk).update(email_refused=True)


def observed_of(seen: LiteLLMUser) -> dict[str, Any]:
    """Return what of a user at LiteLLM is kept for people to see."""
    return seen.budget_fields() | {"spend": seen.spend, "user_role": seen.user_role}


def note_applied(user: ProvisionedUser, seen: LiteLLMUser) -> None:
    """Note that LiteLLM has what was desired; a revision that came meanwhile stays pending."""
    rows = ProvisionedUser.objects.for_project(user.project_id).filter(pk=user.pk)
    rows.update(
        applied_revision=user.desired_revision,
        observed=observed_of(seen),
        last_read_at=clock.now(),
        error="",
    )
    rows.filter(desired_revision=user.desired_revision).exclude(status=Status.LEFT_BEHIND).update(
        status=Status.APPLIED, failed_at=None
    )


def _note_failure(row: OutboxRow, user: ProvisionedUser, error: LiteLLMError) -> None:
    """Keep why it did not work; a person is told of what was tried in vain several times, or cannot work."""
    ProvisionedUser.objects.for_project(user.project_id).filter(pk=user.pk).update(error=str(error))
    if error.retryable and row.attempts + 1 < ATTEMPTS_BEFORE_REVIEW:
        return
    open_review_item(
        project_id=row.project_id,
        mode=row.mode,
        kind=ReviewItem.Kind.FAILED_PROVISIONING,
        cause_key=f"{LITELLM}:{user.end_user_id}:{user.desired_revision}",
        title=f"{user.litellm_user_id} does not have at LiteLLM what their plan gives",
        subject=str(user.pk),
        end_user_id=user.end_user_id,
        details={"desired": user.desired, "observed": user.observed, "error": str(error), "attempts": row.attempts + 1},
    )


def note_dead_letter(row: OutboxRow) -> None:
    """Mark the user of an effect that was given up; the sweep takes them up again later."""
    if row.kind != LITELLM or row.end_user_id is None:
        return
    rows = ProvisionedUser.objects.for_project(row.project_id).in_mode(row.mode).filter(end_user=row.end_user_id)
    with transaction.atomic(savepoint=False):
        rows.filter(desired_revision=row.payload.get("revision", 0)).update(status=Status.FAILED, failed_at=clock.now())
