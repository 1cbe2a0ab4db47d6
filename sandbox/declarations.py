"""Stripe's published declarations of shapes for the pinned API version, as `spec/` has them."""

from __future__ import annotations

import gzip
import json
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

SPEC_FILE = Path(__file__).parent / "spec" / "stripe-2026-08-26.dahlia.schema.json.gz"

# The declarations do not tell integers from floats; these are the fields Stripe documents as
# fractional. Any other float (an amount of 10.0, a time of 1.7e9) is a defect.
FRACTIONAL_WORDS = ("percent", "rate", "latitude", "longitude", "score", "height", "length", "weight", "width", "value")

# Left the subscription for its items on 2025-03-31; the declarations alone would only warn.
SUBSCRIPTION_PERIOD_FIELDS = ("current_period_start", "current_period_end")

Schema = dict[str, Any]


class Route(NamedTuple):
    """One operation of the API as the spec declares it."""

    method: str
    path: str
    params: dict[str, Any]
    kind: str
    result: dict[str, Any]


@cache
def spec() -> dict[str, Any]:
    """Load the spec once per process."""
    with gzip.open(SPEC_FILE) as handle:
        loaded: dict[str, Any] = json.load(handle)
    return loaded


def definition_name(ref: str) -> str:
    """Return the name inside a `#/definitions/NAME` reference."""
    return ref.split("/", 2)[2]


def resolve(schema: Schema) -> Schema:
    """Follow `$ref` until a schema with content is reached."""
    while "$ref" in schema:
        schema = spec()["definitions"][definition_name(schema["$ref"])]
    return schema


@cache
def routes() -> tuple[Route, ...]:
    """List every /v1 operation that the spec knows."""
    return tuple(
        Route(entry["method"], entry["path"], entry["params"], entry["kind"], entry["result"])
        for entry in spec()["routes"]
        if entry["path"].startswith("/v1/")
    )


def is_fractional(path: str) -> bool:
    """Say whether Stripe documents fractions for the field at the end of this path."""
    field = path.rsplit(".", 1)[-1]
    return any(word in field for word in FRACTIONAL_WORDS)
