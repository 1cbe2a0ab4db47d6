"""Reads values of the environment that have a form; one that is wrong stops the start and is named, a secret is not shown."""

from email.utils import parseaddr
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import SplitResult, parse_qsl, urlsplit

import environ
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.validators import validate_email

from common.signing_keys import BadSigningKeys, load_signing_keys

Number = TypeVar("Number", int, float)

LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
TOKEN_CHARS_MIN = 16
RSA_BITS_MIN = 2048
# Mail providers that are reached by their API, with what each needs. Source: https://anymail.dev/en/stable/esps/
MAIL_PROVIDERS = {
    "brevo": ("api_key",),
    "mailersend": ("api_token",),
    "mailgun": ("api_key", "sender_domain"),
    "mailjet": ("api_key", "secret_key"),
    "postmark": ("server_token",),
    "resend": ("api_key",),
    "scaleway": ("secret_key", "project_id"),
    "sparkpost": ("api_key",),
}
MAIL_SECONDS = 10


def read_number(env: environ.Env, name: str, *, default: Number, at_least: Number, at_most: Number) -> Number:
    """Read a number of the default's type between two bounds. Raises ImproperlyConfigured."""
    text = env.str(name, default=str(default)).strip()
    try:
        number = type(default)(text)
    except ValueError:
        number = None
    if number is None or not at_least <= number <= at_most:
        raise ImproperlyConfigured(f"{name} must be a number from {at_least} to {at_most}, not {text[:40]!r}.")
    return number


def read_word(env: environ.Env, name: str, *, default: str, words: tuple[str, ...]) -> str:
    """Read one of a few words. Raises ImproperlyConfigured."""
    word = env.str(name, default=default).strip().lower()
    if word not in words:
        raise ImproperlyConfigured(f"{name} must be {' or '.join(words)}, not {word[:40]!r}.")
    return word


def read_address(
    env: environ.Env, name: str, *, default: str, schemes: tuple[str, ...] = ("https", "http"), with_path: bool = True
) -> str:
    """Read an address without its last slash; empty only when that is the default. Raises ImproperlyConfigured."""
    text = env.str(name, default=default).strip().rstrip("/")
    if text == default.rstrip("/"):
        return text
    try:
        parts = urlsplit(text)
        is_good = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    else:
        is_good = is_good and (with_path or not (parts.path or parts.query or parts.fragment or parts.username))
    if not is_good:
        # Not shown: an address can hold a password.
        what = "an address" if with_path else "an address without a path"
        raise ImproperlyConfigured(f"{name} must be {what} that starts with {' or '.join(schemes)}:// and a host.")
    return text


def read_sender(env: environ.Env, name: str, *, default: str) -> str:
    """Read whom mails come from: an address, or a name and an address. Raises ImproperlyConfigured."""
    sender: str = env.str(name, default=default).strip()
    address = parseaddr(sender)[1]
    try:
        validate_email(address)
        is_good = address.isascii() and sender.isprintable()
    except ValidationError:
        is_good = False
    if not is_good:
        raise ImproperlyConfigured(
            f"{name} must be an e-mail address such as payments@example.com, not {sender[:80]!r}."
        )
    return sender


def read_amounts(env: environ.Env, name: str, *, default: str) -> dict[str, int]:
    """Read `usd=10000,eur=10000`: minor units by currency. Raises ImproperlyConfigured."""
    found: dict[str, int] = {}
    for entry in env.str(name, default=default).split(","):
        if not entry.strip():
            continue
        currency, _, amount = (part.strip().lower() for part in entry.partition("="))
        if (
            len(currency) != 3
            or not currency.isascii()
            or not currency.isalpha()
            or not amount.isascii()
            or not amount.isdigit()
        ):
            raise ImproperlyConfigured(f"{name} must be amounts such as usd=10000, in minor units, not {entry[:40]!r}.")
        found[currency] = int(amount)
    return found


def read_pairs(env: environ.Env, name: str) -> dict[str, frozenset[str]]:
    """Read `key=value,key=value` in lower case; a key may come several times. Raises ImproperlyConfigured."""
    found: dict[str, frozenset[str]] = {}
    for entry in env.list(name, default=[]):
        key, _, value = (part.strip().lower() for part in str(entry).partition("="))
        if not key or not value or "=" in value:
            raise ImproperlyConfigured(f"{name} must be pairs such as acme=acme.example, not {str(entry)[:40]!r}.")
        found[key] = found.get(key, frozenset()) | {value}
    return found


def read_rate_limits(env: environ.Env, name: str) -> dict[str, tuple[int, int]]:
    """Read `checkout-address=200/300,…`: the name of a limit, calls, seconds. Raises ImproperlyConfigured."""
    found: dict[str, tuple[int, int]] = {}
    for limit, values in read_pairs(env, name).items():
        parts = [part for value in values for part in value.split("/")]
        if len(parts) != 2 or not all(part.isascii() and part.isdigit() and 0 < int(part) < 10**7 for part in parts):
            raise ImproperlyConfigured(
                f"{name} must be limits such as checkout-address=200/300 (calls/seconds), not {limit[:40]!r}."
            )
        found[limit] = (int(parts[0]), int(parts[1]))
    return found


def read_token(env: environ.Env, name: str) -> str:
    """Read a secret that a program sends, or "" without one. Raises ImproperlyConfigured for one that can be guessed."""
    token: str = env.str(name, default="").strip()
    if token and (len(token) < TOKEN_CHARS_MIN or not token.isascii() or any(char.isspace() for char in token)):
        # Not shown: it is a secret, if a weak one.
        raise ImproperlyConfigured(f"{name} must be at least {TOKEN_CHARS_MIN} characters without blanks.")
    return token


def read_mail_settings(env: environ.Env, name: str, *, unsent_dir: Path) -> dict[str, Any]:
    """Read a mail server's address into Django's mail settings; without one, mails are written into a directory and sent to nobody.

    Raises ImproperlyConfigured. The address is not shown: it holds a password.
    """
    default_ports = {"smtp": 25, "smtp+tls": 587, "smtps": 465, "smtp+ssl": 465, "consolemail": None, "dummymail": None}
    text = env.str(name, default="").strip()
    if not text:
        return {
            "EMAIL_BACKEND": "django.core.mail.backends.filebased.EmailBackend",
            "EMAIL_FILE_PATH": str(unsent_dir),
        }
    try:
        parts = urlsplit(text)
        if parts.scheme in MAIL_PROVIDERS:
            return _read_mail_provider(name, parts)
        is_good = parts.scheme in default_ports and parts.port != 0
        is_good = is_good and (bool(parts.hostname) or default_ports[parts.scheme] is None)
    except ValueError:
        is_good = False
    if not is_good:
        raise ImproperlyConfigured(
            f"{name} must be smtp+tls://USER@host:587 with a password, smtps://…, smtp://…, consolemail:// or a provider's "
            f"name with its keys: {', '.join(f'{provider}://' for provider in MAIL_PROVIDERS)} (docs/mail.md)."
        )
    found: dict[str, Any] = env.email_url(name)
    found["EMAIL_PORT"] = found["EMAIL_PORT"] or default_ports[parts.scheme] or 25
    return {name: value for name, value in found.items() if value is not None}


def _read_mail_provider(name: str, parts: SplitResult) -> dict[str, Any]:
    """Read `postmark://?server_token=…` into anymail's settings. Raises ImproperlyConfigured, without the values."""
    given = dict(parse_qsl(parts.query))
    needed = MAIL_PROVIDERS[parts.scheme]
    unknown = sorted(set(given) - set(needed) - {"api_url"})
    missing = [key for key in needed if not given.get(key)]
    if missing or unknown or parts.netloc or parts.path.strip("/"):
        keys = "&".join(f"{key}=…" for key in needed)
        raise ImproperlyConfigured(f"{name} for {parts.scheme} must read {parts.scheme}://?{keys}")
    settings = {f"{parts.scheme.upper()}_{key.upper()}": value for key, value in given.items()}
    return {
        "EMAIL_BACKEND": f"anymail.backends.{parts.scheme}.EmailBackend",
        # A provider that has no place for one of our headers still sends the mail.
        "ANYMAIL": {**settings, "REQUESTS_TIMEOUT": MAIL_SECONDS, "IGNORE_UNSUPPORTED_FEATURES": True},
    }


def read_log_level(env: environ.Env, name: str, *, default: str) -> str:
    """Read the name of a log level. Raises ImproperlyConfigured."""
    level = env.str(name, default=default).strip().upper()
    if level not in LOG_LEVELS:
        raise ImproperlyConfigured(f"{name} must be one of {', '.join(LOG_LEVELS)}, not {level[:40]!r}.")
    return level


def check_rsa_key(name: str, pem: str) -> None:
    """Refuse what is no RSA private key of 2048 bits or more. Raises ImproperlyConfigured."""
    key = _load_key(pem)
    if not isinstance(key, RSAPrivateKey) or key.key_size < RSA_BITS_MIN:
        raise ImproperlyConfigured(f"{name} must be an RSA private key in PEM of at least {RSA_BITS_MIN} bits.")


def check_ed25519_keys(name: str, pem: str) -> None:
    """Refuse what is no Ed25519 private key, or several of them. Raises ImproperlyConfigured."""
    try:
        load_signing_keys(pem)
    except BadSigningKeys:
        raise ImproperlyConfigured(
            f"{name} must be an Ed25519 private key in PEM, or up to five one after the other, the newest first."
        ) from None


def _load_key(pem: str) -> object:
    try:
        return load_pem_private_key(pem.encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        return None
