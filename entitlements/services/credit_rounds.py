"""Ends reservations whose time is over and whose wallet nobody touches. Reading a balance never waits for it."""

import datetime as dt
import logging

from django.db import DatabaseError, connection, transaction
from django.db.models import Min

from common import clock
from entitlements.models import CreditReservation

logger = logging.getLogger(__name__)

ROUND_MAX = 1000


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
