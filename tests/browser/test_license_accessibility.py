"""Every view of a licence's page as axe sees it, in the light and in the dark."""

import re
from pathlib import Path

import pytest
from django.db import transaction
from playwright.sync_api import Page

from licenses.models import License
from licenses.services.usernames import record_invitation
from notifications.models import OutboxRow
from projects.models import Project
from tests.browser.conftest import keep_screenshot
from tests.browser.test_hosted_pages import AXE, axe
from tests.licenses.licensing import license_in_hand
from tests.licenses.test_license_page import VIEWS, WAITS, press, show

pytestmark = [pytest.mark.browser, pytest.mark.node, pytest.mark.timeout(120)]
__all__ = ["axe"]

STYLE = Path(__file__).resolve().parents[2] / "licenses" / "static" / "licenses" / "page.css"


# The views whose pictures in the light are of the whole path; here they are in the dark.
PICTURED = {
    "pending": "pending", "slow": "slow", "username_submitted": "waiting", "invited": "invited", "active": "active",
    "another account": "change", "the key": "key", "failed": "failed", "expired": "expired",
    "revoked": "revoked", "no link of ours": "unknown",
}  # fmt: skip


def views_of(project: Project) -> dict[str, str]:
    """Render each view as a browser gets it."""
    found = {}
    for name, (fields, _) in VIEWS.items():
        held = license_in_hand(project)
        License.objects.filter(pk=held.pk).update(**fields)
        if fields.get("state") == "username_submitted":
            with transaction.atomic():
                record_invitation(held, cause="test")
            rows = OutboxRow.objects.for_project(project).filter(payload__license=str(held.pk))
            rows.update(**WAITS.get(name, {}))
        found[name] = show(held).content.decode()
    held = license_in_hand(project)
    answers = {
        "no link": show(held, token=""), "no link of ours": show(held, token="garbage"), "another account": press(held, "change"),
        "refused": press(held, "submit", github_username="a b", replace="yes"), "the key": press(held, "key"),
    }  # fmt: skip
    return found | {name: answer.content.decode() for name, answer in answers.items()}


def test_no_view_shuts_anybody_out(acme: Project, page: Page, axe: str) -> None:
    style = f"<style>{STYLE.read_text()}</style>"
    for name, html in views_of(acme).items():
        # That the page looks again by itself without a script is what it is made for.
        seen = re.sub(r'<meta http-equiv="refresh"[^>]*>', "", re.sub(r'<link rel="stylesheet"[^>]*>', style, html))
        assert style in seen, name
        page.set_content(seen)
        page.evaluate(axe)
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            assert page.evaluate(AXE) == [], (name, scheme)
        if name in PICTURED:
            keep_screenshot(page, f"license-{PICTURED[name]}-dark")
