"""Stamps of effects that are done: written with the mark, once the peer took the effect, and never at the price of a second one."""

from collections.abc import Iterator

import pytest

from notifications.models import OutboxRow
from notifications.services import outbox
from notifications.services.running import carry_out_row, lease_due_rows
from projects.models import Project
from tests.notifications.conftest import Peer


@pytest.fixture
def stamps(peer: Peer) -> Iterator[list[str]]:
    """What somebody noted about effects of the peer's kind."""
    found: list[str] = []
    outbox.register_done_notice(peer.kind, lambda row: found.append(row.effect_key))
    yield found
    outbox._done_notices.pop(peer.kind)


def carry_out(row: OutboxRow) -> OutboxRow:
    for leased in lease_due_rows(limit=1000):
        if leased.pk == row.pk:
            carry_out_row(leased)
    row.refresh_from_db()
    return row


def test_a_stamp_is_written_when_the_peer_took_it_and_not_before(acme: Project, peer: Peer, stamps: list[str]) -> None:
    def away(row: OutboxRow) -> None:
        raise ConnectionError("away")

    peer.behave = away
    row = carry_out(peer.ask(acme, "k1"))
    assert (row.status, stamps) == ("pending", [])
    peer.behave = lambda row: {}
    OutboxRow.objects.filter(pk=row.pk).update(next_attempt_at=row.created_at)
    assert carry_out(row).status == "done" and stamps == ["k1"]


def test_whoever_lost_the_lease_stamps_nothing(acme: Project, peer: Peer, stamps: list[str]) -> None:
    row = peer.ask(acme, "k2")
    (leased,) = [one for one in lease_due_rows(limit=1000) if one.pk == row.pk]
    OutboxRow.objects.filter(pk=row.pk).update(lease_token="00000000-0000-0000-0000-000000000001")
    carry_out_row(leased)
    row.refresh_from_db()
    assert (row.status, stamps) == ("processing", [])


def test_a_stamp_that_fails_costs_no_second_effect_and_is_told(acme: Project, peer: Peer) -> None:
    def broken(row: OutboxRow) -> None:
        OutboxRow.objects.filter(pk=row.pk).update(effect_key="half written")
        raise ValueError("no such licence")

    outbox.register_done_notice(peer.kind, broken)
    try:
        row = carry_out(peer.ask(acme, "k3"))
    finally:
        outbox._done_notices.pop(peer.kind)
    assert (row.status, row.effect_key, peer.seen) == ("done", "k3", ["k3"]) and "no such licence" in row.error
