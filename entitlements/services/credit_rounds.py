"""Ends reservations whose time is over and whose wallet nobody touches. Reading a balance never waits for it."""

import datetime as dt
import logging

from django.db import connection

from common import clock
from entitlements.models import CreditReservation

logger = logging.getLogger(__name__)

ROUND_MAX = 1000


def end_overdue_reservations(*, at: dt.datetime | None = None) -> int:
    """Give overdue reservations back, each wallet in a transaction of its own. Returns how many wallets were looked at."""
    moment = at or clock.now()
    due = CreditReservation.objects.filter(state=CreditReservation.State.OPEN, expires_at__lte=moment)
    wallets = {row["wallet_id"] for row in due.order_by("expires_at").values("wallet_id")[:ROUND_MAX]}
    for wallet_id in sorted(wallets):
        with connection.cursor() as cursor:
            cursor.execute("SELECT credit_settle_wallet(%s, %s)", [wallet_id, moment])
    if wallets:
        logger.info("credit_reservations_ended wallets=%s", len(wallets))
    return len(wallets)
