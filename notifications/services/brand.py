"""How a project's mails are signed and look. Nothing that a project writes here can reach a header or the markup unchecked.

Invariant: mails leave under the operator's own address, one that staff chose for the project, or one of a domain that the operator
has given to this project; so that no project writes in another's name or in the operator's.
"""

import re
from dataclasses import dataclass
from email.utils import parseaddr

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email

from common.outgoing import OutgoingRefused, check_url
from notifications.models import Brand
from notifications.models.brand import DEFAULT_COLOR
from notifications.services.lines import one_line
from projects.models import Project

FIELDS = ("from_name", "from_address", "reply_to", "color", "logo_url", "footer_text")
FOOTER_CHARS_MAX, FOOTER_LINES_MAX = 500, 8
_COLOR = re.compile(r"#[0-9a-f]{6}")
DARK_INK, LIGHT_INK = "#111113", "#ffffff"
SHAPES_CONTRAST_MIN, MIX_STEPS = 3.0, 20


@dataclass(frozen=True)
class Look:
    """A project's brand as mails use it: every value is present and safe."""

    from_name: str
    from_address: str
    reply_to: str = ""
    color: str = DEFAULT_COLOR
    logo_url: str = ""
    footer_text: str = ""

    @property
    def ink(self) -> str:
        """Return the colour of writing on `color`: whichever contrasts more."""
        return ink_on(self.color)


def default_from_address() -> str:
    """Return the operator's own address."""
    return parseaddr(settings.DEFAULT_FROM_EMAIL)[1]


@dataclass(frozen=True)
class Senders:
    """What a project's mails may be sent from: any address of its domains, and these addresses."""

    domains: frozenset[str] = frozenset()
    addresses: frozenset[str] = frozenset()

    def __contains__(self, address: str) -> bool:
        """Say whether an address is one of them."""
        return address.lower() in self.addresses or domain_of(address) in self.domains

    def __str__(self) -> str:
        return ", ".join([*sorted(self.addresses), *(f"any address of {domain}" for domain in sorted(self.domains))])


def domain_of(address: str) -> str:
    """Return what stands behind the last at sign."""
    return address.rpartition("@")[2].lower()


def senders_of(project: Project | None, *, staff_chose: str = "") -> Senders:
    """Say what a project's mails may be sent from now. `staff_chose` is worth something within the operator's own domain only."""
    pairs, default = settings.MAIL_FROM_DOMAINS, default_from_address().lower()
    names = (project.slug.lower(), str(project.pk)) if project is not None else ()
    own = {staff_chose.lower()} if staff_chose and domain_of(staff_chose) == domain_of(default) else set()
    return Senders(frozenset().union(*(pairs.get(name, ()) for name in names)), frozenset({default, *own}))


def look_of(project: Project) -> Look:
    """Return how a project's mails are signed and look. What is not allowed any more falls back to the default. One query."""
    row = Brand.objects.for_project(project).first() or Brand(project=project)
    senders = senders_of(project, staff_chose=row.staff_from_address)
    kept = {name: value for name in FIELDS if (value := getattr(row, name)) and not problem_of(name, value, senders)}
    return Look(
        from_name=kept.get("from_name") or one_line(project.name)[:100],
        from_address=kept.get("from_address") or default_from_address(),
        **{name: kept[name] for name in FIELDS[2:] if name in kept},
    )


def problem_of(name: str, value: str, senders: Senders) -> str:
    """Say what is wrong with a field's value; "" when nothing is."""
    if name == "footer_text":
        lines = value.splitlines()
        if len(value) > FOOTER_CHARS_MAX or len(lines) > FOOTER_LINES_MAX:
            return f"At most {FOOTER_LINES_MAX} lines and {FOOTER_CHARS_MAX} characters."
        return "" if all(one_line(line) == line.strip() for line in lines) else "It holds control characters."
    if one_line(value) != value:
        return "It may not hold line breaks, control characters or blanks at its ends."
    if name in ("from_address", "reply_to"):
        return _problem_of_address(name, value, senders)
    if name == "color":
        return "" if _COLOR.fullmatch(value) else "Write it as #rrggbb, in lower case."
    return _problem_of_logo(value) if name == "logo_url" else ""


def ink_on(color: str) -> str:
    """Return the colour of writing that is read best on a background."""
    return DARK_INK if contrast(color, "#000000") > contrast(color, "#ffffff") else LIGHT_INK


def contrast(one: str, other: str) -> float:
    """Return how much two colours differ, from 1 to 21. Source: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio"""
    darker, lighter = sorted((_light(one), _light(other)))
    return (lighter + 0.05) / (darker + 0.05)


def seen_on(color: str, ground: str) -> str:
    """Return the colour, lighter or darker where it would not be seen on a ground: as much as shapes need, not writing.

    Source: https://www.w3.org/TR/WCAG22/#non-text-contrast
    """
    towards = "#ffffff" if contrast(ground, "#ffffff") > contrast(ground, "#000000") else "#000000"
    mixed = (_mix(color, towards, step / MIX_STEPS) for step in range(MIX_STEPS + 1))
    return next(found for found in mixed if contrast(found, ground) >= SHAPES_CONTRAST_MIN)


def _parts(color: str) -> list[int]:
    return [int(color[start : start + 2], 16) for start in (1, 3, 5)]


def _mix(color: str, towards: str, share: float) -> str:
    pairs = zip(_parts(color), _parts(towards), strict=True)
    return "#" + "".join(f"{round(one + (other - one) * share):02x}" for one, other in pairs)


def _light(color: str) -> float:
    light = 0.0
    for part, weight in zip(_parts(color), (0.2126, 0.7152, 0.0722), strict=True):
        of_one = part / 255
        light += weight * (of_one / 12.92 if of_one <= 0.04045 else ((of_one + 0.055) / 1.055) ** 2.4)
    return light


def _problem_of_address(name: str, value: str, senders: Senders) -> str:
    try:
        validate_email(value)
    except ValidationError:
        return "This is not an e-mail address."
    if name == "reply_to" or value in senders:
        return ""
    return f"The operator lets this project's mails be sent from these only: {senders}."


def _problem_of_logo(value: str) -> str:
    try:
        target = check_url(value)
    except OutgoingRefused as refusal:
        return str(refusal)
    if any(char in value for char in "\"'<>"):
        return "The address holds characters that do not belong in a URL."
    return "" if target.parts.scheme == "https" else "The logo's address must start with https://."
