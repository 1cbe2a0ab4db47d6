"""Text that comes from outside, made fit for one line of a header or a mail."""

import re

# Control characters, line and paragraph separators, and marks that turn the direction of text round.
_BREAKING = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


def one_line(text: str) -> str:
    """Return a text without anything that ends a line or turns its direction."""
    return _BREAKING.sub(" ", text).strip()
