"""Whose pages are asked for, in which mode, by whom, and how they look."""

from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from common.errors import NotFound
from common.modes import MODES, TEST
from hosted.models import DEFAULT_TIME_ZONE, HostedPages, HostedSession
from hosted.services.addresses import page_path, page_url
from hosted.services.sessions import find_session, project_at
from notifications.services.brand import Look, look_of
from payments.models import BillingPolicy
from payments.services.return_urls import check_named_url
from projects.models import Project
from projects.origins import UrlNotAllowed


class PagesNotFound(NotFound):
    """404: no project has its pages at this address."""

    code = "hosted_pages_not_found"
    detail = "There is nothing at this address."


@dataclass(frozen=True)
class Place:
    """A project's pages in one mode, as they are shown to one visitor. Without a session that is anybody."""

    project: Project
    mode: str
    look: Look
    pages: HostedPages
    policy: BillingPolicy
    session: HostedSession | None

    @property
    def is_test_mode(self) -> bool:
        """Whether this is play money."""
        return self.mode == TEST

    @property
    def zone(self) -> ZoneInfo:
        """The time zone that times are shown in; UTC when the project's is not known here any more."""
        try:
            return ZoneInfo(self.pages.time_zone)
        except (ZoneInfoNotFoundError, ValueError):
            return ZoneInfo(DEFAULT_TIME_ZONE)

    @property
    def return_url(self) -> str:
        """The way back to the app: the first that was named and is still on an origin that the project allows; "" without one."""
        chosen = self.session.return_url if self.session else ""
        named = (chosen, self.pages.return_url, self.project.default_return_url or "")
        return next((url for url in named if url and self._is_allowed(url)), "")

    @property
    def logo_origin(self) -> str:
        """Where the logo is loaded from."""
        parts = urlsplit(self.look.logo_url)
        return f"{parts.scheme}://{parts.netloc}" if self.look.logo_url else ""

    @property
    def who(self) -> str:
        """What tells visitors that these pages are theirs."""
        if self.session is None:
            return ""
        return self.session.end_user.email or self.session.end_user.external_id

    def _is_allowed(self, url: str) -> bool:
        try:
            return bool(check_named_url(project=self.project, mode=self.mode, field="return_url", url=url))
        except UrlNotAllowed:
            return False

    def path(self, page: str) -> str:
        """Write the path of one of these pages."""
        return page_path(slug=self.project.slug, mode=self.mode, page=page)

    def url(self, page: str) -> str:
        """Write the whole address of one of these pages."""
        return page_url(slug=self.project.slug, mode=self.mode, page=page)

    def sign_in_url(self, **wanted: str) -> str:
        """Write where a visitor signs in, so that the app can bring them back to what they wanted; "" when nobody has named it."""
        if not self.pages.sign_in_url:
            return ""
        before, mark, fragment = self.pages.sign_in_url.partition("#")
        query = urlencode({f"hosted_{name}": value for name, value in wanted.items() if value})
        return f"{before}{'&' if '?' in before else '?'}{query}{mark}{fragment}" if query else self.pages.sign_in_url


def find_place(*, slug: str, mode: str, key: str) -> Place:
    """Return the pages at an address for whoever brings a cookie's value. Two queries, three when it opens nothing.

    Raises: PagesNotFound (404).
    """
    if mode not in MODES:
        raise PagesNotFound()
    session = find_session(slug=slug, mode=mode, key=key)
    project = session.project if session else project_at(slug)
    if project is None:
        raise PagesNotFound()
    return Place(
        project=project,
        mode=mode,
        look=look_of(project),
        pages=getattr(project, "hosted_pages", None) or HostedPages(project=project),
        policy=getattr(project, "billing_policy", None) or BillingPolicy(project=project),
        session=session,
    )
