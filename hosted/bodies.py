"""Shapes of the operation that mints links."""

from typing import Any

from rest_framework import serializers

from common.drf_fields import OneOfField, PlainCharField, PlainEmailField
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
