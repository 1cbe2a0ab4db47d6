"""An end user is banned or let in again. What follows from it is for apps above to say: they register listeners."""

from collections.abc import Callable
from dataclasses import dataclass

from accounts.models import User
from projects.models import EndUser

Listener = Callable[[EndUser], None]


@dataclass(frozen=True)
class BanChange:
    """Who banned whom, or let them in again, and why. `actor` None is the service itself."""

    end_user: EndUser
    banned: bool
    actor: User | None
    reason: str


ChangeListener = Callable[[BanChange], None]
_listeners: list[Listener] = []
_change_listeners: list[ChangeListener] = []


def register_ban_listener(listener: Listener) -> None:
    """Let an app above act on bans. Called once, at start."""
    if listener not in _listeners:
        _listeners.append(listener)


def register_ban_log(listener: ChangeListener) -> None:
    """Let an app above write down who banned whom and who let them in again. Called once, at start."""
    if listener not in _change_listeners:
        _change_listeners.append(listener)


def announce_ban(end_user: EndUser) -> None:
    """Tell every listener, inside the transaction that bans. Nobody may call another service from there."""
    for listener in _listeners:
        listener(end_user)


def announce_ban_change(change: BanChange) -> None:
    """Have a ban or its end written down, inside its transaction."""
    for listener in _change_listeners:
        listener(change)
