"""What licences ask of GitHub, step by step as docs/github.md has it, and what every kind of failure means."""

import datetime as dt
import time
from typing import Any

import pytest
from django.db import transaction
from django.utils import timezone

from licenses.models import GitHubConnection
from licenses.services import github_client
from licenses.services.github import (
    GITHUB_CONNECTION,
    GitHub,
    GitHubError,
    NotConnected,
    NotFound,
    OwnerKept,
    QuotaReached,
    RateLimited,
    Refused,
    State,
    TokenTrouble,
    Unavailable,
    Unexpected,
    clean_username,
    github_effect,
)
from moderation.models import ReviewItem
from notifications.services.outbox import EffectWaits
from tests.github import DAY, TEAM, Organization

PUT = "PUT /orgs/*/teams/*/memberships/*"
ODD_NAMES = ["", "../x", "a/b", "a?x=", "a%2f..", "a" * 40, "-a", "ü", "a b", "a\r\nb", "a\x00", "@", ".", "..", "a.b"]


@pytest.fixture
def github(connection: GitHubConnection) -> GitHub:
    return GitHub(connection.project_id, "test")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(github_client, "TIMEOUT_SECONDS", 0.4)


def seconds_until(moment: dt.datetime | None) -> float:
    assert moment is not None
    return (moment - timezone.now()).total_seconds()


def test_a_username_is_looked_up_as_github_spells_it(github: GitHub, org: Organization) -> None:
    login, number = org.person("Mona")
    for typed in (login, f" @{login} ", login.upper()):
        user = github.resolve(typed)
        assert (user.id, user.login, user.type) == (number, login, "User")
    assert github.user_by_id(number) == user
    org.rename(login, f"{login}-b")
    assert github.user_by_id(number).login == f"{login}-b"
    for gone in (lambda: github.resolve(login), lambda: github.user_by_id(10**9)):
        with pytest.raises(NotFound):
            gone()
    bot, _ = org.person("bot", type="Bot")
    for kind in (org.login, bot):
        with pytest.raises(Refused, match="no person"):
            github.resolve(kind)


def test_odd_usernames_never_reach_github(github: GitHub, org: Organization) -> None:
    before = len(org.requests())
    for name in ODD_NAMES:
        assert clean_username(name) is None
        with pytest.raises(NotFound):
            github.resolve(name)
    assert len(org.requests()) == before
    assert [clean_username(name) for name in ("octo-cat", "managed_corp", "a" * 39, "old-")] == [
        "octo-cat", "managed_corp", "a" * 39, "old-",
    ]  # fmt: skip
    # What comes from elsewhere is one segment of a path whatever it holds.
    assert github.membership("../../../user") is None and github.membership("a?x=1#y") is None
    asked = org.requests()[-2:]
    assert [line.rpartition("/memberships/")[2] for line in asked] == ["../../../user", "a?x=1#y"]


def test_an_invitation_is_sent_once_and_followed_to_its_end(github: GitHub, org: Organization) -> None:
    login, _ = org.person()
    assert (github.membership(login), github.organization_membership(login)) == (None, None)
    assert [github.invite(login), github.invite(login)] == ["pending", "pending"]
    assert len(org.requests("PUT")) == 1
    assert [(one.login, one.failed_at) for one in github.list_invitations()] == [(login, None)]
    assert github.standing(login).state == State.PENDING
    org.answer(login)
    assert github.standing(login).state == State.ACTIVE and github.invite(login) == "active"
    place = github.organization_membership(login)
    assert place is not None and (place.state, place.role) == ("active", "member")
    member, _ = org.person()
    org.set_role(member, "member")
    assert github.invite(member) == "active" and org.invited() == []


def test_expired_declined_and_removed_are_told_apart(github: GitHub, org: Organization) -> None:
    login, _ = org.person()
    sent = timezone.now() - dt.timedelta(seconds=5)
    github.invite(login)
    org.answer(login, accept=False)
    assert github.standing(login, invited_at=sent).state == State.GONE
    github.invite(login)
    org.advance(8 * DAY)
    standing = github.standing(login, invited_at=sent)
    assert standing.state == State.EXPIRED and "expired" in standing.reason.lower()
    assert [one.login for one in github.failed_invitations()] == [login]
    # A failure from before this invitation says nothing about it.
    assert github.standing(login, invited_at=sent + dt.timedelta(days=9)).state == State.GONE
    other, _ = org.person()
    assert github.standing(other, invited_at=timezone.now() - dt.timedelta(days=8)).state == State.EXPIRED
    github.invite(login)
    org.answer(login)
    org.set_role(login, None)
    # By the organisation's own clock, which was moved.
    assert github.standing(login, invited_at=timezone.now() + dt.timedelta(days=8)).state == State.GONE
    # The invitation is alive without its team.
    third, _ = org.person()
    github.invite(third)
    assert org.ask("DELETE", org.place(third)).status_code == 204
    assert github.standing(third).state == State.PENDING


def test_lists_are_read_to_their_last_page(github: GitHub, org: Organization, monkeypatch: pytest.MonkeyPatch) -> None:
    people = [org.person()[0] for _ in range(3)]
    for login in people:
        org.invite(login)
    monkeypatch.setattr(github_client, "PAGE_SIZE", 1)
    assert [one.login for one in github.list_invitations()] == people
    assert org.requests()[-1].startswith("GET /organizations/")
    monkeypatch.setattr(github_client, "PAGES_MAX", 2)
    with pytest.raises(Unexpected, match="more than 2 pages"):
        github.list_invitations()
    org.fault("GET /orgs/*/invitations", "refuse:elsewhere")
    with pytest.raises(Unexpected, match="another host"):
        github.list_invitations()


def test_a_revocation_removes_the_member_and_the_invitation(github: GitHub, org: Organization) -> None:
    member, invited, stranger = (org.person()[0] for _ in range(3))
    for login in (member, invited):
        github.invite(login)
    org.answer(member)
    for login in (member, invited, stranger):
        github.revoke(login)
        assert (github.membership(login), github.organization_membership(login)) == (None, None)
    assert org.members() == [] and org.invited() == []
    # Who is entitled elsewhere in the organisation leaves the team only; a pending invitation never stays.
    for login in (member, invited):
        github.invite(login)
    org.answer(member)
    for login in (member, invited):
        github.revoke(login, leave_organization=False)
    assert org.members() == [] and org.invited() == []
    assert github.organization_membership(member) is not None and github.organization_membership(invited) is None


def test_an_owner_is_never_removed(github: GitHub, org: Organization) -> None:
    boss, _ = org.person()
    org.set_role(boss, "admin", TEAM)
    with pytest.raises(OwnerKept):
        github.revoke(boss)
    assert org.requests("DELETE") == [] and org.members() == [boss]


def test_a_removal_that_github_does_not_confirm_is_tried_again(github: GitHub, org: Organization) -> None:
    login, _ = org.person()
    github.invite(login)
    org.answer(login)
    # Somebody lets them in again between the removal and the look.
    org.fault("DELETE /orgs/*/memberships/*", "status:404", times=2)
    with pytest.raises(Unavailable, match="not removed"):
        github.revoke(login)
    org.clear_faults()
    github.revoke(login)
    assert org.members() == []


def test_a_token_that_sees_nothing_proves_nothing(
    github: GitHub, org: Organization, connection: GitHubConnection
) -> None:
    login, _ = org.person()
    github.invite(login)
    org.answer(login)
    # As GitHub answers a token that lost its access: 404 everywhere below the organisation.
    org.fault("* /orgs/*", "status:404", times=100)
    for ask in (lambda: github.standing(login), lambda: github.revoke(login), github.list_invitations):
        with pytest.raises(TokenTrouble):
            ask()
    org.clear_faults()
    assert org.members() == [login]
    items = ReviewItem.objects.for_project(connection.project_id).filter(kind="stuck_license")
    assert items.count() >= 1 and items.latest("created_at").subject == str(connection.pk)
    connection.refresh_from_db()
    assert connection.problem in ("team_missing", "not_permitted")
    # That members can be seen says nothing about what else the token may do; a change that GitHub makes does.
    assert github.standing(login).state == State.ACTIVE
    connection.refresh_from_db()
    assert connection.problem in ("team_missing", "not_permitted") and connection.answered_at is not None
    assert github.invite(org.person()[0]) == "pending"
    connection.refresh_from_db()
    assert connection.problem == ""


def test_a_404_to_an_invitation_is_traced_to_its_cause(github: GitHub, org: Organization, connection: Any) -> None:
    login, _ = org.person()
    org.people("DELETE", f"/{login}")
    with pytest.raises(NotFound):
        github.invite(login)
    other, _ = org.person()
    with pytest.raises(TokenTrouble) as caught:
        GitHub(connection.project_id, "test", team_slug="no-such-team").invite(other)
    assert caught.value.problem == "team_missing"
    weak = org.new_token(kind="classic", permissions={"scopes": ["read:org"]})
    connection.set_token(weak)
    connection.save()
    with pytest.raises(TokenTrouble) as caught:
        GitHub(connection.project_id, "test").invite(other)
    assert caught.value.problem == "not_permitted" and org.invited() == []


def test_refusals_are_told_apart_by_who_can_help(github: GitHub, org: Organization, connection: Any) -> None:
    login, _ = org.person()
    org.settings(invitations_per_day=0)
    with pytest.raises(QuotaReached) as quota:
        github.invite(login)
    assert 23.9 * 3600 < seconds_until(quota.value.retry_at) <= DAY and quota.value.retryable
    assert quota.value.retry_after_seconds is not None
    org.settings(invitations_per_day=50, seats=1)
    with pytest.raises(Refused, match="seat") as refused:
        github.invite(login)
    assert not refused.value.retryable and not isinstance(refused.value, TokenTrouble)
    org.settings(seats=None)
    org.add_team("synced", synced=True)
    with pytest.raises(TokenTrouble):
        GitHub(connection.project_id, "test", team_slug="synced").invite(login)
    org.fault("GET /users/*", "status:422")
    with pytest.raises(Refused):
        github.resolve(login)
    org.settings(requires_single_sign_on=True)
    connection.set_token(org.new_token(authorised=False))
    connection.save()
    with pytest.raises(TokenTrouble) as caught:
        GitHub(connection.project_id, "test").invite(login)
    assert caught.value.problem == "single_sign_on"
    org.revoke_tokens()
    with pytest.raises(TokenTrouble) as caught:
        GitHub(connection.project_id, "test").invite(login)
    assert caught.value.problem == "token_rejected"
    assert org.invited() == []


@pytest.mark.parametrize(
    ("do", "low", "high"),
    [
        ("refuse:secondary", 25, 31),
        ("refuse:primary", 25, 31),
        ("refuse:secondary-silent", 55, 61),
        ("refuse:429", 55, 61),
    ],
)
def test_limits_say_when_to_come_back(github: GitHub, org: Organization, do: str, low: int, high: int) -> None:
    login, _ = org.person()
    org.fault(PUT, do, seconds=30)
    with pytest.raises(RateLimited) as limited:
        github.invite(login)
    assert low < seconds_until(limited.value.retry_at) <= high and not isinstance(limited.value, QuotaReached)
    assert github.invite(login) == "pending"


# Each call, what breaks it, and what then holds.
CALLS = {
    "GET /users/*": lambda github, login, number: github.resolve(login),
    "GET /user/*": lambda github, login, number: github.user_by_id(number),
    "GET /orgs/*/teams/*/memberships/*": lambda github, login, number: github.membership(login),
    "GET /orgs/*/memberships/*": lambda github, login, number: github.organization_membership(login),
    "GET /orgs/*/invitations": lambda github, login, number: github.list_invitations(),
    "GET /orgs/*/failed_invitations": lambda github, login, number: github.failed_invitations(),
    "DELETE /orgs/*/teams/*/memberships/*": lambda github, login, number: github.revoke(login),
    "DELETE /orgs/*/memberships/*": lambda github, login, number: github.revoke(login),
}
BROKEN = ["html", "huge", "list", "redirect", "drip", "hang", "reset", "status:500", "status:503"]


@pytest.mark.parametrize("line", sorted(CALLS))
def test_no_broken_answer_is_believed(
    line: str, github: GitHub, org: Organization, connection: GitHubConnection, impatient: None
) -> None:
    login, number = org.person()
    org.invite(login)
    for do in BROKEN:
        if do == "list" and line.endswith("invitations"):
            continue
        org.fault(line, do, seconds=1)
        started = time.monotonic()
        with pytest.raises(Unavailable) as caught:
            CALLS[line](github, login, number)
        assert caught.value.retryable and time.monotonic() - started < 5, (line, do)
        connection.refresh_from_db()
        assert connection.problem in ("unreachable", "unexpected"), (line, do)
        org.clear_faults()
    assert org.state()["invitations"] or line.startswith("DELETE")
    # It passes by itself, so nobody was called.
    assert not ReviewItem.objects.for_project(connection.project_id).exists()


@pytest.mark.parametrize("do", ["timeout_after_effect", "reset_after_effect"])
def test_an_invitation_whose_answer_was_lost_is_not_sent_again(
    do: str, github: GitHub, org: Organization, impatient: None
) -> None:
    login, _ = org.person()
    org.fault(PUT, do, seconds=1)
    assert github.invite(login) == "pending"
    assert len(org.requests("PUT")) == 1 and org.invited() == [login]
    # Neither when nothing could be asked at that time.
    other, _ = org.person()
    org.fault(PUT, do, seconds=1)
    org.fault("GET /orgs/*/teams/*/memberships/*", "status:502", nth=2)
    with pytest.raises(Unavailable):
        github.invite(other)
    assert github.invite(other) == "pending" and len(org.requests("PUT")) == 2


@pytest.mark.parametrize("do", ["hang", "reset", "status:500", "status:502", "html"])
def test_an_invitation_that_never_happened_is_tried_again(
    do: str, github: GitHub, org: Organization, impatient: None
) -> None:
    login, _ = org.person()
    org.fault(PUT, do, seconds=1)
    with pytest.raises(Unavailable):
        github.invite(login)
    assert org.invited() == []
    assert github.invite(login) == "pending"


ODD_BODIES: list[tuple[Any, Any]] = [
    (github_client.user_of, {"id": 0, "login": "a", "type": "User"}),
    (github_client.user_of, {"id": True, "login": "a", "type": "User"}),
    (github_client.user_of, {"id": "7", "login": "a", "type": "User"}),
    (github_client.user_of, {"id": 2**70, "login": "a", "type": "User"}),
    (github_client.user_of, {"id": 7, "login": ["a"], "type": "User"}),
    (github_client.user_of, {"id": 7, "login": "a\nb", "type": "User"}),
    (github_client.user_of, {"id": 7, "login": "a" * 500, "type": "User"}),
    (github_client.user_of, {"id": 7, "login": None, "type": "User"}),
    (github_client.membership_of, {"state": "maybe", "role": "member"}),
    (github_client.membership_of, {"state": "active"}),
    (github_client.invitation_of, {"id": 7, "role": "direct_member", "created_at": "yesterday"}),
    (github_client.invitation_of, {"id": 7, "role": "direct_member", "created_at": None}),
]


@pytest.mark.no_db
@pytest.mark.parametrize("case", range(len(ODD_BODIES)))
def test_values_of_the_wrong_kind_are_refused(case: int) -> None:
    read, row = ODD_BODIES[case]
    with pytest.raises(Unexpected):
        read(row)


def test_no_call_is_made_within_a_transaction(github: GitHub, org: Organization) -> None:
    before = len(org.requests())
    with transaction.atomic(), pytest.raises(RuntimeError, match="no transaction open"):
        github.resolve("octocat")
    assert len(org.requests()) == before


def test_effects_wait_for_whoever_mends_the_connection(acme: Any, org: Organization, connection: Any) -> None:
    with pytest.raises(NotConnected):
        GitHub(acme, "live")
    org.revoke_tokens()
    for mode in ("live", "test"):
        with pytest.raises(EffectWaits) as waits, github_effect(project_id=acme.pk, mode=mode) as github:
            github.list_invitations()
        assert (waits.value.reason, waits.value.holds_its_kind) == (GITHUB_CONNECTION, True)
        assert org.token not in str(waits.value)
    connection.token = "v1:gone:AAAA"
    connection.save()
    with pytest.raises(EffectWaits), github_effect(project_id=acme.pk, mode="test"):
        pass
    connection.refresh_from_db()
    assert connection.problem == "token_unreadable"
    with pytest.raises(GitHubError):
        GitHub(acme, "test")
