"""The service refuses to start on settings that would not be safe, and says which."""

import base64
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.no_db


def start(tmp_path: Path, **changes: str | None) -> subprocess.CompletedProcess[str]:
    """Load the settings as a process of its own with the environment changed; None takes a variable away."""
    environment = os.environ | {"DJANGO_SETTINGS_MODULE": "config.settings", "VAR_DIR": str(tmp_path)}
    for name, value in changes.items():
        environment.pop(name, None)
        if value is not None:
            environment[name] = value
    command = [sys.executable, "-c", "import django; django.setup()"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)


def test_good_settings_start(tmp_path: Path) -> None:
    assert start(tmp_path).returncode == 0


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"SECRET_KEY": None}, "SECRET_KEY"),
        ({"SECRET_KEY": "short"}, "SECRET_KEY"),
        ({"SECRET_KEY": "django-insecure-" + "x" * 60}, "SECRET_KEY"),
        ({"ENCRYPTION_KEYS": None}, "ENCRYPTION_KEYS"),
        ({"ENCRYPTION_KEYS": ""}, "ENCRYPTION_KEYS"),
        ({"ENCRYPTION_KEYS": "k1:tooshort"}, "ENCRYPTION_KEYS"),
        ({"OIDC_PRIVATE_KEY": None}, "OIDC_PRIVATE_KEY"),
        ({"DEBUG": "true", "ALLOWED_HOSTS": "pay.example.com"}, "DEBUG"),
        ({"DEMO": "true", "ALLOWED_HOSTS": "pay.example.com"}, "DEMO"),
        ({"DEBUG": "maybe"}, "DEBUG"),
        ({"DEMO": "2"}, "DEMO"),
    ],
)
def test_a_setting_that_is_missing_or_unsafe_stops_the_start_and_is_named(
    tmp_path: Path, changes: dict[str, str | None], named: str
) -> None:
    done = start(tmp_path, **changes)
    assert done.returncode != 0
    assert named in done.stderr.splitlines()[-1]


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
