"""The documentation's pictures: small enough to load, and each is on a page of the documentation."""

import re
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"
BYTES_MAX = 200_000


def test_every_picture_is_small_and_linked_and_every_link_leads_to_one() -> None:
    pictures = {path.relative_to(DOCS).as_posix(): path.stat().st_size for path in DOCS.glob("screenshots/**/*.png")}
    assert {name: size for name, size in pictures.items() if size > BYTES_MAX} == {}
    pages = [DOCS.parent / "README.md", *DOCS.glob("*.md")]
    linked = {link for page in pages for link in re.findall(r"\((?:docs/)?(screenshots/[^)#]+)\)", page.read_text())}
    assert {link for link in linked if not (DOCS / link).exists()} == set()
    # Mails are many and named after their templates: their folder is linked.
    assert {name for name in pictures if name not in linked and not name.startswith("screenshots/mails/")} == set()
