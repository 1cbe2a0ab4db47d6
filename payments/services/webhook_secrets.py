"""Replaces a signing secret so that no delivery is refused: the one before goes on verifying for a while."""

import datetime as dt
import hashlib
import hmac

from django.conf import settings

from common import clock
from common.encryption import DecryptionError
from payments.models import StripeCredentials

ROLLED_SECRET_LIVES = dt.timedelta(hours=24)


def webhook_secret_fingerprint(secret: str) -> str:
    """Return a keyed digest that tells two signing secrets apart without revealing either."""
    return hmac.new(settings.SECRET_KEY.encode(), b"webhook-secret:" + secret.encode(), hashlib.sha256).hexdigest()


def current_secret(row: StripeCredentials) -> str:
    """Return the signing secret; empty when there is none, or when its encryption key is lost: it verifies nothing then."""
    try:
        return row.get_secret("webhook_secret")
    except DecryptionError:
        return ""


def replace_webhook_secret(row: StripeCredentials, secret: str, *, keep: dt.timedelta = ROLLED_SECRET_LIVES) -> None:
    """Put a signing secret in, or none; the one before verifies for `keep` longer. Does not save."""
    before = current_secret(row)
    if before and keep:
        row.set_secret("previous_webhook_secret", before)
        row.previous_webhook_secret_expires_at = clock.now() + keep
    elif row.webhook_secret:
        # Withdrawn at once, or unreadable: saving a new one is the way out.
        forget_previous_secret(row)
    row.set_secret("webhook_secret", secret)
    row.webhook_secret_fingerprint = webhook_secret_fingerprint(secret) if secret else ""


def forget_previous_secret(row: StripeCredentials) -> None:
    """Let the secret before the current one verify nothing any more. Does not save."""
    row.previous_webhook_secret = ""
    row.previous_webhook_secret_expires_at = None
