"""Compares both sides again and again: what users are to have by their plans today, and what they have at LiteLLM.

Invariant: nothing is changed at LiteLLM here; what differs is recorded as an effect like any other (services/provisioning.py). A
run is bounded and goes on where the last one ended, since whoever was read longest ago comes first. So a revocation that got lost,
a limit changed by hand and a plan whose figures were edited are made good within READ_EVERY, and a grace's end within a round.
"""

import datetime as dt
import logging
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

from django.db import transaction
from django.db.models import Exists, F, OuterRef, Q

from common import clock
from common.encryption import DecryptionError
from entitlements.models import Connection, Entitlement, Plan, ProvisionedUser
from entitlements.services.connection_state import note_answer, note_problem
from entitlements.services.holdings import plan_held
from entitlements.services.litellm_client import LiteLLM, LiteLLMError, LiteLLMUnexpected
from entitlements.services.provisioning import (
    LITELLM,
    client_of,
    desire,
    differences,
    note_applied,
    observed_of,
    problem_of,
    record_user_effect,
)
from moderation.models import ReviewItem
from moderation.services.review import open_review_item
from notifications.models import OutboxRow
from projects.appearance import APPEARANCE_COLUMNS
from projects.models import EndUser, Project

logger = logging.getLogger(__name__)

Status = ProvisionedUser.Status
READ_EVERY = dt.timedelta(hours=1)
KEYS_READ_EVERY = dt.timedelta(days=1)
# What LiteLLM refuses for good is tried again this often: somebody may have mended it there.
FAILED_AGAIN_AFTER = dt.timedelta(days=1)
LAPSED_WITHIN = dt.timedelta(days=2)
BATCH = 100
# One user of an odd shape is passed over; so many in a row say that this is no LiteLLM.
ODD_ANSWERS_MAX = 3
RUN_SECONDS_MAX = 240.0
# What of a run may go by with planning, which asks no proxy, before the proxies are read.
PLANNING_SHARE = 0.5
SWEEP = "sweep"


class Step(Protocol):
    """A part of a run: does what is to be done for a connection until a time, and says whether all of it was."""

    def __call__(self, *, connection: Connection, until: float, swept: "Swept") -> bool: ...


@dataclass
class Swept:
    """What a run found."""

    planned: int = 0
    read: int = 0
    drifted: int = 0
    failed_connections: int = 0


def sweep_all(*, seconds_max: float = RUN_SECONDS_MAX) -> Swept:
    """Sweep every connection in use for a bounded time: plan for all, then read back, those that work first.

    The time is shared, so that one slow proxy or one large project keeps no other waiting.
    """
    swept, began = Swept(), time.monotonic()
    connections = sorted(Connection.objects.active().order_by("?"), key=lambda one: bool(one.problem))
    _take_turns(plan_missing, connections, began + seconds_max * PLANNING_SHARE, swept)
    _take_turns(read_back, connections, began + seconds_max, swept)
    logger.info(
        "provisioning_swept planned=%s read=%s drifted=%s failed_connections=%s",
        swept.planned, swept.read, swept.drifted, swept.failed_connections,
    )  # fmt: skip
    return swept


def _take_turns(step: Step, connections: list[Connection], until: float, swept: Swept) -> None:
    """Do a step for each in a fair part of the time that is left; whoever did not end in it comes again with what others leave."""
    while connections and time.monotonic() < until:
        unfinished = []
        for position, connection in enumerate(connections):
            now = time.monotonic()
            if now >= until:
                return
            part = (until - now) / (len(connections) - position)
            if not step(connection=connection, until=now + part, swept=swept):
                unfinished.append(connection)
        connections = unfinished


def plan_missing(*, connection: Connection, until: float, swept: Swept) -> bool:
    """Plan what is missing, without asking the proxy; False when the time ended first."""
    for end_user_id in _not_planned(connection):
        if time.monotonic() >= until:
            return False
        swept.planned += follow_user(connection=connection, end_user_id=end_user_id)
    return True


def read_back(*, connection: Connection, until: float, swept: Swept) -> bool:
    """Read back who is due; False when the time ended first. A proxy that does not answer is left until the next round."""
    read_before = swept.read
    try:
        ended = _read_due(client_of(connection), connection, until, swept)
    except (DecryptionError, LiteLLMError) as error:
        swept.failed_connections += 1
        note_problem(connection, problem_of(error))
        return True
    if swept.read > read_before:
        note_answer(connection)
    return ended


def _read_due(client: LiteLLM, connection: Connection, until: float, swept: Swept) -> bool:
    odd = 0
    for user in _due(connection):
        if time.monotonic() >= until:
            return False
        try:
            _compare(client, connection, user, swept)
            odd = 0
        except LiteLLMUnexpected:
            odd += 1
            if odd > ODD_ANSWERS_MAX:
                raise
    return True


def follow_user(*, connection: Connection, end_user_id: uuid.UUID) -> bool:
    """Record what a user is to have by what they hold at this moment; True when that is new."""
    with transaction.atomic():
        rows = Entitlement.objects.for_project(connection.project_id).in_mode(connection.mode)
        entitlement = rows.filter(end_user=end_user_id).select_related("plan").first()
        if entitlement is None:
            entitlement = Entitlement(
                project_id=connection.project_id, mode=connection.mode, end_user_id=end_user_id, active=False
            )
        plan = plan_held(entitlement, clock.now())
        return desire(connection=connection, entitlement=entitlement, plan=plan, cause=SWEEP)


def follow_appearance(end_user: EndUser, mode: str) -> None:
    """Give somebody who appears for the first time what the free plan gives, if there is one: one statement unconnected."""
    connection = Connection.objects.litellm_of(end_user.project_id, mode)
    if connection is not None:
        follow_user(connection=connection, end_user_id=end_user.pk)


def follow_ban(end_user: EndUser) -> None:
    """Take away what a banned user has. One statement where nothing is connected."""
    for connection in Connection.objects.for_project(end_user.project_id).active():
        follow_user(connection=connection, end_user_id=end_user.pk)


def _not_planned(connection: Connection) -> Iterator[uuid.UUID]:
    """Yield users who are to have something and are not planned, then those whose grace has ended since."""
    moment = clock.now()
    if Project.objects.existing().filter(pk=connection.project_id).exists():
        missing, last = _missing(connection, moment), uuid.UUID(int=0)
        while batch := list(missing.filter(pk__gt=last)[:BATCH]):
            yield from batch
            last = batch[-1]
    lapsed = Entitlement.objects.for_project(connection.project_id).in_mode(connection.mode)
    lapsed = lapsed.filter(active=True, active_until__lte=moment, active_until__gt=moment - LAPSED_WITHIN)
    yield from list(lapsed.values_list("end_user_id", flat=True))


def _missing(connection: Connection, moment: dt.datetime) -> Any:
    """Return users whom a plan gives something and who have no row: with a free plan that is everybody who ever appeared."""
    users = EndUser.objects.for_project(connection.project_id).filter(is_active=True, banned_at__isnull=True)
    held = Entitlement.objects.for_project(connection.project_id).in_mode(connection.mode)
    held = held.filter(end_user=OuterRef("pk"), active=True, plan__isnull=False)
    held = held.filter(Q(active_until__isnull=True) | Q(active_until__gt=moment))
    wanted = Q(Exists(held))
    if Plan.objects.free_of(connection.project_id) is not None:
        wanted |= Q(**{f"{APPEARANCE_COLUMNS[connection.mode]}__isnull": False})
    planned = ProvisionedUser.objects.for_project(connection.project_id).in_mode(connection.mode)
    return (
        users.filter(wanted)
        .exclude(Exists(planned.filter(end_user=OuterRef("pk"))))
        .order_by("pk")
        .values_list("pk", flat=True)
    )


def _due(connection: Connection) -> Iterator[ProvisionedUser]:
    """Yield users whom nobody has read for long, the longest first."""
    before = clock.now() - READ_EVERY
    rows = ProvisionedUser.objects.for_project(connection.project_id).in_mode(connection.mode)
    rows = rows.filter(Q(last_read_at__isnull=True) | Q(last_read_at__lt=before)).select_related("end_user")
    rows = rows.order_by(F("last_read_at").asc(nulls_first=True), "pk")
    seen: set[uuid.UUID] = set()
    while batch := [row for row in rows[:BATCH] if row.pk not in seen]:
        for row in batch:
            seen.add(row.pk)
            yield row


def _compare(client: LiteLLM, connection: Connection, user: ProvisionedUser, swept: Swept) -> None:
    """Read one user back. Whose state is new, or under way, is read by their effect."""
    rows = ProvisionedUser.objects.for_project(user.project_id).filter(pk=user.pk)
    is_new = follow_user(connection=connection, end_user_id=user.end_user_id)
    swept.planned += is_new
    if is_new or _is_under_way(user):
        rows.update(last_read_at=clock.now())
        return
    # Also one whose answer is odd is not the first to be asked next time.
    rows.update(last_read_at=clock.now())
    found = client.read_user(user.litellm_user_id)
    swept.read += 1
    resets = bool(user.spend_reset_key) and user.spend_reset_key != user.spend_reset_done
    if found is not None and not resets and not differences(connection, user, found):
        note_applied(user, found)
    else:
        differing = ["missing"] if found is None else differences(connection, user, found)
        observed = None if found is None else observed_of(found)
        swept.drifted += _heal(user, observed, differing)
    if found is not None and (user.keys_read_at is None or user.keys_read_at < clock.now() - KEYS_READ_EVERY):
        _look_at_keys(client, user)


def _is_under_way(user: ProvisionedUser) -> bool:
    lane = f"{LITELLM}:{user.end_user_id}"
    rows = OutboxRow.objects.for_project(user.project_id).filter(mode=user.mode, kind=LITELLM, lane=lane)
    return rows.unfinished().exists()


def _heal(user: ProvisionedUser, observed: dict[str, object] | None, differing: list[str]) -> bool:
    """Record that a user is to be brought back to what they should have; of two sweeps at once one does."""
    now = clock.now()
    rows = ProvisionedUser.objects.for_project(user.project_id).filter(pk=user.pk)
    if user.status == Status.FAILED and user.failed_at is not None and now - user.failed_at < FAILED_AGAIN_AFTER:
        rows.update(last_read_at=now, observed=observed)
        return False
    with transaction.atomic():
        taken = rows.filter(drift_count=user.drift_count, desired_revision=user.desired_revision)
        if not taken.update(
            drift_count=F("drift_count") + 1,
            status=Status.PENDING,
            last_read_at=now,
            observed=observed,
            error=f"Differs at LiteLLM: {', '.join(differing)}." if differing else "",
        ):
            return False
        logger.warning(
            "provisioning_drift project=%s mode=%s user=%s differs=%s",
            user.project_id, user.mode, user.end_user_id, ",".join(differing),
        )  # fmt: skip
        return record_user_effect(
            project_id=user.project_id,
            mode=user.mode,
            end_user_id=user.end_user_id,
            revision=user.desired_revision,
            cause=SWEEP,
            discriminator=f"drift-{user.drift_count + 1}",
        )


def _look_at_keys(client: LiteLLM, user: ProvisionedUser) -> None:
    """Count the user's keys that belong to a team, and tell a person: such a key is not held to the user's budget."""
    count = client.count_team_keys(user.litellm_user_id)
    rows = ProvisionedUser.objects.for_project(user.project_id).filter(pk=user.pk)
    rows.update(team_keys=count, keys_read_at=clock.now())
    if count <= user.team_keys:
        return
    open_review_item(
        project_id=user.project_id,
        mode=user.mode,
        kind=ReviewItem.Kind.FAILED_PROVISIONING,
        cause_key=f"team-keys:{user.end_user_id}:{count}",
        title=f"{user.litellm_user_id} has {count} keys of a team, which skip the budget of their plan",
        subject=str(user.pk),
        end_user_id=user.end_user_id,
        details={"team_keys": count, "mend": "Give the user keys without a team, or the team a budget of its own."},
    )
