"""Endpoints that anybody may call, about a project that the body names by its slug: such as a shop's button."""

from typing import Any

from rest_framework.exceptions import ParseError, UnsupportedMediaType
from rest_framework.request import Request
from rest_framework.views import APIView

from projects.cors import let_pages_of_slug_read


class PublicView(APIView):
    """A view for anybody. Pages of the project that is named may read its answers, refusals too."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Find out whose pages may read the answer, before the handler refuses anything (a bad token is refused earlier)."""
        super().initial(request, *args, **kwargs)
        try:
            given = request.data
        except (ParseError, UnsupportedMediaType):
            # The handler says what is wrong with the body.
            return
        if isinstance(given, dict):
            let_pages_of_slug_read(request._request, given.get("project"))
