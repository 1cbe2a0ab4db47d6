"""Is the process up (/healthz), and can it do its work (/readyz)?

/healthz is what a supervisor restarts on. /readyz is what an operator and `make run` look at: a web process whose Redis
is gone is not ready by that measure and yet goes on storing webhooks, so never take it out of rotation for that.
"""

import datetime as dt
import time
from collections.abc import Callable

from django.conf import settings
from django.db import connection
from django.db.models.functions import Now
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from config import heartbeat
from notifications.models import OutboxRow
from notifications.services.outbox import executable_kinds
from payments.clock_trouble import recent_seconds_off
from payments.models import WebhookEvent
from payments.signatures import TOLERANCE_SECONDS

# A worker reports every five seconds; three missed reports mean that it is gone.
HEARTBEAT_STALE_SECONDS = 17
# Retries wait minutes by design, so only events that were due this long ago say that nobody works.
PENDING_TOO_OLD_SECONDS = 300
# Said, and no more than that, while signatures still verify.
CLOCK_OFF_SECONDS = 30
NEEDS_DATABASE = {"pending_events", "outbox", "clock"}


class NotReady(Exception):
    """A check that failed, with a text that is safe to show."""


@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """Answer 200 as long as the process serves requests."""
    return JsonResponse({"status": "ok"})


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """Answer 200 when all of these are in order, else 503; the body says which is not."""
    checks = {
        "database": _database,
        "redis": _redis_answers,
        "worker": _worker,
        "pending_events": _pending_events,
        "outbox": _outbox,
        "mail": _mail,
        "clock": _clock,
    }
    results: dict[str, str] = {}
    failed: set[str] = set()
    for name, check in checks.items():
        if "database" in failed and name in NEEDS_DATABASE:
            # Asking again would only wait as long again.
            results[name] = "not known without the database"
            continue
        ok, results[name] = _run(check)
        if not ok:
            failed.add(name)
    ready = not failed
    return JsonResponse({"status": "ok" if ready else "unavailable", "checks": results}, status=200 if ready else 503)


def _run(check: Callable[[], str]) -> tuple[bool, str]:
    """Run one check. Only the kind of an unexpected error is shown: its text may name hosts and users."""
    try:
        return True, check()
    except NotReady as reason:
        return False, str(reason)
    except Exception as error:
        return False, f"failed: {type(error).__name__}"


def _database() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    return "ok"


def _redis_answers() -> str:
    heartbeat.client(settings.REDIS_URL).ping()
    return "ok"


def _worker() -> str:
    age = heartbeat.newest_heartbeat_age_seconds(settings.REDIS_URL)
    if age is None:
        raise NotReady("no worker has reported yet")
    if age > HEARTBEAT_STALE_SECONDS:
        raise NotReady(f"no worker has reported for {age:.0f} s")
    return f"ok, reported {age:.0f} s ago"


def _pending_events() -> str:
    oldest = (
        WebhookEvent.objects.unfinished()
        .order_by("next_attempt_at")
        .annotate(database_now=Now())
        .values_list("next_attempt_at", "database_now")
        .first()
    )
    if oldest is None:
        return "ok, none pending"
    overdue: dt.timedelta = oldest[1] - oldest[0]
    if overdue.total_seconds() > PENDING_TOO_OLD_SECONDS:
        raise NotReady(f"the oldest due event has waited for {overdue.total_seconds():.0f} s")
    return f"ok, oldest due for {max(0.0, overdue.total_seconds()):.0f} s"


def _clock() -> str:
    """Compare this machine's clock with the database's; a wrong one makes true signatures look old."""
    with connection.cursor() as cursor:
        asked_at = time.time()
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        (database_time,) = cursor.fetchone()
        ahead = (asked_at + time.time()) / 2 - database_time
    if abs(ahead) > TOLERANCE_SECONDS:
        raise NotReady(f"{_off(ahead)} the database's: every delivery of Stripe is refused")
    refused = recent_seconds_off()
    if refused is not None:
        return f"warning: a signed delivery was refused, by which {_off(refused)} Stripe's"
    return f"warning: {_off(ahead)} the database's" if abs(ahead) > CLOCK_OFF_SECONDS else "ok"


def _off(seconds_ahead: float) -> str:
    return f"this machine's clock is {abs(seconds_ahead):.0f} s {'ahead of' if seconds_ahead > 0 else 'behind'}"


def _outbox() -> str:
    """Pauses after trouble are minutes or an hour by design: only what was due so long ago says that nobody works."""
    rows = OutboxRow.objects.unfinished().filter(kind__in=executable_kinds()).order_by("next_attempt_at")
    oldest = rows.annotate(database_now=Now()).values_list("next_attempt_at", "database_now").first()
    overdue = (oldest[1] - oldest[0]).total_seconds() if oldest else 0.0
    if overdue > PENDING_TOO_OLD_SECONDS:
        raise NotReady(f"the oldest due effect has waited for {overdue:.0f} s")
    return f"ok, oldest due for {max(0.0, overdue):.0f} s" if oldest else "ok, none pending"


def _mail() -> str:
    """Mails that nobody receives are no reason to take the service away, but an operator must see it."""
    if "smtp" in settings.EMAIL_BACKEND or settings.EMAIL_BACKEND.startswith("anymail."):
        return "ok"
    return "warning: no mail server (EMAIL_URL); mails are kept as files and nobody receives them"
