"""A provider's public keys: fetched through the guard, kept in the database, so that all processes share one copy and one limit.

At most one fetch per project and minute, whatever key ids callers send. While the provider's address is down the kept keys are used
for up to a day; a key that the provider removed is refused once the next fetch succeeds (within REFRESH_AFTER).
"""

import datetime as dt
import functools
import json
import logging
import re
import time
from typing import Any

import jwt
from django.db.models import Q
from django.db.models.functions import Now
from django.utils import timezone

from common.outgoing import OutgoingFailed, OutgoingRefused, fetch
from common.strict_jwt import ASYMMETRIC_ALGORITHMS, ParsedToken, TokenRefused, is_storable
from projects.models import IdentityProvider

logger = logging.getLogger(__name__)

REFRESH_AFTER = dt.timedelta(minutes=5)
USABLE_FOR = dt.timedelta(days=1)
COOLDOWN = dt.timedelta(seconds=60)
FETCH_TIMEOUT_SECONDS = 3.0
FIRST_FETCH_WAIT_SECONDS = 3.0
MAX_BYTES = 64 * 1024
MAX_KEYS = 50
_PLAIN_KID = re.compile(r"^[A-Za-z0-9_.=+/:@-]{1,200}$")
_KEY_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}


def find_key(*, provider: IdentityProvider, token: ParsedToken) -> Any:
    """Return the public key that is said to have signed. Raises TokenRefused."""
    algorithm = token.header["alg"]
    if algorithm not in ASYMMETRIC_ALGORITHMS:
        raise TokenRefused("the algorithm is not allowed")
    kid = token.kid
    if kid is not None and (not _PLAIN_KID.fullmatch(kid) or ".." in kid or "//" in kid):
        # No provider names a key like this, so nothing is fetched for it.
        raise TokenRefused("kid is not a plain name")
    if _is_due(provider):
        _refresh(provider)
    key = _pick(provider, kid, algorithm)
    if key is None and _refresh(provider):
        key = _pick(provider, kid, algorithm)
    if key is None:
        raise TokenRefused("no such key")
    return key


def fetch_keys(provider: IdentityProvider) -> dict[str, Any]:
    """Fetch and check a provider's key set. Raises: OutgoingRefused, OutgoingFailed."""
    answer = fetch(
        "GET",
        provider.jwks_url,
        headers={"Accept": "application/json"},
        timeout=FETCH_TIMEOUT_SECONDS,
        max_bytes=MAX_BYTES,
        whose=str(provider.project_id),
    )
    if answer.status_code != 200:
        raise OutgoingFailed("The key set's address did not answer 200.")
    try:
        document = json.loads(answer.content)
    except (ValueError, RecursionError) as error:
        raise OutgoingFailed("The key set is not JSON.") from error
    keys = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(keys, list) or len(keys) > MAX_KEYS:
        raise OutgoingFailed("The answer is not a key set.")
    # Only what a public signing key consists of is kept; a symmetric key has no business here.
    wanted = ("kty", "kid", "use", "alg", "n", "e", "crv", "x", "y")
    plain = [
        {name: key[name] for name in wanted if isinstance(key.get(name), str)} for key in keys if isinstance(key, dict)
    ]
    if not all(is_storable(value) for key in plain for value in key.values()):
        raise OutgoingFailed("The key set holds characters that nobody can keep.")
    return {"keys": [key for key in plain if key.get("kty") in _KEY_TYPES.values() and key.get("use", "sig") == "sig"]}


def store_keys(*, provider: IdentityProvider, document: dict[str, Any]) -> None:
    """Keep a fetched key set."""
    provider.jwks_document = document
    provider.jwks_fetched_at = timezone.now()
    IdentityProvider.objects.for_project(provider.project_id).filter(pk=provider.pk, jwks_url=provider.jwks_url).update(
        jwks_document=document, jwks_fetched_at=provider.jwks_fetched_at
    )


def _is_due(provider: IdentityProvider) -> bool:
    fetched_at = provider.jwks_fetched_at
    return fetched_at is None or timezone.now() - fetched_at > REFRESH_AFTER


def _refresh(provider: IdentityProvider) -> bool:
    """Fetch again if this minute's one fetch is still to be had; say whether the kept keys are new."""
    row = IdentityProvider.objects.for_project(provider.project_id).filter(pk=provider.pk)
    claimed = row.filter(Q(jwks_attempted_at__isnull=True) | Q(jwks_attempted_at__lt=Now() - COOLDOWN)).update(
        jwks_attempted_at=Now()
    )
    if not claimed:
        return provider.jwks_document is None and _wait_for_first_fetch(provider)
    try:
        document = fetch_keys(provider)
    except (OutgoingRefused, OutgoingFailed) as error:
        logger.warning("The key set of identity provider %s could not be fetched: %s", provider.pk, error)
        return False
    store_keys(provider=provider, document=document)
    return True


def _wait_for_first_fetch(provider: IdentityProvider) -> bool:
    """Wait for another request that is fetching the very first key set; never longer than such a fetch takes."""
    deadline = time.monotonic() + FIRST_FETCH_WAIT_SECONDS
    while time.monotonic() < deadline:
        provider.refresh_from_db(fields=["jwks_document", "jwks_fetched_at", "jwks_attempted_at"])
        if provider.jwks_document is not None:
            return True
        attempted_at = provider.jwks_attempted_at
        if attempted_at is None or timezone.now() - attempted_at > dt.timedelta(seconds=FETCH_TIMEOUT_SECONDS + 1):
            return False
        time.sleep(0.1)
    return False


def _pick(provider: IdentityProvider, kid: str | None, algorithm: str) -> Any:
    fetched_at = provider.jwks_fetched_at
    if provider.jwks_document is None or fetched_at is None or timezone.now() - fetched_at > USABLE_FOR:
        return None
    keys = [
        key
        for key in provider.jwks_document["keys"]
        if key["kty"] == _KEY_TYPES[algorithm[:2]] and key.get("alg", algorithm) == algorithm
    ]
    named = keys if kid is None else [key for key in keys if key.get("kid") == kid]
    if len(named) != 1:
        # A token without kid is fine while there is one key that it can mean.
        return None
    return _load(json.dumps(named[0], sort_keys=True), algorithm)


@functools.lru_cache(maxsize=256)
def _load(jwk: str, algorithm: str) -> Any:
    try:
        return jwt.PyJWK.from_json(jwk, algorithm=algorithm).key
    except (jwt.PyJWTError, ValueError, KeyError, TypeError):
        return None
