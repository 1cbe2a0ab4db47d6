"""Query parameters, read strictly: an odd value is a 422 that names the parameter, never a guess."""

import uuid
from collections.abc import Collection, Mapping

from common.errors import FieldError

TRUE_WORDS = frozenset({"true", "1"})
FALSE_WORDS = frozenset({"false", "0"})


def read_flag(query: Mapping[str, str], name: str, *, default: bool | None = None) -> bool | None:
    """Read a boolean; the default when it is left out. Raises FieldError (422)."""
    text = query.get(name)
    if text is None:
        return default
    if text.lower() in TRUE_WORDS:
        return True
    if text.lower() in FALSE_WORDS:
        return False
    raise FieldError("query", name, msg="Give true or false.", type="bool_parsing")


def read_test_mode(query: Mapping[str, str]) -> bool:
    """Read `test_mode`, which picks test when it is left out. Raises FieldError (422)."""
    return read_flag(query, "test_mode", default=True) is True


def read_uuid(query: Mapping[str, str], name: str) -> uuid.UUID | None:
    """Read an id; None when it is left out. Raises FieldError (422)."""
    text = query.get(name)
    if text is None:
        return None
    try:
        # A UUID has 36 characters as everybody writes it; the library also takes braces, urn: and plain hex.
        if len(text) != 36:
            raise ValueError("not in the usual form")
        return uuid.UUID(text)
    except ValueError as error:
        raise FieldError("query", name, msg="Give a UUID.", type="uuid_parsing") from error


def read_choice(query: Mapping[str, str], name: str, choices: Collection[str]) -> str | None:
    """Read one of a few words; None when it is left out. Raises FieldError (422)."""
    text = query.get(name)
    if text is None or text in choices:
        return text
    raise FieldError("query", name, msg=f"Give one of: {', '.join(sorted(choices))}.", type="enum")
