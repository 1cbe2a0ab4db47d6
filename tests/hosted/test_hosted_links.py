"""POST hosted-links and GET open: who gets a link, whom it lets in, and that it does so once."""

import re
import uuid
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from hosted import limits
from hosted.models import HostedSession
from hosted.services.links import LinkRefused, read_link
from payments.services.return_urls import check_named_url
from projects.models import EndUser, Project
from projects.origins import UrlNotAllowed
from tests.cast import AppServer, AppUser
from tests.hosted.visitors import Visitor, link_for, visit, words
from tests.payments.shop import at_once

PATH = "/api/v1/payments/hosted-links"


def mint(caller: Any, query: str = "", **body: Any) -> Any:
    return caller.client.post(f"{PATH}{query}", body, content_type="application/json")


def test_a_server_lets_its_user_in_once_and_no_later_address_holds_a_token(
    acme: Project, acme_server: AppServer, settings: Any
) -> None:
    answer = mint(acme_server, user_id="new user", email="new@example.com", page="pricing")
    assert answer.status_code == 200 and set(answer.json()) == {"url", "expires_at"}
    assert answer["Cache-Control"] == "no-store"
    url = answer.json()["url"]
    assert url.startswith(f"{settings.PUBLIC_BASE_URL}/hosted/{acme.slug}/test/open?link=hpl_")
    user = EndUser.objects.by_external_id(acme, "new user").get()
    assert user.email == "new@example.com" and user.appeared_test_at and not user.appeared_live_at

    browser = Visitor(acme)
    opened = browser.client.get(url.partition(settings.PUBLIC_BASE_URL)[2])
    assert (opened.status_code, opened["Location"]) == (303, browser.path("pricing"))
    assert opened["Referrer-Policy"] == "no-referrer" and "no-store" in opened["Cache-Control"]
    cookie = opened.cookies["hosted"]
    assert cookie["httponly"] and cookie["samesite"] == "Lax" and cookie["max-age"] == 7200
    assert cookie["path"] == f"/hosted/{acme.slug}/test"
    session = HostedSession.objects.for_project(acme).get()
    assert cookie.value not in session.key_hash and session.end_user == user
    page = browser.get("pricing")
    assert "new@example.com" in words(page) and "hpl_" not in page.content.decode()

    # The back button of whoever opened it leads on; anybody else is told plainly, with the way back.
    again = browser.client.get(url.partition(settings.PUBLIC_BASE_URL)[2])
    assert (again.status_code, again["Location"]) == (303, browser.path("pricing"))
    stranger = Visitor(acme).enter(url)
    assert stranger.status_code == 401 and "This link has been used already" in words(stranger)
    assert "new@example.com" not in words(stranger) and not stranger.cookies
    assert HostedSession.objects.for_project(acme).count() == 1


def test_over_https_the_cookie_is_sent_over_https_only(acme: Project, dana: AppUser, settings: Any) -> None:
    settings.HTTPS_ONLY = True
    here = visit(acme, dana)
    cookie = here.client.cookies["__Secure-hosted"]
    assert cookie["secure"] and cookie["httponly"] and cookie["samesite"] == "Lax"
    assert "hosted" not in here.client.cookies and here.get("account").status_code == 200


def test_a_signed_in_user_gets_a_link_for_themselves_in_the_mode_that_they_ask_for(
    acme: Project, dana: AppUser, erin: AppUser
) -> None:
    test, live = mint(dana), mint(dana, "?test_mode=false", page="account")
    assert "/test/open" in test.json()["url"] and "/live/open" in live.json()["url"]
    assert f"Signed in as {dana.end_user.email}" in words(Visitor(acme, "live").enter(live.json()["url"]))
    refused = mint(dana, user_id=erin.user_id)
    assert (refused.status_code, refused.json()["code"]) == (404, "end_user_not_found")


def test_nobody_appears_by_a_request_that_is_refused(acme: Project, acme_server: AppServer) -> None:
    for body, status in (
        ({}, 422),
        ({"user_id": "x", "page": "admin"}, 422),
        ({"user_id": "x", "email": "no address"}, 422),
        ({"user_id": "x", "return_url": "https://evil.example/"}, 400),
        ({"user_id": "x", "return_url": "javascript:alert(1)"}, 400),
    ):
        assert mint(acme_server, **body).status_code == status, body
    assert not EndUser.objects.for_project(acme).exists()
    user = EndUser.objects.create(project=acme, external_id="banned", is_active=False)
    assert mint(acme_server, user_id=user.external_id).json()["code"] == "end_user_banned"


def test_an_expired_a_changed_and_somebody_elses_link_say_so_and_show_nothing(
    acme: Project, dana: AppUser, other_project: Project, frank: AppUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = link_for(acme, dana.end_user)
    with monkeypatch.context() as patch:
        patch.setattr("django.core.signing.time.time", lambda: 1_600_000_000)
        old = link_for(acme, dana.end_user)
    theirs = link_for(other_project, frank.end_user)
    query = good.partition("?")[2]
    bad = {
        "expired": (old, "This link has expired"),
        "cut off": (good[:-3], "This link is not valid"),
        "changed": (re.sub(r"hpl_.", "hpl_Q", good), "This link is not valid"),
        "none": (good.partition("?")[0], "This link is not valid"),
        "another kind": (f"{good.partition('?')[0]}?link={dana.access_token}", "This link is not valid"),
        "another project's, here": (f"{good.partition('?')[0]}?{theirs.partition('?')[2]}", "This link is not valid"),
        "the other mode's": (good.replace("/test/", "/live/"), "This link is not valid"),
    }
    for name, (url, title) in bad.items():
        answer = Visitor(acme).enter(url)
        assert answer.status_code == 401 and title in words(answer), name
        assert "Open this page from Acme" in words(answer) and not answer.cookies, name
        assert dana.user_id not in words(answer), name
    assert not HostedSession.objects.filter(project__in=[acme, other_project]).exists()
    assert Visitor(acme).enter(good.replace(acme.slug, "nowhere")).status_code == 404
    with pytest.raises(LinkRefused):
        read_link(query.removeprefix("link="), project=other_project, mode="test")
    for path in ("/api/v1/auth/me", "/api/v1/payments/stripe/my-subscription", "/api/v1/payments/status/u"):
        token = query.removeprefix("link=")
        assert Client().get(path, headers={"Authorization": f"Bearer {token}"}).status_code == 401


def test_of_many_who_open_a_link_at_once_one_is_let_in(acme: Project, dana: AppUser) -> None:
    url = link_for(acme, dana.end_user)
    # Neither looking ahead nor asking for the head only uses it up.
    path = url.partition("testserver")[2]
    assert Client().get(path, headers={"Sec-Purpose": "prefetch;prerender"}).status_code == 503
    assert Client().head(path).status_code == 405
    answers = at_once(6, lambda _: Visitor(acme).enter(url).status_code)
    assert sorted(answers) == [200, 401, 401, 401, 401, 401]
    assert HostedSession.objects.for_project(acme).count() == 1


def test_a_session_ends_by_leaving_by_a_ban_by_time_and_with_its_project(
    acme: Project, dana: AppUser, erin: AppUser, other_project: Project
) -> None:
    here = visit(acme, dana)
    key = here.client.cookies["hosted"].value
    # The cookie opens the pages of its own project and mode, and no others.
    for project, mode in ((acme, "live"), (other_project, "test")):
        stranger = Visitor(project, mode)
        stranger.client.cookies["hosted"] = key
        assert "Sign in to see your account" in stranger.text("account", 401)
    assert here.get("account").status_code == 200
    left = here.send("account", "sign-out")
    assert (left.status_code, left["Location"]) == (303, here.path("pricing"))
    here.client.cookies["hosted"] = key
    assert here.get("account").status_code == 401

    banned = visit(acme, dana)
    EndUser.objects.filter(pk=dana.end_user.pk).update(is_active=False)
    assert banned.get("account").status_code == 401
    assert Visitor(acme).enter(link_for(acme, dana.end_user)).status_code == 401
    late, off = visit(acme, erin), visit(acme, erin)
    rows = HostedSession.objects.filter(end_user=erin.end_user).order_by("created_at", "id")
    HostedSession.objects.filter(pk=rows[0].pk).update(expires_at="2026-01-01T00:00:00Z")
    assert late.get("account").status_code == 401 and off.get("account").status_code == 200
    # Whoever comes next sweeps what ended long ago.
    visit(acme, erin)
    assert rows.count() == 2
    Project.objects.filter(pk=acme.pk).update(is_active=False)
    assert off.get("account").status_code == 404 and off.get("pricing").status_code == 404


def test_every_form_needs_its_pages_own_token_and_every_page_is_protected(acme: Project, dana: AppUser) -> None:
    """S43: of the hosted pages."""
    here = visit(acme, dana)
    for page in ("pricing", "change", "cancel", "resume", "portal", "credits", "license", "sign-out"):
        refused = here.client.post(here.path(page), {})
        assert refused.status_code == 403 and "Open the page anew" in words(refused), page
        assert acme.name in words(refused) and "Your account" in words(refused)
    assert here.get("account").status_code == 200
    for page in ("pricing", "account", "cancel", "nothing", "open", "change?price=x"):
        answer = here.get(page)
        if page == "nothing":
            assert answer.status_code == 404 and "There is nothing at this address" in words(answer)
            assert acme.name in words(answer) and acme.name not in words(Client().get("/hosted/nobodys/test/x"))
        policy = answer["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; style-src 'self'; img-src 'self';") and "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy and "base-uri 'none'" in policy
        assert answer["Referrer-Policy"] in ("same-origin", "no-referrer") and "no-store" in answer["Cache-Control"]
        assert ("noindex" in answer.get("X-Robots-Tag", "")) == (page != "pricing")
        shown = answer.content.decode()
        assert "<script" not in shown and " style=" not in shown and "<style" not in shown
    for page in ("change", "cancel", "return"):
        assert Visitor(acme).get(page).status_code == 401, page


def test_an_address_that_opens_too_many_links_waits(acme: Project) -> None:
    here = Visitor(acme, client=Client(REMOTE_ADDR="2001:db8:7::1"))
    amount = limits.LINKS_OPENED_PER_ADDRESS.amount
    statuses = [here.get("open").status_code for _ in range(amount + 1)]
    assert statuses == [401] * amount + [429]
    answer = here.get("open")
    assert int(answer["Retry-After"]) > 0 and "One moment, please" in words(answer)
    assert Visitor(acme).get("open").status_code == 401


def test_checkouts_of_the_api_may_return_to_the_projects_own_pages_and_to_no_others(
    acme: Project, other_project: Project, settings: Any
) -> None:
    base = settings.PUBLIC_BASE_URL
    own = f"{base}/hosted/{acme.slug}/live/account?session={{CHECKOUT_SESSION_ID}}"
    assert check_named_url(project=acme, mode="live", field="success_url", url=own) == own
    for bad in (
        own.replace(acme.slug, other_project.slug),
        own.replace("/live/", "/test/"),
        f"{base}/admin/",
        f"{base}.evil.example/hosted/{acme.slug}/live/",
        f"{own}\r\nX: y",
        f"{base}/hosted/{acme.slug}/live/\\evil",
    ):
        with pytest.raises(UrlNotAllowed):
            check_named_url(project=acme, mode="live", field="success_url", url=bad)


def test_looking_at_what_stripe_is_asked_for_is_limited_as_a_form_is(
    acme: Project, dana: AppUser, settings: Any
) -> None:
    settings.RATE_LIMITS = settings.RATE_LIMITS | {limits.ACTIONS_PER_USER.name: (2, 60)}
    here = visit(acme, dana)
    pages = ["return?session_id=cs_x", f"change?price={uuid.uuid4()}", f"change?price={uuid.uuid4()}", "return"]
    assert [here.get(page).status_code == 429 for page in pages] == [False, False, True, True]
    assert [here.get(page).status_code for page in ("account", "pricing")] == [200, 200]


def test_dead_addresses_are_counted_and_then_cost_no_query(acme: Project, dana: AppUser, settings: Any) -> None:
    settings.RATE_LIMITS = settings.RATE_LIMITS | {limits.PAGES_PER_ADDRESS.name: (2, 60)}
    here = Visitor(acme, client=Client(enforce_csrf_checks=True, REMOTE_ADDR="198.51.100.89"))
    for number in range(5):
        # A dead address, and a form without the token of its page.
        for answer in (here.get("nothing/here"), here.client.post(here.path("pricing"), {"action": "buy"})):
            assert answer.status_code in (404, 403) and ("Acme" in words(answer)) == (number < 1), number
    with CaptureQueriesContext(connection) as asked:
        assert here.get("nothing/here").status_code == 404
    assert len(asked) == 0
    assert here.get("pricing").status_code == 429
