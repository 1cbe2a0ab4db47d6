"""Disputes: read, answered with evidence, or given up. They come from test cards and switches, never from the API."""

from __future__ import annotations

from typing import Any

from ..billing import disputes
from ..errors import StripeError
from ..events import Journal
from ..fields import merged_metadata, supported
from ..paging import page
from ..store import Context, Tx

Object = dict[str, Any]


def _find(tx: Tx, ctx: Context, dispute_id: str) -> Object:
    dispute = tx.get(ctx, "dispute", dispute_id)
    if dispute is None:
        raise StripeError(f"No such dispute: '{dispute_id}'", http_status=404, code="resource_missing", param="dispute")
    return dispute


def retrieve(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """GET /v1/disputes/{id}."""
    return _find(tx, ctx, id)


def update(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/disputes/{id}: evidence (submitted unless told otherwise) and metadata."""
    supported(params, {"evidence", "metadata", "submit"})
    evidence = params.get("evidence") or {}
    supported(evidence, disputes.EVIDENCE, "evidence")
    dispute = _find(tx, ctx, id)
    journal = Journal()
    if "metadata" in params:
        before = {"metadata": dispute["metadata"]}
        dispute["metadata"] = merged_metadata(dispute["metadata"], params["metadata"])
        tx.save(ctx, dispute)
        if not evidence:
            journal.add("charge.dispute.updated", dispute, before)
    submit = bool(params.get("submit", True))
    if evidence or params.get("submit"):
        disputes.add_evidence(tx, ctx, journal, dispute, evidence, submit=submit)
        if submit:
            _note_charge(tx, ctx, journal, dispute)
    journal.release(tx, ctx)
    return dispute


def _note_charge(tx: Tx, ctx: Context, journal: Journal, dispute: Object) -> None:
    charge = tx.get(ctx, "charge", dispute["charge"])
    if charge is not None:
        journal.add("charge.updated", charge, {})


def close(tx: Tx, ctx: Context, params: Object, id: str) -> Object:
    """POST /v1/disputes/{id}/close: accepts the loss."""
    dispute = _find(tx, ctx, id)
    journal = Journal()
    disputes.close(tx, ctx, journal, dispute, won=False)
    _note_charge(tx, ctx, journal, dispute)
    journal.release(tx, ctx)
    return dispute


def list_all(tx: Tx, ctx: Context, params: Object) -> Object:
    """GET /v1/disputes."""
    supported(params, {"charge", "created", "limit", "starting_after", "ending_before", "payment_intent"})
    equal = {name: params.get(name) for name in ("charge", "payment_intent")}
    return page(tx, ctx, "dispute", params, "/v1/disputes", equal)


ROUTES = [
    ("GET", "/v1/disputes", list_all),
    ("GET", "/v1/disputes/{id}", retrieve),
    ("POST", "/v1/disputes/{id}", update),
    ("POST", "/v1/disputes/{id}/close", close),
]
