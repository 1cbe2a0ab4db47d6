"""Shapes of the operations that mint links and set a project's choices."""

from typing import Any

from rest_framework import serializers

from common.drf_fields import OneOfField, PlainCharField, PlainEmailField
from common.modes import MODES
from hosted.models import HostedPages
from hosted.services.addresses import page_url
from hosted.services.links import ACCOUNT, PAGES
from projects.origins import MAX_URL_LENGTH


class HostedLinkBody(serializers.Serializer[Any]):
    """Who is let in where."""

    user_id = PlainCharField(
        required=False,
        allow_null=True,
        min_length=1,
        max_length=255,
        trim_whitespace=False,
        help_text="The app's own id for the user. A server must name it; an end user's token may name itself only.",
    )
    email = PlainEmailField(required=False, allow_null=True, help_text="The user's address, when a server knows it.")
    page = OneOfField(choices=list(PAGES), default=ACCOUNT)
    return_url = PlainCharField(
        required=False,
        allow_null=True,
        min_length=1,
        max_length=MAX_URL_LENGTH,
        help_text="Where the pages' way back leads, on one of the project's allowed origins.",
    )


class HostedLinkAnswer(serializers.Serializer[Any]):
    """The link. Send the user there at once; do not mail or keep it."""

    url = serializers.CharField()
    expires_at = serializers.DateTimeField()


class PageAddresses(serializers.Serializer[Any]):
    """Where the pages of one mode are."""

    pricing = serializers.CharField()
    account = serializers.CharField()


class HostedPagesAnswer(serializers.Serializer[Any]):
    """A project's choices about its hosted pages, in both modes. Null: the default."""

    project_id = serializers.UUIDField()
    sign_in_url = serializers.CharField(allow_null=True)
    return_url = serializers.CharField(allow_null=True)
    time_zone = serializers.CharField()
    test = PageAddresses()
    live = PageAddresses()


def _choice(help_text: str, max_length: int = MAX_URL_LENGTH) -> PlainCharField:
    return PlainCharField(required=False, allow_null=True, allow_blank=True, max_length=max_length, help_text=help_text)


class PutHostedPagesBody(serializers.Serializer[Any]):
    """PUT: what is left out, null or empty is the default again."""

    sign_in_url = _choice("A page of the app where people sign in, which has a link minted and brings them back.")
    return_url = _choice("Where the pages' way back leads unless a link says otherwise.")
    time_zone = _choice("Times are shown in it, for instance Europe/Berlin. Default: UTC.", 64)


def render_pages(row: HostedPages) -> dict[str, Any]:
    """Write a project's choices, and where its pages are."""
    slug = row.project.slug
    return {
        "project_id": str(row.project_id),
        "sign_in_url": row.sign_in_url or None,
        "return_url": row.return_url or None,
        "time_zone": row.time_zone,
        **{
            mode: {page: page_url(slug=slug, mode=mode, page=page) for page in ("pricing", "account")} for mode in MODES
        },
    }
