"""The invoice file is a PDF that readers accept: its table of places is right and its text is there."""

from __future__ import annotations

import re

from sandbox.hosted.pdf import PAGE_WIDTH, Document, text_width


def written(rows: int, text: str = "1 × Maker (at €12.99 / month)") -> bytes:
    page = Document("Invoice (1)")
    for number in range(rows):
        page.row(f"{text} {number}", "€12.99")
    page.rule()
    return page.to_bytes()


def test_every_place_in_the_table_is_where_its_object_begins() -> None:
    content = written(120)
    assert content.startswith(b"%PDF-1.4\n") and content.endswith(b"%%EOF\n")
    table_place = int(re.search(rb"startxref\n(\d+)\n", content)[1])  # type: ignore[index]
    assert content[table_place:].startswith(b"xref\n")
    places = [int(place) for place in re.findall(rb"(\d{10}) 00000 n ", content[table_place:])]
    assert len(places) > 6
    for number, place in enumerate(places, start=1):
        assert content[place:].startswith(f"{number} 0 obj\n".encode())
    for length, stream in re.findall(rb"/Length (\d+) >>\nstream\n(.*?)\nendstream", content, re.DOTALL):
        assert int(length) == len(stream)


def test_many_rows_go_on_further_pages_and_none_is_lost() -> None:
    content = written(120)
    assert int(re.search(rb"/Count (\d+)", content)[1]) == 3  # type: ignore[index]
    assert len(re.findall(rb"Maker", content)) == 120


def test_brackets_are_escaped_and_unknown_letters_replaced() -> None:
    content = written(1, r"a (b) \ 日本 ü")
    assert rb"(a \(b\) \\ ?? " + "ü 0".encode("cp1252") + b")" in content
    assert "€12.99".encode("cp1252") in content


def test_long_text_never_runs_into_the_amount() -> None:
    content = written(1, "long " * 100)
    left = re.search(rb"\((long .*?)\) Tj", content)
    assert left is not None
    assert text_width(left[1].decode("cp1252"), 10) < PAGE_WIDTH - 2 * 56 - text_width("€12.99", 10)
