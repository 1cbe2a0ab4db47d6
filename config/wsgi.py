"""The web process: `granian --interface wsgi config.wsgi:application`."""

import os
import re
from collections.abc import Iterable
from typing import Any

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
_ALL_BUT_BOUNDARY = re.compile(r";(?!\s*boundary\s*=)[^;]*", re.IGNORECASE)
_django = get_wsgi_application()


def application(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    """Answer a request. It is read as UTF-8 whatever charset it names, as JSON always is.

    Django believes any codec of Python, `zlib` among them, in the charset and in every parameter that RFC 2231 lets name one, and
    fails before its own handling of errors begins. Nothing but the boundary of a form's parts is of use here.
    Source: https://www.rfc-editor.org/rfc/rfc8259#section-11
    """
    content_type = environ.get("CONTENT_TYPE") or ""
    if ";" in content_type:
        environ["CONTENT_TYPE"] = _ALL_BUT_BOUNDARY.sub("", content_type)
    return _django(environ, start_response)
