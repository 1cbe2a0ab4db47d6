"""Idempotency keys: a caller who repeats a POST with its key gets the first answer, and the work happens once.

The claim is committed before the work begins; the answer is kept for 24 hours. A claim whose process died expires. Times are the
database's.
"""

import datetime as dt
import hashlib
import json
import uuid
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Now

from common.errors import Conflict
from projects.models import IdempotencyRecord, IdempotencyState

KEPT_FOR = dt.timedelta(hours=24)
# Longer than the slowest request: a few calls to Stripe, each with its time-out and retries.
LEASE = dt.timedelta(seconds=150)


class KeyReused(Conflict):
    """409: the key came with another request before."""

    code = "idempotency_key_reused"
    detail = "This idempotency key was used for another request. Take a new key."


class KeyInProgress(Conflict):
    """409: the first request with this key has not been answered yet."""

    code = "idempotency_in_progress"
    detail = "The first request with this idempotency key is still being carried out."
    retryable = True


class AlreadyCreated(Conflict):
    """409: done before, and the answer held a secret that is shown once."""

    code = "already_created"
    detail = "This was created before with the same idempotency key; its secret was shown then and is not kept."


@dataclass(frozen=True)
class IdempotentRequest:
    """A POST that carries a key."""

    project_id: uuid.UUID | None
    caller: str
    key: str
    method: str
    path: str
    request_hash: str


@dataclass(frozen=True)
class Claim:
    """The right to carry a request out."""

    record_id: uuid.UUID
    claim: uuid.UUID


@dataclass(frozen=True)
class StoredAnswer:
    """The first answer to a request."""

    status_code: int
    body: Any


def hash_request(*, method: str, path: str, query: str, body: Any) -> str:
    """Hash what makes two requests the same; the order of names in a JSON body does not matter."""
    text = json.dumps(
        [method, path, query, body], sort_keys=True, separators=(",", ":"), ensure_ascii=True, default=str
    )
    return hashlib.sha256(text.encode()).hexdigest()


def claim_request(request: IdempotentRequest) -> Claim | StoredAnswer:
    """Claim a request, or return its first answer. Raises: KeyReused, KeyInProgress, AlreadyCreated (409)."""
    claim = uuid.uuid4()
    fresh = IdempotencyRecord(
        project_id=request.project_id,
        caller=request.caller,
        key=request.key,
        method=request.method,
        path=request.path[:2048],
        request_hash=request.request_hash,
        claim=claim,
        lease_until=Now() + LEASE,
        created_at=Now(),
    )
    with transaction.atomic():
        IdempotencyRecord.objects.bulk_create([fresh], ignore_conflicts=True)
        # The conflicting row is locked here, so that two repeats cannot both take over an abandoned claim.
        row = (
            IdempotencyRecord.objects.select_for_update()
            .filter(project=request.project_id, caller=request.caller, key=request.key)
            .annotate(is_old=Q(created_at__lt=Now() - KEPT_FOR), is_abandoned=Q(lease_until__lt=Now()))
            .annotate(retry_after=F("lease_until") - Now())
            .first()
        )
        if row is None:
            # It came to no lasting answer and was forgotten just now.
            raise KeyInProgress(retry_after_seconds=1)
        if row.pk == fresh.pk:
            return Claim(record_id=row.pk, claim=claim)
        if not row.is_old:
            if row.request_hash != request.request_hash:
                raise KeyReused
            if row.state == IdempotencyState.DONE:
                if row.holds_secret:
                    raise AlreadyCreated
                return StoredAnswer(status_code=int(row.status_code or 200), body=row.response_body)
            if not row.is_abandoned:
                raise KeyInProgress(retry_after_seconds=min(5, max(1, int(row.retry_after.total_seconds()))))
        IdempotencyRecord.objects.filter(pk=row.pk).update(
            method=request.method,
            path=request.path[:2048],
            request_hash=request.request_hash,
            state=IdempotencyState.IN_FLIGHT,
            claim=claim,
            lease_until=Now() + LEASE,
            status_code=None,
            response_body=None,
            holds_secret=False,
            created_at=Now(),
        )
        return Claim(record_id=row.pk, claim=claim)


def store_answer(*, claim: Claim, status_code: int, body: Any, holds_secret: bool) -> None:
    """Keep the answer; one that holds a secret is kept as a fact only. A claim that was taken over stores nothing."""
    IdempotencyRecord.objects.filter(pk=claim.record_id, claim=claim.claim).update(
        state=IdempotencyState.DONE,
        status_code=status_code,
        response_body=None if holds_secret else body,
        holds_secret=holds_secret,
    )


def release_claim(*, claim: Claim) -> None:
    """Forget a request that came to no lasting answer, so that it may be tried again with the same key."""
    IdempotencyRecord.objects.filter(pk=claim.record_id, claim=claim.claim).delete()


def is_lasting(status_code: int) -> bool:
    """Say whether an answer is the result of the work. A refusal before the work, or a failure of ours, is not."""
    return 200 <= status_code < 300 or status_code in (400, 402, 409)


def prune_idempotency_records() -> int:
    """Delete records past their 24 hours. Returns how many."""
    deleted, _ = IdempotencyRecord.objects.filter(created_at__lt=Now() - KEPT_FOR).delete()
    return deleted
