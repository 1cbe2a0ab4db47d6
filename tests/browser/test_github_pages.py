"""The stand-in of GitHub in the browser: an invitation is accepted, and every page can be read and reached by the keyboard."""

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import PHONE, keep_screenshot
from tests.browser.test_sandbox_accessibility import check
from tests.github import DAY, Organization, create_organization

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(120)]
WEB = "/_github/_web"


@pytest.fixture
def org(sandbox: Any) -> Organization:
    """An organisation with a member, an expired invitation and one that waits."""
    org = create_organization(sandbox.url, "tools", "customers", "insiders")
    member, late, invited = (org.person(name)[0] for name in ("mona", "hubot", "octocat"))
    for login in (member, late):
        org.invite(login)
    org.answer(member)
    org.advance(8 * DAY)
    org.invite(invited, team="insiders")
    return org


def test_an_invitation_is_accepted_and_the_member_removed(org: Organization, page: Page) -> None:
    invited = org.invited()[0]
    for path in ("/_github", f"{WEB}/orgs/{org.login}", f"{WEB}/{org.login}/toolkit"):
        check(page, org.url + path)
    check(page, f"{org.url}{WEB}/orgs/{org.login}/invitation")
    expect(page.get_by_role("banner").get_by_role("link").first).to_have_text("GitHub stand-in")
    keep_screenshot(page, "github-invitation")
    page.get_by_role("button", name=f"Join {org.login} as {invited}").click()
    expect(page.get_by_role("status")).to_have_text("The invitation was accepted.")
    assert org.members("insiders") == [invited]
    keep_screenshot(page, "github-organization", whole=True)
    page.get_by_role("button", name=f"Remove {invited}").click()
    expect(page.get_by_role("status")).to_have_text("The member was removed.")
    assert org.members("insiders") == []
    page.get_by_role("button", name="Let a week pass").click()
    expect(page.get_by_role("status")).to_have_text("A week has passed for this organisation.")


@pytest.mark.parametrize("page", [PHONE], indirect=True, ids=["phone"])
def test_a_phone_shows_the_invitation_whole(org: Organization, page: Page) -> None:
    page.goto(f"{org.url}{WEB}/orgs/{org.login}/invitation")
    wider = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    assert wider <= 0
    keep_screenshot(page, "github-invitation-phone")
    page.get_by_role("button", name=f"Decline as {org.invited()[0]}").click()
    expect(page.get_by_role("status")).to_have_text("The invitation was declined.")
    assert org.invited() == []
