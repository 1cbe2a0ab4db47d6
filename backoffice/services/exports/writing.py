"""Writes an export's file piece by piece: CSV as the rows come, XLSX through a file of the worker's own.

Invariant: no more than one chunk of rows and one piece of the file are in memory.
"""

import csv
import io
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import xlsxwriter

from backoffice.services.exports.formulas import cell

PART_BYTES = 1024 * 1024
# With its heading; what is more goes to another sheet. Source: https://support.microsoft.com/office/excel-specifications-and-limits
SHEET_ROWS_MAX = 1_048_576
Chunks = Iterable[list[tuple[Any, ...]]]
Tell = Callable[[int], None]


def write_csv(headings: list[str], chunks: Chunks, tell: Tell) -> Iterator[bytes]:
    """Yield the pieces of a CSV file in UTF-8; `tell` hears after each chunk how many rows are written."""
    buffer = io.StringIO(newline="")
    # The mark lets Excel read UTF-8; every field is quoted, so that no separator of another country splits one.
    buffer.write("\ufeff")
    writer = csv.writer(buffer, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n")
    writer.writerow(headings)
    count = 0
    for chunk in chunks:
        writer.writerows([[cell(value) for value in row] for row in chunk])
        count += len(chunk)
        tell(count)
        if buffer.tell() >= PART_BYTES:
            yield buffer.getvalue().encode()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue().encode()


def write_xlsx(headings: list[str], chunks: Chunks, tell: Tell) -> Iterator[bytes]:
    """Yield the pieces of an XLSX file. Texts are written as texts, which no program takes for a formula."""
    with tempfile.TemporaryDirectory(prefix="export-") as folder:
        path = Path(folder) / "export.xlsx"
        book = xlsxwriter.Workbook(str(path), {"constant_memory": True, "tmpdir": folder})
        _fill(book, headings, chunks, tell)
        book.close()
        with path.open("rb") as file:
            while piece := file.read(PART_BYTES):
                yield piece


def _fill(book: Any, headings: list[str], chunks: Chunks, tell: Tell) -> None:
    bold = book.add_format({"bold": True})

    def begin() -> Any:
        sheet = book.add_worksheet()
        sheet.freeze_panes(1, 0)
        sheet.set_column(0, len(headings) - 1, 20)
        for column, heading in enumerate(headings):
            sheet.write_string(0, column, heading, bold)
        return sheet

    sheet, line, count = begin(), 1, 0
    for chunk in chunks:
        for row in chunk:
            if line >= SHEET_ROWS_MAX:
                sheet, line = begin(), 1
            for column, value in enumerate(row):
                shown = cell(value)
                if isinstance(shown, int):
                    sheet.write_number(line, column, shown)
                else:
                    sheet.write_string(line, column, shown)
            line += 1
        count += len(chunk)
        tell(count)
