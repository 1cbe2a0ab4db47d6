"""Entitlement tokens: what a user is entitled to, signed, so that an app checks it without asking us.

Invariant: a token outlives neither the grace that it tells of nor TOKEN_SECONDS_MAX, so that epochs need to be told no longer.
A banned user gets none. Times are real time, as whoever verifies has it; only the end of a grace is business time.
"""

import datetime as dt
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jwt
from django.conf import settings

from common import clock
from common.modes import TEST
from common.signing_keys import load_signing_keys
from entitlements.models import Entitlement
from entitlements.services.entitled import Entitled
from entitlements.services.holdings import TOKEN_SECONDS_MAX
from projects.services.end_user_tokens import UserBanned

TYP = "ent+jwt"
ALGORITHM = "EdDSA"
EPOCHS_AT_ONCE = 1000
# A transaction that began before this may still be writing: what it raises is not overlooked.
OVERLAP = dt.timedelta(seconds=60)


@dataclass(frozen=True)
class EntitlementToken:
    """A signed token. Never logged or stored."""

    token: str
    expires_in: int

    def __repr__(self) -> str:
        return "<EntitlementToken>"


@dataclass(frozen=True)
class Epochs:
    """Who lost something lately: tokens with a lower epoch are worth nothing. `since` is where to go on."""

    rows: Sequence[Entitlement]
    since: dt.datetime
    has_more: bool


def audience_of(project_id: uuid.UUID) -> str:
    """Name the audience of a project's entitlement tokens."""
    return f"entitlements:{project_id}"


def mint_entitlement_token(*, project_id: uuid.UUID, mode: str, entitled: Entitled) -> EntitlementToken:
    """Sign what a user is entitled to now. Raises: UserBanned (403)."""
    if entitled.is_banned:
        raise UserBanned
    seconds = _lifetime_seconds(entitled)
    issued_at = int(time.time())
    key = load_signing_keys(settings.ENTITLEMENT_SIGNING_KEY)[0]
    claims: dict[str, Any] = {
        "iss": settings.PUBLIC_BASE_URL,
        "aud": audience_of(project_id),
        "sub": entitled.user_id,
        "iat": issued_at,
        "exp": issued_at + seconds,
        "jti": uuid.uuid4().hex,
        "mode": mode,
        "is_test_mode": mode == TEST,
        "plan": entitled.tier,
        "plan_active": entitled.plan_active,
        "plan_expires": int(entitled.plan_expires.timestamp()) if entitled.plan_expires else None,
        "features": dict(entitled.features),
        "limits": dict(entitled.limits),
        "epoch": entitled.epoch,
    }
    token = jwt.encode(claims, key.private, algorithm=ALGORITHM, headers={"kid": key.kid, "typ": TYP})
    return EntitlementToken(token, seconds)


def _lifetime_seconds(entitled: Entitled) -> int:
    seconds = min(settings.ENTITLEMENT_TOKEN_SECONDS, TOKEN_SECONDS_MAX)
    if entitled.active_until is None:
        return seconds
    # What ends without anybody writing anything must not live on in a token.
    return max(1, min(seconds, int((entitled.active_until - clock.now()).total_seconds())))


def public_keys() -> dict[str, Any]:
    """Return the JWKS that entitlement tokens verify by, keys that do not sign any more included.

    Source: https://www.rfc-editor.org/rfc/rfc8037
    """
    return {"keys": [key.public_jwk for key in load_signing_keys(settings.ENTITLEMENT_SIGNING_KEY)]}


def read_epochs(*, project_id: uuid.UUID, mode: str, since: dt.datetime | None = None) -> Epochs:
    """Return whose epoch rose since a moment, oldest first; without one, since the oldest token that can still be good.

    One may be told twice, which does no harm.
    """
    oldest = clock.now() - dt.timedelta(seconds=TOKEN_SECONDS_MAX) - OVERLAP
    begin = max(since, oldest) if since is not None else oldest
    read_at = clock.now() - OVERLAP
    rows = Entitlement.objects.for_project(project_id).in_mode(mode).filter(epoch_raised_at__gte=begin)
    rows = rows.select_related("end_user").order_by("epoch_raised_at", "id")
    found = list(rows[: EPOCHS_AT_ONCE + 1])
    if len(found) <= EPOCHS_AT_ONCE:
        return Epochs(found, read_at, has_more=False)
    found = found[:EPOCHS_AT_ONCE]
    return Epochs(found, found[-1].epoch_raised_at or begin, has_more=True)
