"""A shop with plans, and somebody who comes to its pages with a browser that keeps cookies and sends a form as it was shown."""

import re
from dataclasses import dataclass, field
from html import unescape
from typing import Any
from urllib.parse import urlsplit

from django.test import Client

from entitlements.models import Plan, PlanPrice
from hosted.services.links import mint_link
from projects.models import EndUser, Project
from tests.cast import AppUser
from tests.payments.shop import Shop

FORM = re.compile(r"<form[^>]*action=\"([^\"]*)\"[^>]*>(.*?)</form>", re.DOTALL)
FIELD = re.compile(r"<input(?=[^>]*type=\"hidden\")[^>]*name=\"([^\"]+)\"[^>]*value=\"([^\"]*)\"")


@dataclass
class Visitor:
    """A browser at a project's pages in one mode."""

    project: Project
    mode: str = "test"
    client: Client = field(default_factory=lambda: Client(enforce_csrf_checks=True))

    def path(self, page: str) -> str:
        return f"/hosted/{self.project.slug}/{self.mode}/{page}"

    def get(self, page: str) -> Any:
        return self.client.get(self.path(page))

    def text(self, page: str, status: int = 200) -> str:
        """Read a page as words: without markup, blanks in one."""
        answer = self.get(page)
        assert answer.status_code == status, answer.content[:500]
        return words(answer)

    def enter(self, url: str) -> Any:
        """Open a link and follow it to the page."""
        parts = urlsplit(url)
        return self.client.get(f"{parts.path}?{parts.query}", follow=True)

    def send(self, page: str, action: str, wanted: str = "", **typed: str) -> Any:
        """Send the form of a page that leads to `action` and holds the text `wanted`, with what is typed into it."""
        return self.client.post(self.path(action), hidden_of(self, page, action, wanted) | typed)


def hidden_of(visitor: Visitor, page: str, action: str, wanted: str = "") -> dict[str, str]:
    """Read what a form of a page holds without being typed."""
    shown = visitor.get(page).content.decode()
    forms = [found for to, found in FORM.findall(shown) if to.endswith(f"/{action}") and wanted in found]
    assert forms, f"no form to {action} with {wanted!r}"
    return {name: unescape(value) for name, value in FIELD.findall(forms[0])}


def words(answer: Any) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", answer.content.decode())).split())


def link_for(project: Project, end_user: EndUser, *, mode: str = "test", **more: Any) -> str:
    return mint_link(project=project, mode=mode, end_user=end_user, **more).url


def visit(project: Project, user: AppUser | EndUser, *, mode: str = "test", **more: Any) -> Visitor:
    """Have somebody come in by a link."""
    visitor = Visitor(project, mode)
    end_user = user.end_user if isinstance(user, AppUser) else user
    answer = visitor.enter(link_for(project, end_user, mode=mode, **more))
    assert answer.status_code == 200, answer.content[:500]
    return visitor


def sell(shop: Shop, code: str, *, month: int = 0, year: int = 0, currency: str = "usd", **fields: Any) -> Plan:
    """Put a plan on sale at Stripe and here."""
    plan, _ = Plan.objects.get_or_create(
        project=shop.project, code=code, defaults={"name": code.capitalize(), **fields}
    )
    for interval, cents in (("month", month), ("year", year)):
        if cents:
            price_id = shop.price(cents, interval=interval, currency=currency)
            values = {"interval": interval, "amount_cents": cents, "currency": currency, "stripe_price_id": price_id}
            PlanPrice.objects.create(project=shop.project, plan=plan, mode="test", **values)
    return plan


def price_of(plan: Plan, interval: str = "month") -> PlanPrice:
    return PlanPrice.objects.for_project(plan.project_id).get(plan=plan, interval=interval, mode="test")
