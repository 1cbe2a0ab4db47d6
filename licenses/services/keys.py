"""Licence keys: one per licence, on so many devices at a time.

Invariants: a key has 128 random bits and is shown once; what is kept is its SHA-256, found by that and compared in constant time;
the licence's row is held while devices are counted, so that no race passes the limit. A key of another project is no key here.
"""

import base64
import hashlib
import hmac
import secrets
import uuid
from dataclasses import dataclass

from django.db import transaction

from common import clock
from common.errors import ApiError, Conflict, Forbidden
from licenses.models import License, LicenseActivation, LicenseState
from licenses.services.states import BUYER, LicenseRevoked, lock_license, note_change
from projects.models import Project

PREFIX = "lk_"
KEY_BYTES = 16
ENDING_CHARS = 4


class NoLicenseKeys(ApiError):
    """400: the product has no keys."""

    code = "no_license_keys"
    detail = "This licence has no key."


class KeyShownBefore(Conflict):
    """409: the key was shown once, and only its hash is kept."""

    code = "already_created"
    detail = "The key was shown before and is not kept. Have it replaced to get another one; the old one stops working."
    action = "replace_key"


class KeyNotValid(Forbidden):
    """403: no key of this project, or its licence was revoked."""

    code = "license_key_invalid"
    detail = "This licence key is not valid."


class ActivationLimitReached(Conflict):
    """409: the key is in use on as many devices as it may be."""

    code = "activation_limit_reached"
    detail = "This licence key is in use on as many devices as it may be. Deactivate one first."
    action = "deactivate"


@dataclass(frozen=True)
class KeyStanding:
    """A key that is valid: its licence, whether the device uses it, and how many do."""

    holder: License
    activated: bool
    in_use: int

    @property
    def limit(self) -> int:
        """On how many devices it may be in use."""
        return self.holder.product.activation_limit or 0


def make_key(*, project_id: uuid.UUID, license_id: uuid.UUID, replaces: bool = False, by: str = BUYER) -> str:
    """Make a licence's key and return it, the only time that anybody sees it. A replaced key stops working at once.

    Raises: NoLicenseKeys (400), LicenseNotFound (404), LicenseRevoked, KeyShownBefore (409).
    """
    with transaction.atomic():
        row = lock_license(project_id=project_id, license_id=license_id)
        if row.product.activation_limit is None:
            raise NoLicenseKeys()
        if row.state == LicenseState.REVOKED:
            raise LicenseRevoked()
        if row.key_hash and not replaces:
            raise KeyShownBefore()
        key = PREFIX + base64.b32encode(secrets.token_bytes(KEY_BYTES)).decode().rstrip("=")
        change = "replace_key" if row.key_hash else "make_key"
        row.key_hash, row.key_ending, row.key_made_at = _hash(key), key[-ENDING_CHARS:], clock.now()
        row.save(update_fields=["key_hash", "key_ending", "key_made_at"])
        row.activations.all().delete()
        note_change(row, change, before=row.state, by=by, told=False)
    return key


def verify_key(*, project: Project, mode: str, key: str, device: str = "") -> KeyStanding:
    """Say how a key stands, and whether a device uses it. Raises: KeyNotValid (403)."""
    row = _find(project, mode, key)
    activations = LicenseActivation.objects.for_project(project).filter(license=row)
    known = bool(device) and activations.filter(device_hash=_hash(device)).exists()
    return KeyStanding(row, known, activations.count())


def activate_key(*, project: Project, mode: str, key: str, device: str, device_name: str = "") -> KeyStanding:
    """Use a key on a device; the same device again takes no second place.

    Raises: KeyNotValid (403), ActivationLimitReached (409).
    """
    with transaction.atomic():
        row = lock_license(project_id=project.pk, license_id=_find(project, mode, key).pk)
        _check(row, key)
        activations = LicenseActivation.objects.for_project(project).filter(license=row)
        known = activations.filter(device_hash=_hash(device)).exists()
        in_use = activations.count()
        if not known:
            if in_use >= (row.product.activation_limit or 0):
                raise ActivationLimitReached()
            LicenseActivation.objects.create(
                project=project, mode=mode, license=row, device_hash=_hash(device), device_name=device_name
            )
        return KeyStanding(row, True, in_use if known else in_use + 1)


def deactivate_key(*, project: Project, mode: str, key: str, device: str) -> KeyStanding:
    """Free a device's place; one that has none stays as it is. Raises: KeyNotValid (403)."""
    with transaction.atomic():
        row = lock_license(project_id=project.pk, license_id=_find(project, mode, key).pk)
        _check(row, key)
        activations = LicenseActivation.objects.for_project(project).filter(license=row)
        activations.filter(device_hash=_hash(device)).delete()
        return KeyStanding(row, False, activations.count())


def _find(project: Project, mode: str, key: str) -> License:
    rows = License.objects.for_project(project).in_mode(mode).select_related("product")
    row = rows.filter(key_hash=_hash(key)).first() if key.startswith(PREFIX) else None
    if row is None:
        raise KeyNotValid()
    _check(row, key)
    return row


def _check(row: License, key: str) -> None:
    """Check a key against its licence as it is now. Raises: KeyNotValid (403)."""
    if not row.key_hash or not hmac.compare_digest(row.key_hash, _hash(key)):
        raise KeyNotValid()
    if row.state == LicenseState.REVOKED or row.product.activation_limit is None:
        raise KeyNotValid("This licence was revoked." if row.state == LicenseState.REVOKED else None)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
