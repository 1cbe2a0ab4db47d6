"""The admin as links lead through it: one page of each kind, and what a page offers to whoever looks at it."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qsl, urldefrag, urlsplit

from django.urls import Resolver404, resolve
from playwright.sync_api import Page, Response

# Names of a query that do not make a page one of another kind.
UNHEEDED = {"_changelist_filters", "_to_field"}
# Addresses that end the session, or show a page of the app's own.
NOT_FOLLOWED = ("admin:logout", "admin:view_on_site", "admin:jsi18n")
FILES = ("admin:backoffice_export_file",)
PAGES_MAX = 2000
LOOK = """() => ({
    title: document.title,
    headings: [...document.querySelectorAll("h1, h2")].map(one => one.textContent.replace(/\\s+/g, " ").trim()),
    links: [...document.querySelectorAll("a[href]")].map(one => one.href),
    saves: [...document.querySelectorAll("[type=submit]")].map(one => one.name || one.textContent.trim()).filter(
        name => /^(_save|_cont|_add|Save)/.test(name)),
    posts: [...document.querySelectorAll("form")].filter(one => one.method === "post" && one.getAttribute("action")).map(
        one => [one.action, one.querySelector("[type=hidden][name=action]")?.value || ""]),
    actions: [...document.querySelectorAll("select[name=action] option")].map(one => one.value).filter(Boolean),
})"""


@dataclass(frozen=True, order=True)
class Kind:
    """What sort of page an address leads to: the view, and the names of what the query asks for."""

    view: str
    asked: tuple[str, ...] = ()

    @classmethod
    def of(cls, address: str) -> Self | None:
        """Return the kind of an address of the admin; None for what is not followed, and for filters on filters."""
        parts = urlsplit(address)
        try:
            view = resolve(parts.path).view_name
        except Resolver404:
            view = ""
        asked = tuple(sorted({name for name, _ in parse_qsl(parts.query, keep_blank_values=True)} - UNHEEDED))
        if not parts.path.startswith("/admin/") or view in NOT_FOLLOWED:
            return None
        if view.endswith("_changelist") and len(asked) > 1:
            return None
        return cls(view or parts.path, asked)

    @property
    def group(self) -> str:
        """The model or the view that a page is about, so that one role follows a list to its rows and their deeds."""
        name = self.view.removeprefix("admin:")
        return "_".join(name.split("_")[:2]) if self.view.startswith("admin:") and "_" in name else name


@dataclass
class Seen:
    """What a page shows and offers."""

    path: str
    kind: Kind
    status: int
    title: str = ""
    headings: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    saves: list[str] = field(default_factory=list)
    posts: list[list[str]] = field(default_factory=list)
    actions: list[str] = field(default_factory=list)
    html: str = ""

    @property
    def offered(self) -> Iterator[tuple[str, str]]:
        """Yield the view and the action of everything that a link or a button of the page leads to."""
        for address in self.links:
            yield resolve_name(address), ""
        for address, action in self.posts:
            yield resolve_name(address), action
        for action in self.actions:
            yield self.kind.view, action


def resolve_name(address: str) -> str:
    """Return the name of the view of an address, or "" where none is."""
    try:
        return resolve(urlsplit(address).path).view_name
    except Resolver404:
        return ""


def look_at(page: Page, address: str, path: str, kind: Kind) -> Seen:
    """Open a page. A file is fetched and not looked at."""
    if kind.view in FILES:
        return Seen(path, kind, page.context.request.get(address + path).status)
    answer: Response | None = page.goto(address + path, wait_until="load")
    assert answer is not None, path
    found: dict[str, Any] = page.evaluate(LOOK)
    found["links"] = [urldefrag(link).url for link in found["links"] if link.startswith(f"{address}/admin/")]
    return Seen(path, kind, answer.status, html=page.content(), **found)


def crawl(page: Page, address: str, start: Iterable[str], wanted: Callable[[Kind], bool]) -> Iterator[Seen]:
    """Yield one page of each kind that links lead to."""
    waiting = deque(start)
    known: set[Kind] = set()
    while waiting and len(known) < PAGES_MAX:
        path = waiting.popleft()
        kind = Kind.of(path)
        if kind is None or kind in known or not wanted(kind):
            continue
        known.add(kind)
        seen = look_at(page, address, path, kind)
        waiting.extend(link.removeprefix(address) for link in seen.links)
        yield seen
    assert len(known) < PAGES_MAX, "the crawl does not end"
