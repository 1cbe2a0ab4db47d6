"""GET and POST /license-access: what each state shows, what a link is good for, and what the page tells nobody."""

from typing import Any

import pytest
from django.db import transaction
from django.test import Client

from licenses.models import License
from licenses.services.access_tokens import AccessExpired, AccessRefused, mint_access_token, read_access_token
from licenses.services.usernames import record_invitation
from notifications.models import OutboxRow
from projects.models import Project
from tests.cast import AppServer, AppUser, Developer
from tests.licenses.licensing import PAGE, license_in_hand, link_of
from tests.payments.shop import at_once


@pytest.fixture
def held(acme: Project) -> License:
    return license_in_hand(acme)


def visitor(row: License) -> Client:
    return Client(REMOTE_ADDR=f"2001:db8:2:{row.pk.hex[-4:]}::1", enforce_csrf_checks=True)


def show(row: License, **query: str) -> Any:
    return visitor(row).get(PAGE, {"session": row.stripe_session_id, "token": link_of(row)} | query)


def press(row: License, action: str, **form: str) -> Any:
    sent = {"session": row.stripe_session_id, "token": link_of(row), "action": action} | form
    return visitor(row).post(PAGE, sent)


VIEWS = {
    "pending": ({"state": "pending", "username": ""}, "Which GitHub account is yours?"),
    "username_submitted": ({"state": "username_submitted"}, "Inviting mona"),
    "queued": ({"state": "username_submitted", "delayed_until": "2026-11-21T10:00:00Z"}, "Your invitation is queued"),
    "slow": ({"state": "username_submitted"}, "GitHub does not answer"),
    "waiting_for_seller": ({"state": "username_submitted"}, "Waiting for "),
    "failed": ({"state": "username_submitted"}, "The invitation could not be sent"),
    "invited": ({"state": "invited", "invitation_ended_as": ""}, "Accept the invitation"),
    "expired": ({}, "The invitation has expired"),
    "declined": ({"invitation_ended_as": "declined"}, "The invitation was declined"),
    "active": ({"state": "active", "activated_at": "2026-11-21T10:00:00Z"}, "Access granted"),
    "revoked": (
        {"state": "revoked", "revoked_at": "2026-11-21T10:00:00Z", "revoked_because": "re_1"}, "This licence was revoked",
    ),
}  # fmt: skip


WAITS: dict[str, dict[str, Any]] = {
    "slow": {"attempts": 2}, "waiting_for_seller": {"wait_reason": "github_connection"}, "failed": {"status": "dead"},
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(VIEWS))
def test_each_state_has_its_view(held: License, name: str) -> None:
    fields, title = VIEWS[name]
    License.objects.filter(pk=held.pk).update(**fields)
    if fields.get("state") == "username_submitted":
        with transaction.atomic():
            record_invitation(held, cause="test")
        OutboxRow.objects.for_project(held.project_id).filter(kind="github_invite").update(**WAITS.get(name, {}))
    page = show(held)
    text = page.content.decode()
    assert page.status_code == 200 and title in text and "<script" not in text and "Acme Kit" in text
    assert ("acme/kit" in text) == (name == "active")
    assert ("Licence key" in text) == (name != "revoked")


def test_the_page_loads_nothing_from_elsewhere_and_tells_nobody_its_address(held: License) -> None:
    for page in (show(held), visitor(held).get(PAGE), show(held, token="garbage")):
        assert page["Content-Security-Policy"].startswith("default-src 'none'; style-src 'self'")
        assert page["Referrer-Policy"] == "no-referrer" and "no-store" in page["Cache-Control"]
        assert page["X-Frame-Options"] == "DENY" and not page.cookies


def test_without_its_own_link_nothing_private_is_shown(
    held: License, acme: Project, alice: Developer, dana: AppUser, acme_server: AppServer
) -> None:
    other = license_in_hand(acme)
    bad = {
        "no token": {"token": ""}, "another licence's session": {"session": other.stripe_session_id},
        "another's link": {"token": link_of(other)}, "cut off": {"token": link_of(held)[:-1]},
        "developer": {"token": alice.access_token}, "end user": {"token": dana.access_token}, "server": {"token": acme_server.key},
    }  # fmt: skip
    for name, query in bad.items():
        page = show(held, **query)
        assert page.status_code in (401, 404), name
        assert "mona" not in page.content.decode() and "Acme" not in page.content.decode(), name
        assert press(held, "invite", **query).status_code in (401, 404), name
    assert License.objects.get(pk=held.pk).revision == 1
    Project.objects.filter(pk=acme.pk).update(is_active=False)
    assert show(held).status_code == 401


def test_a_link_passes_for_no_other_token_and_none_for_it(held: License, acme: Project) -> None:
    token = link_of(held)
    headers = {"Authorization": f"Bearer {token}"}
    paths = ("/api/v1/auth/me", "/api/v1/payments/stripe/my-licenses", "/api/v1/payments/status/u")
    assert {Client().get(path, headers=headers).status_code for path in paths} == {401}
    for changed in (
        token + "x",
        token.replace("lat_", ""),
        token[:-3] + "AAA",
        token.replace("m.", "r.", 1),
        "lat_" + "0" * 64,
    ):
        with pytest.raises(AccessRefused):
            read_access_token(changed)
    assert read_access_token(token).project_id == acme.pk


def test_an_expired_link_only_mails_a_new_one_to_the_buyer(held: License, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("django.core.signing.time.time", lambda: 1_600_000_000)
        old = mint_access_token(project_id=held.project_id, license_id=held.pk)
    with pytest.raises(AccessExpired):
        read_access_token(old)
    page = show(held, token=old)
    assert page.status_code == 401 and b"Send me a new link" in page.content and b"mona" not in page.content
    assert press(held, "invite", token=old).status_code == 401
    sent = [press(held, "link", token=old).status_code for _ in range(4)]
    assert sent == [200, 200, 200, 429]
    rows = OutboxRow.objects.for_project(held.project).filter(kind="license_mail")
    assert rows.count() == 3 and {row.payload["to"] for row in rows} == {"buyer@example.com"}
    assert "lat_" not in str([row.payload for row in rows])


def test_the_forms_do_what_they_say_once(held: License) -> None:
    again = press(held, "invite")
    assert again.status_code == 303 and again["Location"].startswith(f"{PAGE}?session=")
    assert License.objects.get(pk=held.pk).state == "username_submitted"
    assert {answer.status_code for answer in at_once(3, lambda _: press(held, "invite"))} == {303}
    assert License.objects.get(pk=held.pk).revision == 2
    refused = press(held, "submit", github_username="octocat", revision="2")
    assert refused.status_code == 409 and b"mona was given" in refused.content
    assert b"Use another GitHub account" in press(held, "change").content
    assert press(held, "submit", github_username="a b", replace="yes").status_code == 422
    assert press(held, "submit", github_username="octocat", replace="yes", revision="2").status_code == 303
    assert License.objects.get(pk=held.pk).username == "octocat"
    assert press(held, "unknown").status_code == 200
    key = press(held, "key")
    assert key.status_code == 200 and b"lk_" in key.content and press(held, "key").status_code == 409


def test_what_others_wrote_is_shown_as_text(held: License) -> None:
    held.product.name = held.product.instructions = "<script>alert(1)</script>"
    held.product.save()
    License.objects.filter(pk=held.pk).update(state="active", activated_at="2026-11-21T10:00:00Z", username="<b>x</b>")
    text = show(held).content.decode()
    assert "<script>" not in text and "&lt;script&gt;" in text and "<b>x" not in text


def test_usernames_are_counted_per_licence(held: License) -> None:
    License.objects.filter(pk=held.pk).update(state="pending")
    answers = [press(held, "submit", github_username="-bad").status_code for _ in range(11)]
    assert answers == [422] * 10 + [429]
