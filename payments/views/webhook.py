"""Takes Stripe's deliveries: verify, store one row, answer. Nothing else happens in the request.

Invariants: 200 is only answered for an event whose row is committed; no call to Stripe or to the broker, no session and no cookie;
one statement for a stored event, none for a bad signature once the secret is known. Hop list: docs/webhooks.md.
"""

import logging
import time
import uuid

from django.db import DatabaseError, DataError, InterfaceError, OperationalError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.views.decorators.csrf import csrf_exempt

from common.encryption import DecryptionError
from common.errors import ApiError, NotFound, error_response
from common.failpoints import failpoint
from common.metrics import DELIVERIES
from common.modes import MODES, mode_of_livemode
from payments.clock_trouble import note_refused_for_its_time
from payments.event_body import MalformedEvent, read_event_body
from payments.nudge import nudge_worker
from payments.secret_cache import Verifier, shared_verifiers, verifier_of
from payments.services.inbox import IncomingEvent, UnknownProject, store_event
from payments.signature_trouble import note_refused_signature
from payments.signatures import SignatureHeader, SignatureInvalid, check_timestamp, is_signed_by, parse_signature_header
from payments.webhook_input import read_bounded_body

logger = logging.getLogger(__name__)


class LivemodeContradiction(ApiError):
    """400: an event of the other mode; nothing of it may reach this one."""

    code = "livemode_mismatch"
    detail = "The event's livemode contradicts the mode in the address."


class StoreUnavailable(ApiError):
    """503: the event could not be stored, so Stripe must send it again."""

    status_code = 503
    code = "not_stored"
    detail = "The event could not be stored. Send it again."
    retryable = True


@csrf_exempt
def project_webhook(request: HttpRequest, project_id: str, mode: str) -> HttpResponse:
    """Take a delivery for one project and mode. Raises nothing: every refusal is an answer (docs/webhooks.md)."""
    if request.method != "POST":
        return _only_post()
    try:
        body = read_bounded_body(request)
        return _take(body, request.headers.get("Stripe-Signature"), [_verifier_for(project_id, mode)])
    except ApiError as error:
        return _refused(error)
    except (DatabaseError, InterfaceError, DecryptionError) as error:
        return _not_stored(error)


@csrf_exempt
def shared_webhook(request: HttpRequest) -> HttpResponse:
    """Take a delivery for whichever opted-in project's secret verifies."""
    if request.method != "POST":
        return _only_post()
    try:
        body = read_bounded_body(request)
        verifiers = shared_verifiers()
        if not verifiers:
            raise NotFound()
        return _take(body, request.headers.get("Stripe-Signature"), verifiers)
    except ApiError as error:
        return _refused(error)
    except (DatabaseError, InterfaceError) as error:
        return _not_stored(error)


def _verifier_for(project_id: str, mode: str) -> Verifier:
    """Find who verifies. Unknown, unconfigured and deactivated answer alike. Raises: NotFound (404)."""
    try:
        known_id = uuid.UUID(project_id)
    except ValueError:
        raise NotFound() from None
    verifier = verifier_of(known_id, mode) if mode in MODES else None
    if verifier is None:
        raise NotFound()
    return verifier


def _take(body: bytes, header_text: str | None, verifiers: list[Verifier]) -> HttpResponse:
    """Verify, read and store one delivery. Raises: SignatureInvalid, MalformedEvent, LivemodeContradiction (400), NotFound."""
    header = parse_signature_header(header_text)
    signer = next((one for one in verifiers if is_signed_by(header, payload=body, secrets=one.secrets())), None)
    if signer is None:
        note_refused_signature((verifiers[0].project_id, verifiers[0].mode) if len(verifiers) == 1 else None)
        raise SignatureInvalid()
    _check_time(header, signer)
    event = read_event_body(body)
    if event.livemode is not None and mode_of_livemode(event.livemode) != signer.mode:
        # Signed, so it is no stranger's: somebody has put one mode's secret or address into the other.
        logger.warning("livemode_mismatch project=%s mode=%s event=%r", signer.project_id, signer.mode, event.event_id)
        raise LivemodeContradiction()
    failpoint("webhook.before_commit")
    stored = _store(signer, event)
    failpoint("webhook.after_commit")
    DELIVERIES.labels(outcome="stored" if stored else "repeated").inc()
    if stored:
        # Ties the request to all that a worker will say of this event.
        where = (signer.project_id, signer.mode)
        logger.info("event_stored event_id=%s type=%s project=%s mode=%s", event.event_id, event.type, *where)
        nudge_worker()
    return JsonResponse({"received": True})


def _check_time(header: SignatureHeader, signer: Verifier) -> None:
    """Refuse what was signed at another time, and raise the alarm: the signature is true. Raises: SignatureInvalid (400)."""
    now = time.time()
    try:
        check_timestamp(header, now=now)
    except SignatureInvalid:
        seconds_off = now - header.timestamp
        note_refused_for_its_time(project_id=signer.project_id, mode=signer.mode, seconds_off=seconds_off)
        raise


def _store(signer: Verifier, event: IncomingEvent) -> bool:
    """Store the event; False when it was there already. A broken connection is replaced once: storing twice is harmless."""
    for last_try in (False, True):
        try:
            return store_event(project_id=signer.project_id, mode=signer.mode, event=event)
        except UnknownProject:
            raise NotFound() from None
        except (OperationalError, InterfaceError):
            # Where no connection could be had at all, a second try would only hold Stripe as long again.
            was_connected = connection.connection is not None
            connection.close()
            if last_try or not was_connected:
                raise
        except DataError:
            # Signed JSON that PostgreSQL cannot hold: sending it again would not help.
            raise MalformedEvent() from None
    raise AssertionError("the second try returns or raises")


def _only_post() -> HttpResponse:
    error = ApiError("Only POST is allowed.", code="method_not_allowed", headers={"Allow": "POST"})
    error.status_code = 405
    return error_response(error)


def _refused(error: ApiError) -> HttpResponse:
    DELIVERIES.labels(outcome=error.code).inc()
    return error_response(error)


def _not_stored(error: Exception) -> HttpResponse:
    DELIVERIES.labels(outcome=StoreUnavailable.code).inc()
    logger.error("event_not_stored error=%s", type(error).__name__)
    connection.close()
    return error_response(StoreUnavailable())
