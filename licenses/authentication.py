"""Who the signed link to a licence's page speaks for. One query, so that a deleted project's links are refused at once."""

from django.db.models import OuterRef, Subquery
from django.http import HttpRequest
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts.authentication import InvalidToken, read_bearer
from licenses.models import License
from licenses.services.access_tokens import AccessRefused, LicenseAccess, read_access_token
from projects.models import Project
from projects.principals import LicenseHolderPrincipal


class LicenseLinkAuthentication(BaseAuthentication):
    """`Bearer lat_…`: no other kind of token is one of these."""

    def authenticate(self, request: Request) -> tuple[LicenseHolderPrincipal, None]:
        """Return whose licence it is. Raises: AccessRefused, AccessExpired (401)."""
        return principal_of(read_access_token(read_bearer(request))), None

    def authenticate_header(self, request: Request) -> str:
        """Make DRF's own refusals 401 too."""
        return "Bearer"


def principal_of(access: LicenseAccess) -> LicenseHolderPrincipal:
    """Return whom a link speaks for, while its project is in use. Raises: AccessRefused (401)."""
    modes = License.objects.filter(project_id=OuterRef("pk"), pk=access.license_id).values("mode")
    rows = Project.objects.existing().filter(pk=access.project_id, is_active=True)
    project = rows.annotate(license_mode=Subquery(modes)).first()
    if project is None:
        raise AccessRefused()
    return LicenseHolderPrincipal(access.license_id, project, project.license_mode)


def holder_of(request: Request | HttpRequest) -> LicenseHolderPrincipal:
    """Return the holder of a request that LicenseLinkAuthentication let through."""
    principal: object = request.user
    if not isinstance(principal, LicenseHolderPrincipal):
        raise InvalidToken
    return principal
