"""Where a project's pages are."""

from payments.services.return_urls import HOSTED_PAGES, hosted_pages_url


def page_path(*, slug: str, mode: str, page: str = "") -> str:
    """Write the path of a page; without one, what the paths of all of them begin with."""
    return f"/{HOSTED_PAGES}/{slug}/{mode}/{page}"


def page_url(*, slug: str, mode: str, page: str) -> str:
    """Write the whole address of a page."""
    return f"{hosted_pages_url(slug=slug, mode=mode)}{page}"
