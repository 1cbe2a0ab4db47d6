"""Look for secrets where none may be: a dump of the database, logs, broker messages, answers, pages.

A canary is a secret's real value, known to the test. Besides the value itself its usual encodings are looked for.
"""

import base64
import os
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import quote

from config.embedded import postgres_binary

MIN_CANARY_LENGTH = 12


def encodings_of(canary: str) -> set[bytes]:
    """Return the forms in which a value could leak: plain, percent-encoded, base64, hex."""
    raw = canary.encode()
    forms = {raw, quote(canary, safe="").encode(), raw.hex().encode(), raw.hex().upper().encode()}
    # Base64 of a value inside other text depends on its offset; the middle part of each alignment does not.
    for offset in range(3):
        encoded = base64.b64encode(b"\0" * offset + raw)
        start = 0 if offset == 0 else 4
        usable = encoded[start : len(encoded) // 4 * 4 - 4]
        if len(usable) >= MIN_CANARY_LENGTH:
            forms.add(usable)
    return forms


def find_canaries(places: Mapping[str, bytes], canaries: Mapping[str, str]) -> list[str]:
    """Return `name of canary in name of place` for every hit. A canary too short to be told from chance is an error."""
    hits = []
    for name, canary in canaries.items():
        if len(canary) < MIN_CANARY_LENGTH:
            raise ValueError(f"the canary {name} is too short to look for")
        forms = encodings_of(canary)
        hits += [f"{name} in {place}" for place, content in places.items() if any(form in content for form in forms)]
    return hits


def dump_database(url: str) -> bytes:
    """Return a plain dump of a whole database, schema and rows."""
    done = subprocess.run(
        [str(postgres_binary("pg_dump")), "--no-owner", "--inserts", "--dbname", url],
        capture_output=True,
        timeout=300,
        check=True,
        env={**os.environ, "PGCONNECT_TIMEOUT": "5"},
    )
    return done.stdout


def read_files(paths: Iterable[Path]) -> dict[str, bytes]:
    """Read log files by name."""
    return {str(path): path.read_bytes() for path in paths if path.exists()}
