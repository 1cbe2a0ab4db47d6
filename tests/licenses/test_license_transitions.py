"""Every transition of a licence, from every state: what is allowed, stamped and told, and what a buyer's link can cause."""

import datetime as dt
import itertools
from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from licenses.models import License, LicenseState
from licenses.services.states import LicenseMoved, move_license
from notifications.models import OutboxRow
from projects.models import Project
from tests.licenses.licensing import ACCESS, license_in_hand, link_of

AT = dt.datetime(2026, 11, 21, 10, 0, tzinfo=dt.UTC)
BY = "test:somebody"
PENDING, SUBMITTED, INVITED, ACTIVE, REVOKED = LicenseState.values
# What each needs, from where it leads where, which columns it stamps, and what the app is told.
TRANSITIONS: dict[str, tuple[dict[str, Any], set[str], str, dict[str, Any], str]] = {
    "take_username": (
        {"username": "octocat", "at": AT}, {PENDING, SUBMITTED, INVITED, ACTIVE}, SUBMITTED,
        {"username": "octocat", "username_submitted_at": AT, "username_submitted_by": BY, "invited_at": None, "activated_at": None,
         "github_user_id": None, "revision": 2}, "license.username_submitted",
    ),
    "refuse_username": (
        {"problem": "unknown_username"}, {SUBMITTED}, PENDING, {"username_problem": "unknown_username", "revision": 1}, "",
    ),
    "note_invited": ({"at": AT}, {SUBMITTED}, INVITED, {"invited_at": AT, "invited_by": BY}, "license.invited"),
    "note_member": (
        {"at": AT}, {SUBMITTED, INVITED}, ACTIVE, {"activated_at": AT, "activated_by": BY, "invitation_ended_as": ""},
        "license.activated",
    ),
    "take_back": (
        {"at": AT, "because": "re_1"}, {PENDING, SUBMITTED, INVITED, ACTIVE}, REVOKED,
        {"revoked_at": AT, "revoked_by": BY, "revoked_because": "re_1"}, "license.revoked",
    ),
    "give_back": ({}, {REVOKED}, PENDING, {"revoked_at": None, "revoked_by": "", "revoked_because": ""}, "license.restored"),
}  # fmt: skip
OF_STATE: dict[str, dict[str, Any]] = {
    PENDING: {}, SUBMITTED: {}, INVITED: {"invitation_ended_as": ""}, ACTIVE: {"activated_at": AT, "invitation_ended_as": ""},
    REVOKED: {"revoked_at": AT, "revoked_because": "staff", "revoked_by": "staff:a"},
}  # fmt: skip


def license_in(project: Project, state: str) -> License:
    """Have a licence in a state."""
    row = license_in_hand(project)
    License.objects.filter(pk=row.pk).update(state=state, **OF_STATE[state])
    return License.objects.select_related("product", "end_user").get(pk=row.pk)


def left_of(row: License) -> dict[str, Any]:
    """Read a licence as it is kept."""
    return dict(License.objects.filter(pk=row.pk).values().get())


def told(row: License) -> list[str]:
    rows = OutboxRow.objects.for_project(row.project_id).filter(kind="app_event", payload__data__id=str(row.pk))
    return [one.payload["type"] for one in rows]


def history(row: License) -> list[tuple[str, str, str, str]]:
    return list(row.changes.values_list("change", "before", "after", "by"))


def test_each_transition_leads_where_it_may_stamped_and_told_and_nowhere_else(acme: Project) -> None:
    for change, state in itertools.product(TRANSITIONS, LicenseState.values):
        values, sources, target, stamps, event = TRANSITIONS[change]
        row = license_in(acme, state)
        before = left_of(row)
        if state in sources:
            with transaction.atomic():
                move_license(row, change, by=BY, **values)
            after = left_of(row)
            assert {name: after[name] for name in stamps} == stamps, (change, state)
            assert (after["state"], history(row)) == (target, [(change, state, target, BY)]), (change, state)
            assert told(row) == ([event] if event else []), (change, state)
        else:
            with pytest.raises(LicenseMoved), transaction.atomic():
                move_license(row, change, by=BY, **values)
            assert (left_of(row), history(row), told(row)) == (before, [], []), (change, state)


def test_a_licence_moves_only_within_a_transaction_and_of_two_at_once_one_is_refused(acme: Project) -> None:
    row, other = license_in(acme, SUBMITTED), License.objects.select_related("product", "end_user").latest("created_at")
    with pytest.raises(RuntimeError):
        move_license(row, "note_invited", by=BY, at=AT)
    with transaction.atomic():
        move_license(row, "note_invited", by=BY, at=AT)
    # As it was read before: the row has moved on.
    with pytest.raises(LicenseMoved), transaction.atomic():
        move_license(other, "refuse_username", by=BY, problem="unknown_username")
    assert left_of(row)["state"] == INVITED and len(history(row)) == 1
    with pytest.raises(AttributeError):
        row.state = ACTIVE


def test_a_buyers_link_can_only_name_somebody(acme: Project) -> None:
    naming = {"github_username": "octocat"}
    another = naming | {"replace": True}
    # By state, the calls that move a licence; every other one leaves it as it is.
    moves = {
        ("submit-username", PENDING), ("submit-username, instead", PENDING), ("submit-username, instead", SUBMITTED),
        ("submit-username, instead", INVITED), ("submit-username, instead", ACTIVE),
        # Nothing is under way for it, so that it is tried anew.
        ("invite-again", SUBMITTED),
    }  # fmt: skip
    calls: dict[str, tuple[str, dict[str, Any]]] = {
        "submit-username": ("submit-username", naming), "submit-username, instead": ("submit-username", another),
        "invite-again": ("invite-again", {}), "check-acceptance": ("check-acceptance", {}), "license-key": ("license-key", {}),
    }  # fmt: skip
    for (name, (leaf, body)), state in itertools.product(calls.items(), LicenseState.values):
        row = license_in(acme, state)
        client = Client(
            REMOTE_ADDR=f"2001:db8:3:{row.pk.hex[-4:]}::1", headers={"Authorization": f"Bearer {link_of(row)}"}
        )
        answer = client.post(f"{ACCESS}/{leaf}", body, content_type="application/json")
        assert answer.status_code in ((200,) if (name, state) in moves else (200, 409)), (name, state, answer.content)
        moved = [line for line in history(row) if line[0] not in ("make_key", "replace_key")]
        expected = [("take_username", state, SUBMITTED, "buyer")] if (name, state) in moves else []
        assert moved == expected, (name, state)
        if state == REVOKED and name != "check-acceptance":
            assert answer.json()["code"] == "license_revoked", name
