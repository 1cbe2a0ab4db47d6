"""The webhook endpoint in the customer's Stripe account: made, moved, completed, switched on again, rolled and taken away.

Invariants: a signing secret that somebody put in by hand is never replaced; an endpoint that this service did not make is
changed only when a developer asks for it, and never deleted; no transaction is open while Stripe is asked; trouble with an
endpoint is a status and a text on the credentials, and never keeps keys from being saved.
"""

import datetime as dt
import logging
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db.models.functions import Now

from accounts.models import User
from common import clock
from common.encryption import DecryptionError
from common.errors import ApiError, Conflict
from common.ids import uuid7
from common.logs import redact
from moderation.services.action_log import log_action
from payments.models import StripeCredentials
from payments.services.endpoint_creation import (
    CREATE_ENDPOINT,
    ENDPOINTS,
    MANAGED,
    ROLLING,
    TARGET,
    account_or_none,
    create_endpoint,
    drop_endpoint,
)
from payments.services.intent_rows import StripeObject, is_intent_open
from payments.services.webhook_address import SHARED_PATH, webhook_path, webhook_url, why_unreachable
from payments.stripe_api import (
    StripeAccount,
    StripeFailure,
    StripeKeyRejected,
    StripeNotConfigured,
    StripePermissionMissing,
    StripeUnavailable,
    account_of,
)
from payments.webhooks import HANDLERS
from projects.models import Project

logger = logging.getLogger(__name__)

BY_HAND = "by_hand"
UNREACHABLE_URL = "unreachable_url"
MISSING_EVENTS = "missing_events"
DISABLED = "disabled"
MISSING_PERMISSION = "missing_permission"
LIMIT_REACHED = "limit_reached"
FAILED = "failed"
STATUSES = (
    MANAGED, ROLLING, BY_HAND, UNREACHABLE_URL, MISSING_EVENTS, DISABLED, MISSING_PERMISSION, LIMIT_REACHED, FAILED,
)  # fmt: skip
# Per account and mode. Source: https://docs.stripe.com/webhooks
ENDPOINTS_MAX = 16
TRIES = 3
ERROR_CHARS = 4000
# The old endpoint goes a little before its secret does, so that its last deliveries still verify.
RETIRED_EARLY = dt.timedelta(minutes=5)
ROLL_SECONDS_MAX = 24 * 3600
# Longer than any process remembers the secrets of before.
SECRET_SETTLES = dt.timedelta(seconds=settings.WEBHOOK_SECRET_CACHE_SECONDS + 2)


class NoManagedEndpoint(Conflict):
    """409: there is no endpoint that this service could roll the secret of."""

    code = "webhook_not_managed"
    detail = (
        "The webhook endpoint of this mode is not managed here. Roll its secret in Stripe's Dashboard and save the new one "
        "as webhook_secret: the old one goes on verifying for 24 hours."
    )


class RollInProgress(Conflict):
    """409: the secret before the current one still verifies."""

    code = "roll_in_progress"

    def __init__(self, until: dt.datetime | None) -> None:
        moment = f" until {until:%Y-%m-%dT%H:%M:%SZ}" if until else ""
        super().__init__(
            f"A roll is under way: the secret before verifies{moment}. Roll again after that, or with "
            "expires_in_seconds=0, which withdraws both secrets at once."
        )


class EndpointLimitReached(Conflict):
    """409: Stripe takes no further endpoint in this account."""

    code = "endpoint_limit"
    detail = f"Stripe allows {ENDPOINTS_MAX} webhook endpoints per account and mode: delete one that is not needed."


class EndpointChanged(Conflict):
    """409: the keys were changed at the same time."""

    code = "config_changed"
    detail = "The configuration was changed at the same time. Look at it and try again."
    retryable = True


@dataclass(frozen=True)
class EndpointCheck:
    """What was found at Stripe, and what was done about it."""

    status: str
    error: str = ""
    endpoint_id: str = ""
    missing_events: list[str] = field(default_factory=list)
    mended: bool = False


@dataclass(frozen=True)
class RolledSecret:
    """The outcome of a roll. The secrets themselves stay inside."""

    status: str
    endpoint_id: str
    previous_secret_expires_at: dt.datetime | None


def event_types() -> list[str]:
    """List what an endpoint must deliver: what something here follows."""
    return sorted(HANDLERS)


def check_endpoint(*, project: Project, mode: str, mend_by_hand: bool = False) -> EndpointCheck:
    """Look at the endpoint at Stripe, mend what is wrong, and note the outcome.

    An endpoint that was set up by hand is mended only with `mend_by_hand`. Raises: StripeNotConfigured (404) only.
    """
    check = EndpointCheck(FAILED, "The configuration kept changing meanwhile.")
    for _ in range(TRIES):
        row = _usable(project, mode)
        if row is None:
            raise StripeNotConfigured()
        found = _guarded(row, mend_by_hand)
        if found is None:
            continue
        check = found
        if _note(row, check):
            break
    return check


def roll_secret(
    *, project: Project, mode: str, actor: User | None, expires_in_seconds: int = ROLL_SECONDS_MAX
) -> RolledSecret:
    """Replace the signing secret of a managed endpoint; old and new verify until the old one expires.

    Stripe has no call that rolls a secret: a second endpoint is made, and the first goes when its secret expires.
    Units: 0 withdraws the old secrets and endpoints at once. Raises: StripeNotConfigured (404), NoManagedEndpoint,
    RollInProgress, EndpointLimitReached, EndpointChanged (409), StripeFailure (502, 503).
    """
    row = _usable(project, mode)
    if row is None:
        raise StripeNotConfigured()
    if not row.webhook_endpoint_id:
        raise NoManagedEndpoint()
    if expires_in_seconds and row.previous_webhook_endpoint_id:
        raise RollInProgress(row.previous_webhook_secret_expires_at)
    account = account_of(row)
    if len(_endpoints(account)) >= ENDPOINTS_MAX:
        raise EndpointLimitReached()
    kept = create_endpoint(
        row,
        account,
        url=webhook_url(project.pk, mode),
        events=event_types(),
        replaces_living=True,
        keep_seconds=expires_in_seconds,
    )
    rolled = StripeCredentials.objects.for_project(project).get(pk=row.pk)
    if not kept or rolled.webhook_endpoint_id == row.webhook_endpoint_id:
        raise EndpointChanged()
    if not expires_in_seconds:
        for endpoint_id in filter(None, (row.webhook_endpoint_id, row.previous_webhook_endpoint_id)):
            drop_endpoint(account, endpoint_id)
    log_action(
        action="webhook_secret.roll",
        subject=rolled.webhook_endpoint_id,
        actor=actor,
        project_id=project.pk,
        mode=mode,
        details={"replaces": row.webhook_endpoint_id, "expires_in_seconds": expires_in_seconds},
    )
    return RolledSecret(rolled.webhook_status, rolled.webhook_endpoint_id, rolled.previous_webhook_secret_expires_at)


def switch_off_endpoints(*, project: Project) -> None:
    """Stop Stripe from delivering to a project that takes no payments any more, as far as Stripe can be asked."""
    rows = StripeCredentials.objects.for_project(project).exclude(webhook_endpoint_id="")
    for row in rows.select_related("project"):
        account = account_or_none(row)
        if account is None:
            continue
        try:
            _update(account, row.webhook_endpoint_id, {"disabled": True})
        except StripeFailure as error:
            logger.warning("webhook_endpoint_not_disabled project=%s mode=%s error=%s", project.pk, row.mode, error)
            continue
        _note(row, EndpointCheck(DISABLED, endpoint_id=row.webhook_endpoint_id))


def retire_previous_endpoint(row: StripeCredentials) -> bool:
    """Delete the endpoint of before the roll and forget its secret, once nobody needs them; False when not yet."""
    expires_at = row.previous_webhook_secret_expires_at
    now = clock.now()
    if row.webhook_status == ROLLING or (expires_at and now < expires_at - RETIRED_EARLY):
        return False
    if row.previous_webhook_endpoint_id:
        account = account_or_none(row)
        if account is None or not drop_endpoint(account, row.previous_webhook_endpoint_id):
            return False
    same = StripeCredentials.objects.for_project(row.project_id).filter(pk=row.pk)
    same.filter(previous_webhook_endpoint_id=row.previous_webhook_endpoint_id).update(previous_webhook_endpoint_id="")
    expired = same.filter(previous_webhook_secret_expires_at__lte=now)
    expired.update(previous_webhook_secret="", previous_webhook_secret_expires_at=None)
    return True


def _usable(project: Project, mode: str) -> StripeCredentials | None:
    rows = StripeCredentials.objects.for_project(project).usable().filter(mode=mode).exclude(secret_key="")
    return rows.select_related("project").first()


def _guarded(row: StripeCredentials, mend_by_hand: bool) -> EndpointCheck | None:
    """Check, and turn trouble into a status."""
    known = row.webhook_endpoint_id
    try:
        return _check_by_hand(row, mend_by_hand) if _is_by_hand(row) else _check_managed(row)
    except StripePermissionMissing as error:
        text = error.user_message or "The restricted key may not read and write webhook endpoints."
        return EndpointCheck(BY_HAND if _is_by_hand(row) else MISSING_PERMISSION, text, known)
    except StripeKeyRejected:
        return EndpointCheck(FAILED, "Stripe rejects the secret key: save a new one.", known)
    except StripeUnavailable as error:
        return EndpointCheck(row.webhook_status or FAILED, f"{error.detail} It is looked at again by itself.", known)
    except StripeFailure as error:
        return EndpointCheck(FAILED, error.user_message or error.detail, known)
    except DecryptionError:
        return EndpointCheck(FAILED, "The stored secret key cannot be read: save it again.", known)
    except ApiError as error:
        return EndpointCheck(row.webhook_status or FAILED, error.detail, known)


def _is_by_hand(row: StripeCredentials) -> bool:
    return bool(row.webhook_secret) and not row.webhook_endpoint_id


def _note(row: StripeCredentials, check: EndpointCheck) -> bool:
    """Write the outcome down, unless the credentials changed since they were read."""
    same = StripeCredentials.objects.for_project(row.project_id).filter(pk=row.pk, version=row.version)
    noted = {"webhook_status": check.status, "webhook_error": redact(check.error)[:ERROR_CHARS]}
    # A roll counts from when it began.
    times = {} if check.status == ROLLING else {"webhook_checked_at": Now()}
    return same.filter(webhook_endpoint_id=row.webhook_endpoint_id).update(**noted, **times) == 1


def _check_managed(row: StripeCredentials) -> EndpointCheck | None:
    """Look after an endpoint of ours, or make it; None when the credentials changed under way."""
    url = webhook_url(row.project_id, row.mode)
    if reason := why_unreachable(url, row.mode):
        return EndpointCheck(UNREACHABLE_URL, reason, row.webhook_endpoint_id)
    account = account_of(row)
    endpoints = _endpoints(account)
    ours = next((one for one in endpoints if one["id"] == row.webhook_endpoint_id), None)
    is_outdated = ours is not None and ours["api_version"] != settings.STRIPE_API_VERSION
    if ours is None or (is_outdated and not row.previous_webhook_endpoint_id):
        if len(endpoints) >= ENDPOINTS_MAX:
            return EndpointCheck(LIMIT_REACHED, EndpointLimitReached.detail, row.webhook_endpoint_id)
        create_endpoint(
            row,
            account,
            url=url,
            events=event_types(),
            replaces_living=ours is not None,
            keep_seconds=ROLL_SECONDS_MAX,
        )
        # Read again: what is kept now is ours or that of somebody who was quicker.
        return _made(row, account, endpoints)
    _drop_orphans(row, account, endpoints, url)
    return _mend(row, account, ours, url)


def _made(row: StripeCredentials, account: StripeAccount, before: Collection[StripeObject]) -> EndpointCheck | None:
    now = _usable(row.project, row.mode)
    if now is None or now.webhook_endpoint_id in ("", row.webhook_endpoint_id):
        return None
    row.version, row.webhook_endpoint_id, row.webhook_secret = now.version, now.webhook_endpoint_id, now.webhook_secret
    url = webhook_url(row.project_id, row.mode)
    _drop_orphans(row, account, before, url)
    marked = {one["id"] for one in before if _is_marked(one, row)}
    strangers = [one["id"] for one in before if one["url"] == url and one["id"] not in marked]
    error = ""
    if strangers:
        error = (
            f"{', '.join(strangers)} delivers to this address too, signed with a secret that is not known here, so that "
            "those deliveries are refused. Delete it in Stripe's Dashboard."
        )
    return EndpointCheck(now.webhook_status, error, now.webhook_endpoint_id, mended=True)


def _mend(row: StripeCredentials, account: StripeAccount, ours: StripeObject, url: str) -> EndpointCheck:
    missing = _missing(ours)
    if row.webhook_status == ROLLING and not _has_settled(row):
        # Its events are switched on when every process knows its secret; the endpoint before delivers until then.
        return EndpointCheck(ROLLING, endpoint_id=ours["id"])
    changes: dict[str, Any] = {}
    if missing or set(ours["enabled_events"]) != set(event_types()):
        changes["enabled_events"] = event_types()
    if ours["url"] != url:
        changes["url"] = url
    if ours["status"] != "enabled":
        changes["disabled"] = False
    if changes:
        _update(account, ours["id"], changes)
    return EndpointCheck(MANAGED, endpoint_id=ours["id"], missing_events=missing, mended=bool(changes))


def _has_settled(row: StripeCredentials) -> bool:
    same = StripeCredentials.objects.for_project(row.project_id).filter(pk=row.pk)
    return same.filter(webhook_checked_at__lte=Now() - SECRET_SETTLES).exists()


def _check_by_hand(row: StripeCredentials, mend: bool) -> EndpointCheck:
    """Look at an endpoint that somebody made, as far as it delivers to us; what it delivers is never reduced."""
    account = account_of(row)
    path = webhook_path(row.project_id, row.mode)
    paths = {path, SHARED_PATH} if row.project.shared_webhook else {path}
    ours = next((one for one in _endpoints(account) if urlsplit(one["url"]).path in paths), None)
    if ours is None:
        return EndpointCheck(BY_HAND, "No endpoint of this Stripe account delivers to this project's address.")
    missing = _missing(ours)
    url = settings.PUBLIC_BASE_URL + urlsplit(ours["url"]).path
    changes: dict[str, Any] = {}
    if missing:
        changes["enabled_events"] = sorted({*ours["enabled_events"], *event_types()})
    if ours["status"] != "enabled":
        changes["disabled"] = False
    if ours["url"] != url:
        changes["url"] = url
    if changes and mend:
        _update(account, ours["id"], changes)
        return EndpointCheck(BY_HAND, missing_events=missing, mended=True)
    if "disabled" in changes:
        return EndpointCheck(DISABLED, "The endpoint is disabled at Stripe.", missing_events=missing)
    if missing:
        return EndpointCheck(MISSING_EVENTS, f"Not delivered: {', '.join(missing)}", missing_events=missing)
    return EndpointCheck(BY_HAND)


def _missing(endpoint: StripeObject) -> list[str]:
    enabled = set(endpoint["enabled_events"])
    return [] if "*" in enabled else sorted(set(event_types()) - enabled)


def _drop_orphans(
    row: StripeCredentials, account: StripeAccount, endpoints: Collection[StripeObject], url: str
) -> None:
    """Delete endpoints of ours at this address whose secret is not kept: made by a call whose answer was lost for good."""
    suspects = [one["id"] for one in endpoints if one["url"] == url and _is_marked(one, row)]
    if is_intent_open(project=row.project, mode=row.mode, operation=CREATE_ENDPOINT, target=TARGET):
        return
    # Read after the question above: a call that was settled before it has its endpoint here.
    known = StripeCredentials.objects.for_project(row.project_id).filter(pk=row.pk)
    kept = known.values_list("webhook_endpoint_id", "previous_webhook_endpoint_id").first()
    for endpoint_id in suspects if kept else []:
        if endpoint_id not in (kept or ()):
            drop_endpoint(account, endpoint_id)


def _is_marked(endpoint: StripeObject, row: StripeCredentials) -> bool:
    marks = endpoint.get("metadata") or {}
    return (marks.get("project_id"), marks.get("mode")) == (str(row.project_id), row.mode) and "intent" in marks


def _endpoints(account: StripeAccount) -> list[StripeObject]:
    return list(account.iterate(ENDPOINTS))


def _update(account: StripeAccount, endpoint_id: str, changes: dict[str, Any]) -> None:
    account.update(ENDPOINTS, endpoint_id, changes, idempotency_key=f"{CREATE_ENDPOINT}-{uuid7()}")
