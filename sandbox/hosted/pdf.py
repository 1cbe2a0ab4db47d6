"""Writes small PDF files: text in Helvetica on A4 pages. Enough for an invoice, and nothing more.

Letters outside Windows-1252 become "?", since the built-in fonts have no others.
Source: ISO 32000-1 (objects 7.3, file structure 7.5, standard fonts 9.6.2.2).
"""

from __future__ import annotations

from dataclasses import dataclass, field

PAGE_WIDTH, PAGE_HEIGHT = 595, 842
MARGIN = 56

# Widths of Helvetica's characters 32 to 126 in thousandths of the font size (Adobe's font metrics).
_WIDTHS = (
    "278 278 355 556 556 889 667 191 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 556 556 556"
    " 278 278 584 584 584 556 1015 667 667 722 722 667 611 778 722 278 500 667 556 833 722 778 667 778 722 667"
    " 611 722 667 944 667 667 611 278 278 278 469 556 333 556 556 500 556 556 278 556 556 222 222 500 222 833"
    " 556 556 556 556 333 500 278 556 500 722 500 500 500 334 260 334 584"
)
WIDTHS = {chr(32 + position): int(width) for position, width in enumerate(_WIDTHS.split())}


# Letters of the bold font are wider by about this much.
BOLD_STRETCH = 1.07


def text_width(text: str, size: float, *, bold: bool = False) -> float:
    """Measure a text in points."""
    width = sum(WIDTHS.get(character, 556) for character in text) * size / 1000
    return width * BOLD_STRETCH if bold else width


@dataclass
class Document:
    """A document that grows downwards and starts a new page when one is full."""

    title: str
    _pages: list[list[str]] = field(default_factory=lambda: [[]])
    _y: float = PAGE_HEIGHT - MARGIN

    def space(self, points: float) -> None:
        """Move down."""
        self._y -= points
        if self._y < MARGIN:
            self._pages.append([])
            self._y = PAGE_HEIGHT - MARGIN

    def row(self, left: str, right: str = "", *, size: float = 10, bold: bool = False) -> None:
        """Write a line of text, with an amount or the like at the right edge."""
        self.space(size * 1.5)
        room = PAGE_WIDTH - 2 * MARGIN - (text_width(right, size, bold=bold) + 12 if right else 0)
        self._write(MARGIN, _shorten(left, size, room), size, bold)
        if right:
            self._write(PAGE_WIDTH - MARGIN - text_width(right, size, bold=bold), right, size, bold)

    def rule(self) -> None:
        """Draw a thin line across the page."""
        self.space(8)
        self._pages[-1].append(f"0.8 G 0.5 w {MARGIN} {self._y:.1f} m {PAGE_WIDTH - MARGIN} {self._y:.1f} l S")

    def _write(self, x: float, text: str, size: float, bold: bool) -> None:
        font = "F2" if bold else "F1"
        self._pages[-1].append(f"BT /{font} {size:g} Tf {x:.1f} {self._y:.1f} Td {_literal(text)} Tj ET")

    def to_bytes(self) -> bytes:
        """Give the file."""
        first_page = 5
        page_ids = [first_page + 2 * number for number in range(len(self._pages))]
        objects = [
            "<< /Type /Catalog /Pages 2 0 R >>",
            f"<< /Type /Pages /Count {len(page_ids)} /Kids [{' '.join(f'{page} 0 R' for page in page_ids)}] >>",
            "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>",
            "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold /Encoding /WinAnsiEncoding >>",
        ]
        for page_id, content in zip(page_ids, self._pages, strict=True):
            stream = "\n".join(content)
            objects.append(
                f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 {PAGE_WIDTH} {PAGE_HEIGHT}] /Contents {page_id + 1} 0 R"
                " /Resources << /Font << /F1 3 0 R /F2 4 0 R >> >> >>"
            )
            objects.append(f"<< /Length {len(_encode(stream))} >>\nstream\n{stream}\nendstream")
        objects.append(f"<< /Title {_literal(self.title)} /Producer (Sandbox) >>")
        return _file_of(objects)


def _file_of(objects: list[str]) -> bytes:
    """Number the objects (the last one is the document's information) and write the table of their places."""
    output = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n")
    places = []
    for number, body in enumerate(objects, start=1):
        places.append(len(output))
        output += f"{number} 0 obj\n".encode() + _encode(body) + b"\nendobj\n"
    table_place = len(output)
    output += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    for place in places:
        output += f"{place:010d} 00000 n \n".encode()
    output += f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R /Info {len(objects)} 0 R >>\n".encode()
    output += f"startxref\n{table_place}\n%%EOF\n".encode()
    return bytes(output)


def _encode(text: str) -> bytes:
    return text.encode("cp1252", "replace")


def _literal(text: str) -> str:
    safe = "".join(character if character.isprintable() else " " for character in text)
    escaped = safe.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
    return f"({escaped})"


def _shorten(text: str, size: float, room: float) -> str:
    if text_width(text, size) <= room:
        return text
    while text and text_width(text + "…", size) > room:
        text = text[:-1]
    return text + "…"
