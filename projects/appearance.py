"""An end user appears in a mode for the first time. What follows from it is for apps above to say: they register a listener."""

from collections.abc import Callable

from common.modes import LIVE, TEST
from projects.models import EndUser

Listener = Callable[[EndUser, str], None]
# Which column says when an end user first appeared in a mode.
APPEARANCE_COLUMNS: dict[str, str] = {TEST: "appeared_test_at", LIVE: "appeared_live_at"}
_listeners: list[Listener] = []


def has_appeared(end_user: EndUser, mode: str) -> bool:
    """Say whether an end user has come in a mode before."""
    return getattr(end_user, APPEARANCE_COLUMNS[mode]) is not None


def register_listener(listener: Listener) -> None:
    """Let an app above act on first appearances. Called once, at start."""
    if listener not in _listeners:
        _listeners.append(listener)


def announce_appearance(end_user: EndUser, mode: str) -> None:
    """Tell every listener, inside the transaction that notes the appearance. Nobody may call another service from there."""
    for listener in _listeners:
        listener(end_user, mode)
