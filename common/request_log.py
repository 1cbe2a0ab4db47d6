"""The lines that say which request came and how it ended."""

import functools
import logging
import re
from collections.abc import Iterator

import structlog
from django.http import HttpRequest
from django.urls import Resolver404, URLResolver, get_resolver, resolve
from django.urls.resolvers import RoutePattern
from django_structlog.middlewares import RequestMiddleware

from common.client_address import caller_address

# Parts of a path that name a person: the app's own ids of its users, which may be addresses, and what a mail's link is signed with.
PEOPLE = frozenset({"user_id", "token"})


@functools.cache
def people_prefixes() -> tuple[str, ...]:
    """Return how the paths begin that may name a person; a delivery from Stripe is not looked up a second time to learn it."""
    return tuple(sorted({route.partition("<")[0] for route in _routes_of_people(get_resolver(), "/")}))


def _routes_of_people(resolver: URLResolver, before: str) -> Iterator[str]:
    for entry in resolver.url_patterns:
        route = before + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _routes_of_people(entry, route)
        elif not isinstance(entry.pattern, RoutePattern):
            # A regular expression may name anything from here on.
            yield before
        elif PEOPLE & set(re.findall(r"(\w+)>", route)):
            yield route


def told_path(request: HttpRequest) -> str:
    """Return the path as a log may keep it: the route in its place where a part of it names a person."""
    match = request.resolver_match
    if match is None:
        if not request.path_info.startswith(people_prefixes()):
            return request.path
        try:
            match = resolve(request.path_info)
        except Resolver404:
            return request.path
    names_somebody = any(name in PEOPLE and isinstance(value, str) for name, value in match.kwargs.items())
    return f"/{match.route}" if names_somebody else request.path


class RequestLog(RequestMiddleware):
    """Writes down what was asked for and from where, by an address that the caller cannot choose.

    Invariant: what stands behind the question mark is in no line, and no id of an app's user is: there are addresses that staff
    search for, and ids which nobody could take out of a log when a person is erased.
    """

    @classmethod
    def bind_ip(cls, request: HttpRequest) -> None:
        """Name the caller in every line of the request."""
        structlog.contextvars.bind_contextvars(ip=caller_address(request))

    @staticmethod
    def format_request(request: HttpRequest) -> str:
        """Return the method and the path."""
        return f"{request.method} {told_path(request)}"


class PlainRequests(logging.Filter):
    """Keeps Django's own lines about refused and failed requests to what ours say: they show the whole address."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the request and its path in a line; every line is written."""
        request = getattr(record, "request", None)
        if isinstance(request, HttpRequest):
            told, path = told_path(request), request.path.encode("unicode_escape").decode("ascii")
            if isinstance(record.args, tuple):
                record.args = tuple(told if argument == path else argument for argument in record.args)
            record.request = f"{request.method} {told}"
        return True
