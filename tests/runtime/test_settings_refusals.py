"""The service refuses to start on settings that would not be safe, and says which."""

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import environ
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from django.core.exceptions import ImproperlyConfigured

from config.environment import (
    check_ed25519_keys,
    check_rsa_key,
    read_address,
    read_number,
    read_rate_limits,
    read_token,
)

pytestmark = pytest.mark.no_db

ROOT = Path(__file__).resolve().parents[2]


def start(tmp_path: Path, **changes: str | None) -> subprocess.CompletedProcess[str]:
    """Load the settings as a process of its own with the environment changed; None takes a variable away."""
    return run("import django; django.setup()", tmp_path, **changes)


def run(code: str, tmp_path: Path, **changes: str | None) -> subprocess.CompletedProcess[str]:
    """Run something as a process of its own with the environment changed."""
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings", "VAR_DIR": str(tmp_path)}
    for name, value in changes.items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_good_settings_start(tmp_path: Path) -> None:
    assert start(tmp_path).returncode == 0


SIGN_IN = """
import django, json
django.setup()
from django.test import Client
page = Client().get("/admin/login/", secure=True, headers={"host": "pay.example.com"})
from django.conf import settings
cookies = {name: [cookie["secure"], cookie["httponly"], cookie["path"]] for name, cookie in page.cookies.items()}
print(json.dumps([page.status_code, dict(page.headers), cookies, settings.SESSION_COOKIE_NAME, settings.SESSION_COOKIE_SECURE,
                  settings.SESSION_COOKIE_HTTPONLY]))
"""


def test_behind_https_browsers_are_told_to_be_careful_by_the_settings_alone(tmp_path: Path) -> None:
    """S43: an address that begins with https is all that it takes."""
    asked = run(SIGN_IN, tmp_path, PUBLIC_BASE_URL="https://pay.example.com", ALLOWED_HOSTS="pay.example.com")
    assert asked.returncode == 0, asked.stderr
    status, headers, cookies, *session = json.loads(asked.stdout.splitlines()[-1])
    assert status == 200 and headers["Strict-Transport-Security"] == "max-age=31536000"
    assert (headers["X-Content-Type-Options"], headers["X-Frame-Options"]) == ("nosniff", "DENY")
    assert cookies == {"__Host-csrftoken": [True, True, "/"]} and session == ["__Host-sessionid", True, True]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"SECRET_KEY": None}, "SECRET_KEY"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY"),
        ({"SECRET_KEY": "django-insecure-" + "x" * 60}, "SECRET_KEY"),
        ({"DEFAULT_FROM_EMAIL": "Payments, please"}, "DEFAULT_FROM_EMAIL"),
        ({"ENCRYPTION_KEYS": None}, "ENCRYPTION_KEYS"),
        ({"ENCRYPTION_KEYS": ""}, "ENCRYPTION_KEYS"),
        ({"ENCRYPTION_KEYS": "k1:tooshort"}, "ENCRYPTION_KEYS"),
        ({"OIDC_PRIVATE_KEY": None}, "OIDC_PRIVATE_KEY"),
        ({"DEBUG": "true", "ALLOWED_HOSTS": "pay.example.com"}, "DEBUG"),
        ({"DEMO": "true", "ALLOWED_HOSTS": "pay.example.com"}, "DEMO"),
        ({"DEBUG": "maybe"}, "DEBUG"),
        ({"DEMO": "2"}, "DEMO"),
        ({"OIDC_PRIVATE_KEY": "junk"}, "OIDC_PRIVATE_KEY"),
        ({"ENTITLEMENT_SIGNING_KEY": "junk"}, "ENTITLEMENT_SIGNING_KEY"),
        ({"ENTITLEMENT_SIGNING_KEY": None}, "ENTITLEMENT_SIGNING_KEY"),
        ({"PUBLIC_BASE_URL": "nohost"}, "PUBLIC_BASE_URL"),
        ({"REDIS_URL": "zzz"}, "REDIS_URL"),
        ({"STRIPE_API_BASE": "127.0.0.1:8420"}, "STRIPE_API_BASE"),
        ({"GITHUB_API_BASE": "zzz"}, "GITHUB_API_BASE"),
        ({"EMAIL_URL": "mail.example.com"}, "EMAIL_URL"),
        ({"EMAIL_URL": "smtp://:587"}, "EMAIL_URL"),
        ({"MAIL_FROM_DOMAINS": "acme=acme.example,shop.example"}, "MAIL_FROM_DOMAINS"),
        ({"PORT": "0"}, "PORT"),
        ({"TRUSTED_PROXY_COUNT": "-1"}, "TRUSTED_PROXY_COUNT"),
        ({"TOKEN_BUDGET_FAIL_MODE": "ajar"}, "TOKEN_BUDGET_FAIL_MODE"),
        ({"TOKEN_JOURNAL_SECONDS": "1.5"}, "TOKEN_JOURNAL_SECONDS"),
        ({"EVENT_MAX_ATTEMPTS": "0"}, "EVENT_MAX_ATTEMPTS"),
        ({"EVENT_LEASE_SECONDS": "0"}, "EVENT_LEASE_SECONDS"),
        ({"EVENT_SWEEP_SECONDS": "soon"}, "EVENT_SWEEP_SECONDS"),
        ({"WORKER_CONCURRENCY": "abc"}, "WORKER_CONCURRENCY"),
        ({"DATABASE_POOL": "true", "DATABASE_POOL_SIZE": "-1"}, "DATABASE_POOL_SIZE"),
        ({"STRIPE_TIMEOUT_SECONDS": "nan"}, "STRIPE_TIMEOUT_SECONDS"),
        ({"STRIPE_MAX_NETWORK_RETRIES": "many"}, "STRIPE_MAX_NETWORK_RETRIES"),
        ({"LOG_LEVEL": "LOUD"}, "LOG_LEVEL"),
    ],
)
def test_a_setting_that_is_missing_or_unsafe_stops_the_start_and_is_named(
    tmp_path: Path, changes: dict[str, str | None], named: str
) -> None:
    done = start(tmp_path, **changes)
    assert done.returncode != 0
    assert named in done.stderr.splitlines()[-1]
    assert "ImproperlyConfigured" in done.stderr.splitlines()[-1]


def environment_with(name: str, value: str) -> environ.Env:
    env = environ.Env()
    env.ENVIRON = {name: value}
    return env


@pytest.mark.parametrize(
    "address",
    [
        "",
        "https://",
        "//host",
        "ftp://host",
        "https://host/api",
        "https://me@host",
        "https://host:port",
        "https://[::1",
    ],
)
def test_an_odd_address_is_refused_by_name(address: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^BASE must"):
        read_address(environment_with("BASE", address), "BASE", default="http://127.0.0.1", with_path=False)


@pytest.mark.parametrize("number", ["", "-1", "11", "1.5", "1e3", "ten", "0x1"])
def test_an_odd_number_is_refused_by_name(number: str) -> None:
    with pytest.raises(ImproperlyConfigured, match=r"^COUNT must be a number from 0 to 10"):
        read_number(environment_with("COUNT", number), "COUNT", default=0, at_least=0, at_most=10)


def test_a_key_of_another_kind_or_too_short_is_refused() -> None:
    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    pem = short.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    for key in (pem, os.environ["ENTITLEMENT_SIGNING_KEY"]):
        with pytest.raises(ImproperlyConfigured, match=r"^KEY must be an RSA"):
            check_rsa_key("KEY", key)
    with pytest.raises(ImproperlyConfigured, match=r"^KEY must be an Ed25519"):
        check_ed25519_keys("KEY", os.environ["OIDC_PRIVATE_KEY"])


def test_values_that_are_unusual_and_right_start(tmp_path: Path) -> None:
    unusual: dict[str, str | None] = {
        "PUBLIC_BASE_URL": "https://pay.example.com:8443/",
        "REDIS_URL": "rediss://:p%40ss@redis.example.com:6380/1?ssl_cert_reqs=required",
        "STRIPE_API_BASE": "",
        "TRUSTED_PROXY_COUNT": "2",
        "EVENT_MAX_ATTEMPTS": "1",
        "STRIPE_TIMEOUT_SECONDS": "0.5",
        "STRIPE_MAX_NETWORK_RETRIES": "0",
        "LOG_LEVEL": "warning",
        "ENTITLEMENT_SIGNING_KEY": os.environ["ENTITLEMENT_SIGNING_KEY"].replace("\n", "\\n"),
        "OIDC_PRIVATE_KEY": os.environ["OIDC_PRIVATE_KEY"].replace("\n", "\\n"),
    }
    assert start(tmp_path, **unusual).stderr == ""


def test_a_password_in_an_address_is_not_shown(tmp_path: Path) -> None:
    done = start(tmp_path, REDIS_URL="http://:hunter22@redis.example.com")
    assert done.returncode != 0
    assert "hunter22" not in done.stderr


def test_the_example_lists_every_setting_and_nothing_else() -> None:
    source = (ROOT / "config" / "settings.py").read_text()
    read = set(re.findall(r"""\b(?:env\.\w+|env_\w+|read_\w+)\((?:\s*env,)?\s*["']([A-Z_]+)["']""", source))
    assert {"VAR_DIR", "PORT", "DEBUG", "SECRET_KEY", "DATABASE_POOL_SIZE", "PUBLIC_BASE_URL", "FAILPOINTS"} <= read
    listed = set(re.findall(r"^(?:# )?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    # The compose file makes addresses of the passwords; the sandbox is a program of its own.
    assert listed - {"POSTGRES_PASSWORD", "REDIS_PASSWORD", "SANDBOX_PORT"} == read


def test_an_encryption_key_that_is_the_secret_key_stops_the_start(tmp_path: Path) -> None:
    same = base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
    done = start(tmp_path, SECRET_KEY=same, ENCRYPTION_KEYS=f"k1:{same}")
    assert done.returncode != 0
    assert same not in done.stderr


def test_a_key_file_that_others_can_read_stops_the_start(tmp_path: Path) -> None:
    names = ("DATABASE_URL", "SECRET_KEY", "ENCRYPTION_KEYS")
    file = tmp_path / "runtime.env"
    file.write_text("".join(f"{name}={os.environ[name]}\n" for name in names))
    file.chmod(0o644)
    away: dict[str, str | None] = dict.fromkeys(names)
    refused = start(tmp_path, **away)
    assert refused.returncode != 0
    assert "chmod 600" in refused.stderr
    file.chmod(0o600)
    assert start(tmp_path, **away).returncode == 0


def test_a_command_without_an_environment_says_what_to_do_in_one_line(tmp_path: Path) -> None:
    environment = {"PATH": os.environ["PATH"], "VAR_DIR": str(tmp_path)}
    for command in ("setup_stripe", "migrate", "reconcile"):
        done = subprocess.run(
            [sys.executable, "manage.py", command],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            "SECRET_KEY is not set. Start `make run` first (in this folder, and with the same VAR_DIR if one is set), "
            "or set the environment of .env.example.\n"
        )


def test_rate_limits_and_tokens_are_read_strictly(monkeypatch: pytest.MonkeyPatch) -> None:
    env = environ.Env()
    monkeypatch.setenv("LIMITS", "checkout-address=200/300, login-email=1/60")
    assert read_rate_limits(env, "LIMITS") == {"checkout-address": (200, 300), "login-email": (1, 60)}
    for odd in (
        "checkout-address",
        "a=1",
        "a=1/0",
        "a=-1/60",
        "a=1/60/2",
        "a=1/60,a=2/60",
        "a=x/60",
        "a=99999999999/60",
    ):
        monkeypatch.setenv("LIMITS", odd)
        with pytest.raises(ImproperlyConfigured, match="LIMITS must be"):
            read_rate_limits(env, "LIMITS")
    monkeypatch.setenv("TOKEN_OF_A_SCRAPER", "long-enough-to-keep")
    assert read_token(env, "TOKEN_OF_A_SCRAPER") == "long-enough-to-keep"
    for weak in ("short", "with blanks in the midst of it", "nöt-ascii-but-long-enough"):
        monkeypatch.setenv("TOKEN_OF_A_SCRAPER", weak)
        with pytest.raises(ImproperlyConfigured, match="TOKEN_OF_A_SCRAPER must be") as refused:
            read_token(env, "TOKEN_OF_A_SCRAPER")
        assert weak not in str(refused.value)
