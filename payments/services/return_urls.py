"""Where buyers come back to: addresses on the project's allowed origins, from the request or the project's defaults."""

from common.errors import FieldError
from common.modes import TEST
from projects.models import Project
from projects.origins import UrlNotAllowed, check_return_url


def check_named_url(*, project: Project, mode: str, field: str, url: str) -> str:
    """Return the address as it is when it is allowed. Raises: UrlNotAllowed (400) that names the field."""
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
