"""An end user is banned. What follows from it is for apps above to say: they register a listener."""

from collections.abc import Callable

from projects.models import EndUser

Listener = Callable[[EndUser], None]
_listeners: list[Listener] = []


def register_ban_listener(listener: Listener) -> None:
    """Let an app above act on bans. Called once, at start."""
    if listener not in _listeners:
        _listeners.append(listener)


def announce_ban(end_user: EndUser) -> None:
    """Tell every listener, inside the transaction that bans. Nobody may call another service from there."""
    for listener in _listeners:
        listener(end_user)
