"""The signed link to a licence's page: from the welcome mail, or from the return from checkout.

Invariants: a token opens the page of one purchase and nothing else; it is an HMAC of this service's secret under a salt of its own
and no JWT, so that it passes for no other kind of token and no other kind passes for it; none is ever stored.
"""

import datetime as dt
import re
import uuid
from dataclasses import dataclass
from urllib.parse import urlencode

from django.conf import settings
from django.core.signing import BadSignature, SignatureExpired, TimestampSigner

from common.errors import NotAuthenticated

PREFIX = "lat_"
AUDIENCE = "license-access"
# How long a link lasts by where it came from: the session can be paid for a day.
MAILED, RETURNED = "m", "r"
LIFETIMES = {MAILED: dt.timedelta(days=30), RETURNED: dt.timedelta(hours=48)}
_FORM = re.compile(r"[0-9a-f]{64}[mr]\.[0-9A-Za-z]{1,12}\.[0-9A-Za-z_-]{20,100}")


class AccessRefused(NotAuthenticated):
    """401: no link of ours, or one that was changed."""

    code = "invalid_access_token"
    detail = "This link is not valid. Use the link from the mail."


class AccessExpired(AccessRefused):
    """401: a link of ours whose time is over. `access` says whose, for a new one to be mailed."""

    code = "access_token_expired"
    detail = "This link has expired. Ask for a new one."
    action = "resend_link"

    def __init__(self, access: "LicenseAccess") -> None:
        super().__init__()
        self.access = access


@dataclass(frozen=True)
class LicenseAccess:
    """Whose page a link opens. The licence's id is the purchase's: it need not be paid yet."""

    project_id: uuid.UUID
    license_id: uuid.UUID


def _signer() -> TimestampSigner:
    return TimestampSigner(sep=".", salt=AUDIENCE, algorithm="sha256")


def mint_access_token(*, project_id: uuid.UUID, license_id: uuid.UUID, purpose: str = MAILED) -> str:
    """Sign a link to one licence."""
    return PREFIX + _signer().sign(f"{project_id.hex}{license_id.hex}{purpose}")


def read_access_token(value: str) -> LicenseAccess:
    """Say whose page a token opens. Raises: AccessRefused, AccessExpired (401)."""
    text = value.removeprefix(PREFIX)
    if not value.startswith(PREFIX) or not _FORM.fullmatch(text):
        raise AccessRefused()
    purpose = text[64]
    try:
        named = _signer().unsign(text, max_age=LIFETIMES[purpose])
    except SignatureExpired:
        # The signature was right: whose link it was can be believed.
        raise AccessExpired(_access_of(text)) from None
    except BadSignature:
        raise AccessRefused() from None
    return _access_of(named)


def access_link(*, session_id: str, token: str) -> str:
    """Write the address of a licence's page; `session_id` may be Stripe's placeholder."""
    session = session_id if session_id.startswith("{") else urlencode({"": session_id})[1:]
    return f"{settings.PUBLIC_BASE_URL}/license-access?session={session}&token={token}"


def _access_of(named: str) -> LicenseAccess:
    return LicenseAccess(uuid.UUID(named[:32]), uuid.UUID(named[32:64]))
