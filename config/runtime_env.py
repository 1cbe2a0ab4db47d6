"""What `make run` makes for itself: keys, and the environment file that lets manage.py join a running instance."""

import base64
import hashlib
import json
import secrets
from collections.abc import Mapping
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

from config.embedded import write_private

ROOT = Path(__file__).resolve().parent.parent
KEYS_FILE = "keys.json"


def generated_keys(var_dir: Path) -> dict[str, str]:
    """Return the instance's own keys, made on the first call and kept: without them its data cannot be read."""
    path = var_dir / KEYS_FILE
    if path.exists():
        kept: dict[str, str] = json.loads(path.read_text())
        return kept
    keys = {
        "SECRET_KEY": secrets.token_urlsafe(64),
        "ENCRYPTION_KEYS": f"k1:{base64.b64encode(secrets.token_bytes(32)).decode()}",
        "OIDC_PRIVATE_KEY": new_rsa_key(),
        "ENTITLEMENT_SIGNING_KEY": new_ed25519_key(),
    }
    write_private(path, json.dumps(keys, indent=1))
    return keys


def new_rsa_key() -> str:
    """Make a key of the kind that OIDC_PRIVATE_KEY takes."""
    return _pem(rsa.generate_private_key(public_exponent=65537, key_size=2048))


def new_ed25519_key() -> str:
    """Make a key of the kind that ENTITLEMENT_SIGNING_KEY takes."""
    return _pem(ed25519.Ed25519PrivateKey.generate())


def write_runtime_env(var_dir: Path, values: Mapping[str, str]) -> Path:
    """Write VAR_DIR/runtime.env, readable by its owner only, and return its path. Line breaks of keys become \\n."""
    lines = []
    for name, value in sorted(values.items()):
        if "'" in value:
            raise ValueError(f"{name} contains a quote, which the environment file cannot hold")
        lines.append("{}='{}'\n".format(name, value.replace("\n", "\\n")))
    path = var_dir / "runtime.env"
    write_private(path, "".join(lines))
    return path


def schema_key() -> str:
    """Return the hash of everything that decides the schema: our migrations and the locked versions of the others."""
    digest = hashlib.sha256()
    files = sorted(path for path in ROOT.glob("*/*migrations/*.py") if not path.parts[len(ROOT.parts)].startswith("."))
    for path in [*files, ROOT / "requirements" / "run.lock"]:
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _pem(key: rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> str:
    encoded = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return encoded.decode()
