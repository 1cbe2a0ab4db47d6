"""What was used, as bars that the server draws: no script, and a table that says the same."""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import Sum
from django.db.models.functions import TruncDate

from common import clock
from entitlements.models import CreditEntry, TokenPeriod
from entitlements.models.ledger import Contra

DAYS = 30
PERIODS = 6
WIDTH, HEIGHT, TOP = 600, 120, 8
GAP_SHARE = 0.25


@dataclass(frozen=True)
class Bar:
    """One bar. Units: `x`, `y`, `width` and `height` are units of the drawing, `amount` whole credits or tokens."""

    label: str
    amount: int
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Chart:
    """Bars from the oldest to the newest."""

    bars: list[Bar]
    largest: int
    total: int
    width: int = WIDTH
    height: int = HEIGHT

    @property
    def used(self) -> list[Bar]:
        """The bars that are not empty, the newest first: what the table lists."""
        return [bar for bar in reversed(self.bars) if bar.amount]


def draw_bars(figures: Sequence[tuple[str, int]]) -> Chart:
    """Lay bars out side by side; the largest one fills the height."""
    largest = max((amount for _, amount in figures), default=0)
    step = WIDTH / max(len(figures), 1)
    bars = []
    for number, (label, amount) in enumerate(figures):
        # A little is seen, too.
        height = max(2.0, (HEIGHT - TOP) * amount / largest) if amount > 0 else 0.0
        x = number * step + step * GAP_SHARE / 2
        bars.append(
            Bar(
                label,
                amount,
                round(x, 1),
                round(HEIGHT - height, 1),
                round(step * (1 - GAP_SHARE), 1),
                round(height, 1),
            )
        )
    return Chart(bars, largest, sum(amount for _, amount in figures))


def credits_by_day(*, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID) -> Chart:
    """Return the credits that somebody spent on each of the last days, which begin at 00:00 UTC. One query."""
    today = clock.now().astimezone(dt.UTC).date()
    first = today - dt.timedelta(days=DAYS - 1)
    rows = CreditEntry.objects.for_project(project_id).in_mode(mode)
    rows = rows.filter(
        account__kind=Contra.SPENT,
        transaction__wallet__end_user=end_user_id,
        transaction__wallet__project=project_id,
        transaction__wallet__mode=mode,
        transaction__created_at__gte=dt.datetime.combine(first, dt.time(), dt.UTC),
    )
    by_day = rows.annotate(day=TruncDate("transaction__created_at", tzinfo=dt.UTC)).values("day")
    spent = dict(by_day.annotate(spent=Sum("amount")).values_list("day", "spent"))
    days = [first + dt.timedelta(days=number) for number in range(DAYS)]
    return draw_bars([(f"{day.day} {day:%B}", max(0, int(spent.get(day, 0)))) for day in days])


def tokens_by_period(*, project_id: uuid.UUID, mode: str, end_user_id: uuid.UUID) -> Chart:
    """Return the tokens that somebody used in each of the last periods. One query."""
    rows = TokenPeriod.objects.of_user(project_id=project_id, mode=mode, end_user_id=end_user_id)
    newest = rows.annotate(used=Sum("uses__used_tokens")).order_by("-starts_at", "-id")[:PERIODS]
    return draw_bars([(f"from {row.starts_at.day} {row.starts_at:%B}", int(row.used or 0)) for row in reversed(newest)])
