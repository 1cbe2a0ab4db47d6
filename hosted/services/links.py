"""The signed link to a project's pages: minted by the app's server or for its signed-in user, opened once, within minutes.

Invariants: a token speaks for one user of one project in one mode; it is an HMAC of this service's secret under a salt of its own
and no JWT, so that it passes for no other kind of token and no other kind passes for it; none is ever stored.
"""

import datetime as dt
import uuid
from dataclasses import dataclass
from urllib.parse import urlencode

from django.core.signing import BadSignature, SignatureExpired, TimestampSigner
from django.utils import timezone

from common.errors import NotAuthenticated
from common.modes import MODES
from hosted.services.addresses import page_url
from payments.services.return_urls import check_named_url
from projects.models import EndUser, Project

PREFIX = "hpl_"
SALT = "hosted-pages"
LIFETIME = dt.timedelta(minutes=5)
TOKEN_CHARS_MAX = 4096
PRICING, ACCOUNT = "pricing", "account"
PAGES = (PRICING, ACCOUNT)


class LinkRefused(NotAuthenticated):
    """401: no link of ours, or one that was changed."""

    code = "invalid_hosted_link"
    detail = "This link is not valid."


class LinkExpired(LinkRefused):
    """401: a link of ours whose minutes are over."""

    code = "hosted_link_expired"
    detail = "This link has expired."


class LinkUsed(LinkRefused):
    """401: a link that was opened before."""

    code = "hosted_link_used"
    detail = "This link has been used already."


@dataclass(frozen=True)
class Link:
    """Whom a link lets in where."""

    link_id: uuid.UUID
    project_id: uuid.UUID
    mode: str
    end_user_id: uuid.UUID
    page: str
    return_url: str


@dataclass(frozen=True)
class MintedLink:
    """A link as it is handed out. Never logged or stored."""

    url: str
    expires_at: dt.datetime

    def __repr__(self) -> str:
        return f"<MintedLink until {self.expires_at}>"


def mint_link(
    *, project: Project, mode: str, end_user: EndUser, page: str = ACCOUNT, return_url: str = ""
) -> MintedLink:
    """Sign a link that lets a user in once. Raises: UrlNotAllowed (400) for a return_url that is not on the allowed origins."""
    if return_url:
        check_named_url(project=project, mode=mode, field="return_url", url=return_url)
    content = {
        "l": uuid.uuid4().hex, "p": project.pk.hex, "m": mode, "u": end_user.pk.hex, "g": page, "r": return_url,
    }  # fmt: skip
    token = PREFIX + _signer().sign_object(content)
    url = page_url(slug=project.slug, mode=mode, page="open")
    return MintedLink(f"{url}?{urlencode({'link': token})}", timezone.now() + LIFETIME)


def read_link(token: str, *, project: Project, mode: str) -> Link:
    """Say whom a link lets in at the pages of a project in a mode. Raises: LinkRefused, LinkExpired (401)."""
    if not token.startswith(PREFIX) or len(token) > TOKEN_CHARS_MAX or not token.isascii():
        raise LinkRefused()
    try:
        content = _signer().unsign_object(token.removeprefix(PREFIX), max_age=LIFETIME)
    except SignatureExpired:
        raise LinkExpired() from None
    except (BadSignature, ValueError):
        raise LinkRefused() from None
    link = Link(
        link_id=uuid.UUID(content["l"]),
        project_id=uuid.UUID(content["p"]),
        mode=content["m"],
        end_user_id=uuid.UUID(content["u"]),
        page=content["g"],
        return_url=content["r"],
    )
    if (link.project_id, link.mode) != (project.pk, mode) or link.mode not in MODES:
        # A link of another project, or of the other mode, taken to this address.
        raise LinkRefused()
    return link


def _signer() -> TimestampSigner:
    return TimestampSigner(sep=".", salt=SALT, algorithm="sha256")
