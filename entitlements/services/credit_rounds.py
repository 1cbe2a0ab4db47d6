"""What time brings about in wallets that nobody touches: reservations end, and plans that were given by hand give their next month.

Reading a balance never waits for it.
"""

import datetime as dt
import logging

from django.db import DatabaseError, connection, transaction
from django.db.models import Min

from common import clock
from entitlements.models import CreditReservation, CreditTransaction, Entitlement
from entitlements.services import plan_credits
from entitlements.services.holdings import lock_holdings
from projects.models import Project

logger = logging.getLogger(__name__)

ROUND_MAX = 1000
LOOKED_AT_ONCE = 500


def end_overdue_reservations(*, at: dt.datetime | None = None) -> int:
    """Give overdue reservations back, each wallet in a transaction of its own. Returns how many wallets were looked at.

    A wallet that cannot be settled is said in the log and holds up no other.
    """
    moment = at or clock.now()
    due = CreditReservation.objects.filter(state=CreditReservation.State.OPEN, expires_at__lte=moment)
    oldest = due.values("wallet_id").annotate(first=Min("expires_at")).order_by("first")
    wallets = sorted(row["wallet_id"] for row in oldest[:ROUND_MAX])
    for wallet_id in wallets:
        try:
            with transaction.atomic(), connection.cursor() as cursor:
                cursor.execute("SELECT credit_settle_wallet(%s, %s)", [wallet_id, moment])
        except DatabaseError as error:
            logger.error("credit_wallet_not_settled wallet=%s error=%s", wallet_id, type(error).__name__)
    if wallets:
        logger.info("credit_reservations_ended wallets=%s", len(wallets))
    return len(wallets)


def give_months_of_given_plans(*, at: dt.datetime | None = None) -> int:
    """Give the credits of each month that has begun of a plan that was given by hand. Returns how many wallets were looked at.

    Two rounds at once, or one that is repeated, give nothing twice: the month is the key.
    """
    moment = at or clock.now()
    rows = Entitlement.objects.filter(active=True, subscription_id="", granted_period_start__lte=moment)
    rows = rows.filter(plan__credits_per_period__gt=0, project__in=Project.objects.existing()).order_by("pk")
    given, last = 0, None
    while True:
        found = list((rows.filter(pk__gt=last) if last else rows)[:LOOKED_AT_ONCE])
        given += sum(_give_month(row, moment) for row in _without_their_month(found, moment))
        if len(found) < LOOKED_AT_ONCE:
            break
        last = found[-1].pk
    if given:
        logger.info("credit_months_given wallets=%s", given)
    return given


def _without_their_month(rows: list[Entitlement], moment: dt.datetime) -> list[Entitlement]:
    keys = [(row.project_id, row.mode, plan_credits.period_key(row, moment)) for row in rows]
    ledger = CreditTransaction.objects.filter(
        project__in={project_id for project_id, _, _ in keys}, key__in={key for *_, key in keys}
    )
    known = set(ledger.values_list("project_id", "mode", "key"))
    return [row for key, row in zip(keys, rows, strict=True) if key not in known]


def _give_month(row: Entitlement, moment: dt.datetime) -> int:
    try:
        with transaction.atomic():
            lock_holdings(project_id=row.project_id, mode=row.mode, end_user_ids=[row.end_user_id])
            held = Entitlement.objects.for_project(row.project_id).filter(pk=row.pk).select_related("plan").get()
            if held.is_given:
                plan_credits.follow_plan(held, held.plan, moment)
        return 1
    except DatabaseError as error:
        # The others must not wait for this one; the next round tries it again.
        logger.error(
            "credit_month_not_given project=%s user=%s error=%s", row.project_id, row.end_user_id, type(error).__name__
        )
        return 0
