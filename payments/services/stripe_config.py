"""A project's Stripe keys: checked, read against Stripe, encrypted, and never handed out again.

Invariants: Stripe is asked before and outside the transaction that saves; two changes of one project are saved one
after the other under the project's row lock, so that neither is lost; nothing is written when Stripe refuses a key or
is away.
"""

import datetime as dt
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Max

from common import clock
from common.encryption import DecryptionError
from common.errors import FieldError, NotFound
from common.modes import MODES, Mode, mode_of
from payments.models import StripeConfig, StripeCredentials, WebhookEvent
from payments.secret_cache import forget_secrets
from payments.services.inbox import resume_waiting_events
from payments.services.shared_webhook import is_used_by_another, lock_shared_address
from payments.stripe_api import StripeKeyRejected, read_account
from projects.models import Project

KEY_FIELDS = ("secret_key", "publishable_key", "webhook_secret")
MAX_KEY_LENGTH = 255
KEY_REJECTED = "Stripe rejected this key: it is wrong, expired or revoked."
ROLLED_SECRET_LIVES = dt.timedelta(hours=24)
_PREFIXES = {
    "secret_key": ("sk_{mode}_", "rk_{mode}_"),
    "publishable_key": ("pk_{mode}_",),
    "webhook_secret": ("whsec_",),
}
_KEY_BODY = re.compile(r"[A-Za-z0-9_+/=\-]+")
_ACCOUNT_IN_MESSAGE = re.compile(r"\bacct_[A-Za-z0-9]{8,}\b")


class StripeConfigMissing(NotFound):
    """404: the project never had a Stripe configuration."""

    code = "stripe_not_configured"
    detail = "Stripe is not configured for this project."
    action = "configure_stripe"


class KeysRefused(FieldError):
    """422: one or more of the given keys are wrong; nothing was written."""

    def __init__(self, problems: Mapping[str, str], *, type: str = "value_error") -> None:
        super().__init__("body", *list(problems)[:1], msg=next(iter(problems.values())), type=type)
        self.errors = [{"loc": ["body", name], "msg": msg, "type": type} for name, msg in problems.items()]


@dataclass(frozen=True)
class StoredConfig:
    """A configuration as it is read: its row, its credentials per mode, and when each mode's last event came."""

    config: StripeConfig
    credentials: list[StripeCredentials]
    last_event_at: dict[str, dt.datetime | None]


@dataclass(frozen=True)
class Verdict:
    """What Stripe says about a key."""

    valid: bool
    message: str


def read_stripe_config(*, project: Project) -> StoredConfig | None:
    """Return a project's configuration, or None when it was never set. Three queries."""
    config = StripeConfig.objects.for_project(project).first()
    if config is None:
        return None
    credentials = list(StripeCredentials.objects.for_project(project))
    events = WebhookEvent.objects.for_project(project).values("mode")
    last_event_at = {row["mode"]: row["last"] for row in events.annotate(last=Max("received_at")).order_by()}
    return StoredConfig(config, credentials, last_event_at)


def put_stripe_config(
    *, project: Project, changes: Mapping[str, str | None], confirm_account_change: bool = False
) -> StoredConfig:
    """Save the given keys (absent or None keeps), activate the configuration, and return it.

    Raises: KeysRefused (422) naming each field, StripeUnavailable (503). Either way nothing was written.
    """
    given = {name: value for name, value in changes.items() if value is not None}
    _check_shapes(given)
    accounts = {mode: _account_of_key(given, mode) for mode in MODES if f"{mode}_secret_key" in given}
    with transaction.atomic():
        # The project's row orders the changes, also of a configuration that does not exist yet.
        locked = Project.objects.existing().select_for_update(no_key=True).filter(pk=project.pk).first()
        if locked is None:
            raise NotFound()
        config, created = StripeConfig.objects.get_or_create(project=locked)
        if not created:
            config.is_active = True
            config.updated_at = clock.now()
            config.save(update_fields=["is_active", "updated_at"])
        for mode in MODES:
            keys = {field: given[f"{mode}_{field}"] for field in KEY_FIELDS if f"{mode}_{field}" in given}
            if keys:
                row = _locked_credentials(config, locked, mode)
                if mode in accounts:
                    _keep_account(row, accounts[mode], confirmed=confirm_account_change)
                _save_keys(row, locked, keys)
    forget_secrets(project.pk)
    resume_waiting_events(project_id=project.pk)
    stored = read_stripe_config(project=project)
    if stored is None:
        raise NotFound()
    return stored


def deactivate_stripe_config(*, project: Project) -> None:
    """Stop taking payments: history and keys stay, webhooks stop verifying. Raises StripeConfigMissing (404)."""
    changed = StripeConfig.objects.for_project(project).update(is_active=False, updated_at=clock.now())
    forget_secrets(project.pk)
    if not changed:
        raise StripeConfigMissing()


def validate_credentials(*, secret_key: str, is_test_mode: bool) -> Verdict:
    """Ask Stripe once whether a key works, and store nothing. Raises StripeUnavailable (503)."""
    mode = mode_of(is_test_mode)
    problem = _shape_problem("secret_key", secret_key, mode)
    if problem:
        return Verdict(False, problem)
    try:
        account = read_account(secret_key)
    except StripeKeyRejected as error:
        if _is_restricted(secret_key) and error.http_status == 403:
            return Verdict(True, f"The restricted {mode} key works{_on_account(_account_in(error))}.")
        return Verdict(False, KEY_REJECTED)
    return Verdict(True, f"The {mode} key works{_on_account(str(account.get('id', '')))}.")


def webhook_urls(*, project: Project) -> dict[str, str]:
    """Return the addresses that Stripe delivers this project's events to."""
    base = f"{settings.PUBLIC_BASE_URL}/api/v1/payments/stripe/webhooks/{project.pk}"
    return {f"{mode}_webhook_url": f"{base}/{mode}" for mode in MODES}


def webhook_secret_fingerprint(secret: str) -> str:
    """Return a keyed digest that tells two signing secrets apart without revealing either."""
    return hmac.new(settings.SECRET_KEY.encode(), b"webhook-secret:" + secret.encode(), hashlib.sha256).hexdigest()


def _check_shapes(given: Mapping[str, str]) -> None:
    problems = {}
    for name, value in given.items():
        mode, _, field = name.partition("_")
        problem = _shape_problem(field, value, mode)
        if problem:
            problems[name] = problem
    if problems:
        raise KeysRefused(problems)


def _shape_problem(field: str, value: str, mode: str) -> str | None:
    prefixes = [prefix.format(mode=mode) for prefix in _PREFIXES[field]]
    expected = " or ".join(prefixes)
    if not value:
        return f"This must not be empty; leave it out to keep the stored value. It starts with {expected}."
    if len(value) > MAX_KEY_LENGTH:
        return f"This is longer than {MAX_KEY_LENGTH} characters."
    prefix = next((prefix for prefix in prefixes if value.startswith(prefix)), None)
    if prefix is None:
        other = "live" if mode == "test" else "test"
        wrong_mode = any(value.startswith(known.format(mode=other)) for known in _PREFIXES[field] if "{mode}" in known)
        if wrong_mode:
            return f"This is a {other} key, and a {mode} key is asked for."
        return f"This must start with {expected}."
    if not _KEY_BODY.fullmatch(value[len(prefix) :]):
        return "This holds characters that no key of Stripe has."
    return None


def _account_of_key(given: Mapping[str, str], mode: Mode) -> str:
    """Ask Stripe whose key this is; empty when a restricted key may not tell."""
    name = f"{mode}_secret_key"
    try:
        return str(read_account(given[name]).get("id", ""))
    except StripeKeyRejected as error:
        # No permission lets a restricted key read its own account; Stripe's refusal names the account all the same.
        # https://github.com/singer-io/tap-stripe/issues/38
        if _is_restricted(given[name]) and error.http_status == 403:
            return _account_in(error)
        raise KeysRefused({name: KEY_REJECTED}, type="key_rejected") from error


def _account_in(error: StripeKeyRejected) -> str:
    match = _ACCOUNT_IN_MESSAGE.search(error.user_message)
    return match.group() if match else ""


def _is_restricted(secret_key: str) -> bool:
    return secret_key.startswith("rk_")


def _on_account(account_id: str) -> str:
    return f" on account {account_id}" if account_id else ""


def _locked_credentials(config: StripeConfig, project: Project, mode: Mode) -> StripeCredentials:
    """Return one mode's row, new or stored. The caller holds the project's row lock."""
    # Locked itself too: a rotation of encryption keys that runs meanwhile must not be undone by this save.
    row = StripeCredentials.objects.for_project(project).filter(mode=mode).select_for_update(no_key=True).first()
    return row or StripeCredentials(config=config, project=project, mode=mode, version=0)


def _save_keys(row: StripeCredentials, project: Project, keys: Mapping[str, str]) -> None:
    if "webhook_secret" in keys:
        _roll_webhook_secret(row, project, keys["webhook_secret"])
    for field in ("secret_key", "publishable_key"):
        if field in keys:
            row.set_secret(field, keys[field])
    row.configured_at = clock.now()
    row.version += 1
    row.save()


def _keep_account(row: StripeCredentials, account_id: str, *, confirmed: bool) -> None:
    known = row.stripe_account_id
    if known and account_id != known and not confirmed:
        found = f"account {account_id}" if account_id else "an account that it may not name"
        message = (
            f"This key belongs to {found}, and this project used {known} so far, where its customers and subscriptions "
            "are. Send confirm_account_change=true to change the account all the same."
        )
        raise KeysRefused({f"{row.mode}_secret_key": message}, type="account_changed")
    row.stripe_account_id = account_id


def _roll_webhook_secret(row: StripeCredentials, project: Project, secret: str) -> None:
    """Replace the signing secret; the old one goes on verifying for a day, so that no delivery is refused meanwhile."""
    fingerprint = webhook_secret_fingerprint(secret)
    if project.shared_webhook:
        _refuse_shared_secret(row, project, fingerprint)
    try:
        current = row.get_secret("webhook_secret")
    except DecryptionError:
        # The encryption key of the old one is lost. It cannot verify any more; saving a new one is the way out.
        current = ""
        row.previous_webhook_secret = ""
    if current == secret:
        return
    if current:
        row.set_secret("previous_webhook_secret", current)
        row.previous_webhook_secret_expires_at = clock.now() + ROLLED_SECRET_LIVES
    row.set_secret("webhook_secret", secret)
    row.webhook_secret_fingerprint = fingerprint


def _refuse_shared_secret(row: StripeCredentials, project: Project, fingerprint: str) -> None:
    """Two projects on the shared webhook address must be told apart by which secret verifies."""
    lock_shared_address()
    if is_used_by_another(fingerprint=fingerprint, project=project, mode=row.mode):
        problem = "Another project on the shared webhook address uses this secret: give each its own endpoint."
        raise KeysRefused({f"{row.mode}_webhook_secret": problem}, type="secret_in_use")


def changes_of(data: Mapping[str, Any]) -> dict[str, str | None]:
    """Pick the six keys out of a request, whatever else it holds."""
    return {f"{mode}_{field}": data.get(f"{mode}_{field}") for mode in MODES for field in KEY_FIELDS}
