"""The admin as each role finds it in chromium: every kind of page that links lead to, what it shows, and what it offers.

A run opens the pages of every fourth model as one of the roles, by turns; with SOAK=1 every role opens every kind.
"""

import re
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.contrib import admin
from playwright.sync_api import Browser, Page

from backoffice.navigation import place_of
from backoffice.urls import urlpatterns
from config.wsgi import application
from tests.browser.backoffice_web import cookie_of, running_web
from tests.browser.conftest import DESKTOP, PATIENCE_MS
from tests.browser.crawling import FILES, Kind, Seen, crawl, resolve_name
from tests.roles.conftest import World, make_world, writes
from tests.roles.test_deeds_by_role import DETAILED, LISTED, OF_A_PAGE
from tests.roles.test_pages_by_role import ADMINS_ALONE, CANARY
from tests.scenarios.soaking import SOAKING

pytestmark = [pytest.mark.browser, pytest.mark.timeout(4 * 3600 if SOAKING else 900)]

# Who looks, and who in the tables of deeds may do the same.
ROLES = {"admin": "admin", "moderator": "moderator", "support": "support", "alice": "alice", "charlie": "olga"}
DEVELOPERS = ("alice", "charlie")
# What may be added, changed and deleted by hand. Everything else is made by the service, and changed by deeds.
OF_DEVELOPERS = {
    "add": "IdentityProvider AlertRule AlertTarget Brand PlanQuota HostedPages CreditPolicy CreditPack Plan Meter "
    "LicenseProduct BillingPolicy StripeConfig Export",
    "change": "IdentityProvider AlertRule AlertTarget Brand PlanQuota HostedPages CreditPolicy CreditPack Plan Meter "
    "LicenseProduct BillingPolicy StripeConfig Project PlanPrice ApiKey",
    "delete": "IdentityProvider AlertRule AlertTarget Brand PlanQuota HostedPages ApiKey",
}
OF_ADMIN = {
    "add": OF_DEVELOPERS["add"] + " User Project Membership",
    "change": OF_DEVELOPERS["change"] + " User Membership",
    "delete": OF_DEVELOPERS["delete"]
    + " Membership PlanPrice Plan CreditPack LicenseProduct TokenFamily FamilyToken Token",
}
OF_LOOKERS = {"add": "Export", "change": "", "delete": ""}
BY_HAND = {"admin": OF_ADMIN, "moderator": OF_LOOKERS, "support": OF_LOOKERS} | dict.fromkeys(DEVELOPERS, OF_DEVELOPERS)
# Whether these rows can be changed or deleted depends on the row: a superuser, oneself, somebody's last way in.
OF_THE_ROW = {"User"}
# Pages that lead on to many others: looked at by everybody, also by turns.
HUBS = {"admin:index", "backoffice:project", "backoffice:end-user", "admin:projects_enduser_changelist",
        "admin:projects_enduser_change", "backoffice:end-user-in-mode"}  # fmt: skip
TITLE = re.compile(r"^(?!Select |None|\d{3} |View |.* object \()\S.* \| Payments$")


@dataclass(frozen=True)
class Office:
    """The web part, who is signed in, and each GET that wrote something."""

    address: str
    world: World
    cookies: dict[str, dict[str, Any]]
    wrote: list[str]


@dataclass
class Tour:
    """One role's way through the admin, and what was wrong on it."""

    name: str
    seen: list[Seen] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    offered: set[tuple[str, str]] = field(default_factory=set)


def noting(wrote: list[str]) -> Callable[[dict[str, Any], Any], Any]:
    """The app, which notes what a GET writes."""

    def answer(environ: dict[str, Any], start_response: Any) -> Any:
        if environ["REQUEST_METHOD"] != "GET":
            return application(environ, start_response)
        with writes() as found:
            answered = application(environ, start_response)
        wrote.extend(f"{environ['PATH_INFO']}: {sql}" for sql in found)
        return answered

    return answer


@pytest.fixture(scope="module")
def office(django_db_setup: None, django_db_blocker: Any) -> Iterator[Office]:
    """Made before the browser, whose event loop keeps this thread from the database."""
    wrote: list[str] = []
    with django_db_blocker.unblock(), running_web(noting(wrote)) as address:
        world = make_world()
        assert world.acme.secrets and world.other.secrets
        yield Office(address, world, {name: cookie_of(world[name].client, address) for name in ROLES}, wrote)


@pytest.fixture
def window(office: Office, chromium: Browser, request: pytest.FixtureRequest) -> Iterator[tuple[Page, Tour]]:
    """A window of somebody's. What breaks in it, or asks another host, is a problem of the tour."""
    tour = Tour(request.node.callspec.params["name"])
    context = chromium.new_context(viewport=DESKTOP, locale="en-US")  # type: ignore[arg-type]
    context.set_default_timeout(PATIENCE_MS)
    context.add_cookies([office.cookies[tour.name]])  # type: ignore[list-item]
    page = context.new_page()
    _listen(page, tour, office)
    yield page, tour
    context.close()


def _listen(page: Page, tour: Tour, office: Office) -> None:
    def note(is_wrong: bool, what: str) -> None:
        if is_wrong:
            tour.problems.append(f"{tour.name} at {page.url}: {what}")

    ours = (office.address, "data:", "blob:")
    page.on("pageerror", lambda error: note(True, f"script: {error}"))
    page.on("response", lambda answer: note(answer.status >= 400, f"{answer.url} answers {answer.status}"))
    page.on("console", lambda said: note(said.type == "error", f"console: {said.text}"))
    page.on("request", lambda sent: note(not sent.url.startswith(ours), f"asks {sent.url}"))


def is_ones_turn(name: str, kind: Kind) -> bool:
    """Say whether somebody opens this kind of page: by turns among the roles, and a model's pages together."""
    if SOAKING or kind.view in HUBS:
        return True
    if kind.asked and kind.view.endswith("_changelist") and zlib.crc32(repr(kind).encode()) % 12:
        return False
    if kind.view.endswith(("_history", "_delete")) and zlib.crc32(repr(kind).encode()) % 4:
        return False
    who = list(ROLES)
    if any(f"_{alone.lower()}_" in f"{kind.view}_" for alone in ADMINS_ALONE):
        return name == "admin"
    # Every fourth model: a run of all tests has to end in time, and the pages of all are read without a browser (tests/roles).
    turn = zlib.crc32(kind.group.encode()) % (4 * len(who))
    return turn < len(who) and who[turn] == name


def model_of(view: str) -> Any:
    """Return the model of a page of the admin's own, or None."""
    for model in admin.site._registry:
        if view.startswith(f"admin:{model._meta.app_label}_{model._meta.model_name}_"):
            return model
    return None


def may_by_hand(name: str, what: str, view: str) -> bool:
    model = model_of(view)
    return model is not None and model.__name__ in BY_HAND[name][what].split()


DEEDS = {
    **{(deed.view, deed.name): deed.may for deed in LISTED},
    **{(deed.view, ""): deed.may for deed in [*DETAILED, *OF_A_PAGE]},
}
PLAIN = {"add": "add", "delete": "delete", "delete_selected": "delete"}


def too_much(name: str, view: str, action: str) -> bool:
    """Say whether what a page offers is not this role's to do."""
    if (view, action) in DEEDS:
        return ROLES[name] not in DEEDS[view, action]
    what = PLAIN.get(action or view.rsplit("_", 1)[-1])
    return what is not None and model_of(view) is not None and not may_by_hand(name, what, view)


def check(tour: Tour, office: Office, seen: Seen) -> None:
    """Note what is wrong with a page."""
    name, view, where = tour.name, seen.kind.view, f"{tour.name} at {seen.path}"
    other = {"alice": office.world.other, "charlie": office.world.acme}.get(name)
    wrong = {
        f"answers {seen.status}": seen.status != 200,
        f"is called {seen.title}": view not in FILES and not TITLE.match(seen.title),
        "shows a secret": bool(CANARY.search(seen.html)),
    }
    if other is not None:
        traces = other.traces_in(seen.html)
        wrong[f"shows of another project {traces}"] = bool(traces)
    tour.offered |= set(seen.offered)
    wrong |= {f"offers {one}": too_much(name, *one) for one in set(seen.offered)}
    wrong |= missing(name, seen)
    tour.problems += [f"{where} {what}" for what, is_so in wrong.items() if is_so]


def missing(name: str, seen: Seen) -> dict[str, bool]:
    """Compare the buttons of a list or a row with what the role may do by hand."""
    view, model = seen.kind.view, model_of(seen.kind.view)
    if model is None:
        return {}
    leads_to = {resolve_name(link) for link in seen.links}
    begins = view.rsplit("_", 1)[0]
    wrong = {}
    if view.endswith("_changelist"):
        title = place_of(model._meta)[1]
        wrong[f"is a list that is called {seen.title}"] = not seen.title.startswith(f"{title} |")
        wrong["offers no Add"] = may_by_hand(name, "add", view) != (f"{begins}_add" in leads_to)
        listed = {deed.name for deed in LISTED if deed.label == model._meta.label and ROLES[name] in deed.may}
        wrong[f"lists {seen.actions}"] = bool(seen.html.count("action-select")) and listed - set(seen.actions) != set()
    if view.endswith("_change") and model.__name__ not in OF_THE_ROW:
        wrong[f"has the buttons {seen.saves}"] = may_by_hand(name, "change", view) != bool(seen.saves)
        # A window that was opened to choose or change a row is not one to delete it in.
        may_delete = may_by_hand(name, "delete", view) and "_popup" not in seen.kind.asked
        wrong["offers Delete or does not"] = may_delete != (f"{begins}_delete" in leads_to)
        deeds = {deed.view for deed in DETAILED if deed.label == model._meta.label and ROLES[name] in deed.may}
        wrong[f"lacks {deeds - leads_to}"] = deeds - leads_to != set()
    return wrong


@pytest.mark.parametrize("name", ROLES)
def test_every_page_that_links_lead_to_opens_and_offers_what_the_role_may(
    office: Office, window: tuple[Page, Tour], name: str
) -> None:
    """S7: as admin, moderator, support, and as developers of two projects that know nothing of each other."""
    page, tour = window
    began = time.monotonic()
    for seen in crawl(page, office.address, ["/admin/"], lambda kind: is_ones_turn(name, kind)):
        tour.seen.append(seen)
        check(tour, office, seen)
    kinds = {seen.kind.view for seen in tour.seen}
    print(f"{name}: {len(tour.seen)} kinds of pages, {len(kinds)} views, {time.monotonic() - began:.0f} s")
    assert not tour.problems, "\n".join(tour.problems)
    assert office.wrote == []
    assert HUBS - kinds == set()
    if SOAKING:
        _everything_was_reached(name, tour, kinds)


def _everything_was_reached(name: str, tour: Tour, kinds: set[str]) -> None:
    """Every list that the role may open, every page of the back office's own, and every deed that it may do."""
    lists = {
        reverse_name(model) for model in admin.site._registry
        if name == "admin" or model.__name__ not in ADMINS_ALONE | ({"User"} if name in DEVELOPERS else set())
    }  # fmt: skip
    assert lists - kinds == set()
    deeds = {view for (view, action), may in DEEDS.items() if ROLES[name] in may and not action}
    offered = {view for view, _ in tour.offered}
    assert deeds - offered == UNOFFERED & deeds
    own = {f"backoffice:{one.name}" for one in urlpatterns} - {view for view, _ in DEEDS}
    assert own - kinds == UNLINKED


# Nobody of the furnished world is banned, so that nobody is offered to let them in again.
UNOFFERED = {"backoffice:unban-user"}
# Reached by typing into the field at the top (tests/admin/test_support_desk.py).
UNLINKED = {"backoffice:search"}


def reverse_name(model: Any) -> str:
    """Return the name of the view of a model's list."""
    return f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist"
