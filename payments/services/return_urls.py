"""Where buyers come back to: addresses on the project's allowed origins, from the request or the project's defaults.

The project's own hosted pages are always among them: they are this service's, whatever origins the project allows.
"""

from django.conf import settings

from common.errors import FieldError
from common.modes import TEST
from projects.models import Project
from projects.origins import MAX_URL_LENGTH, UrlNotAllowed, check_return_url

HOSTED_PAGES = "hosted"


def hosted_pages_url(*, slug: str, mode: str) -> str:
    """Write the address that all hosted pages of a project and mode begin with."""
    return f"{settings.PUBLIC_BASE_URL}/{HOSTED_PAGES}/{slug}/{mode}/"


def check_named_url(*, project: Project, mode: str, field: str, url: str) -> str:
    """Return the address as it is when it is allowed. Raises: UrlNotAllowed (400) that names the field."""
    if _is_hosted_page(url, project, mode):
        return url
    try:
        return check_return_url(project, url, mode == TEST)
    except UrlNotAllowed as error:
        raise UrlNotAllowed(f"{field}: {error.detail}") from None


def url_or_default(*, project: Project, field: str, url: str | None) -> str:
    """Return the given address, or the project's default for the field. Raises: FieldError (422) that names it."""
    chosen: str | None = url or getattr(project, f"default_{field}")
    if not chosen:
        raise FieldError(
            "body", field, msg=f"Give {field}, or set the project's default_{field}.", type="missing_without_default"
        )
    return chosen


def _is_hosted_page(url: str, project: Project, mode: str) -> bool:
    plain = len(url) <= MAX_URL_LENGTH and url.isascii() and url.isprintable() and "\\" not in url
    return plain and url.startswith(hosted_pages_url(slug=project.slug, mode=mode))
