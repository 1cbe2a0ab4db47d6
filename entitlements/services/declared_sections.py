"""Sections of a project's table that other apps read and write: they say so at start, since this app knows none of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from projects.models import Project

# Takes what the file says, where, and whom to tell what is wrong with it; returns what is declared, one after the other.
Read = Callable[[Any, str, Callable[[str, str], None]], Sequence[Any]]


class Declared(Protocol):
    """One thing that a section declares."""

    @property
    def where(self) -> str:
        """Where it stands in the file."""
        ...


class Write(Protocol):
    """Makes one declared thing so; `note` gets each difference."""

    def __call__(self, *, project: Project, declared: Any, note: Callable[[str, str], None]) -> None: ...


class Drop(Protocol):
    """Takes off sale what the section does not name."""

    def __call__(self, *, project: Project, declared: Sequence[Any], note: Callable[[str, str], None]) -> None: ...


@dataclass(frozen=True)
class Section:
    """How a section is read and written."""

    read: Read
    write: Write
    drop: Drop


_sections: dict[str, Section] = {}


def register_section(name: str, section: Section) -> None:
    """Say who reads and writes a section of a project's table; once per process, in `AppConfig.ready`."""
    if _sections.get(name, section) != section:
        raise RuntimeError(f"two readers of the section {name}")
    _sections[name] = section


def known_sections() -> Mapping[str, Section]:
    """Return the sections of other apps, by name."""
    return dict(_sections)
