"""The texts in the rows of .jsonl, .csv and .tsv files, in bounded memory; bad rows are counted and passed over."""

import csv
import json
from collections.abc import Iterator
from typing import IO, Any

from keras_transformer.corpus.counts import Counts
from keras_transformer.corpus.reading import Reading, pieces_of

# A row is parsed as a whole, so it may take no more than this.
MAX_ROW = 1 << 24


def json_lines(file: IO[str], name: str, reading: Reading, counts: Counts) -> Iterator[tuple[str, str]]:
    """Yield the texts of a .jsonl file, and where each comes from; `file` must break lines at line feeds alone."""
    for number, line in _lines(file, name, counts):
        where = f"{name}:{number}"
        if line.isspace():
            continue
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            counts.skip("malformed_rows", where, f"not JSON ({error})")
            continue
        if not isinstance(row, dict):
            counts.skip("malformed_rows", where, f"not an object, but {type(row).__name__}")
        elif reading.text_column not in row:
            counts.skip("rows_without_column", where, _no_column(reading.text_column, row))
        else:
            yield from pieces_of(row[reading.text_column], where, reading, counts)


def delimited(
    file: IO[str], name: str, reading: Reading, counts: Counts, delimiter: str = ","
) -> Iterator[tuple[str, str]]:
    """Yield the texts of a .csv or .tsv file, and where each comes from; `file` must leave line ends as they are."""
    reader = csv.reader(
        (line for _, line in _lines(file, name, counts)),
        delimiter=reading.delimiter or delimiter,
        quoting=csv.QUOTE_MINIMAL if reading.quoting else csv.QUOTE_NONE,
        strict=True,
    )
    header = _next_row(reader, name, counts)
    if header is None:
        return
    if reading.text_column not in header:
        counts.skip("files_without_column", name, _no_column(reading.text_column, header))
        return
    place = header.index(reading.text_column)
    line = reader.line_num + 1
    while (row := _next_row(reader, name, counts)) is not None:
        where, line = f"{name}:{line}", reader.line_num + 1
        if row and len(row) != len(header):
            counts.skip("malformed_rows", where, f"{len(row)} columns instead of {len(header)}")
        elif row:
            yield from pieces_of(row[place], where, reading, counts)


def _next_row(reader: Any, name: str, counts: Counts) -> list[str] | None:
    """The next row that can be parsed; None at the end."""
    while True:
        # The limit is one of the whole process, and others may set theirs between two rows.
        before = csv.field_size_limit(MAX_ROW)
        try:
            return next(reader, None)
        except csv.Error as error:
            counts.skip("malformed_rows", f"{name}:{reader.line_num}", str(error))
        finally:
            csv.field_size_limit(before)


def _lines(file: IO[str], name: str, counts: Counts) -> Iterator[tuple[int, str]]:
    """The numbers and lines of a table; a line that is too long to be parsed is counted and left out."""
    number = 0
    while line := file.readline(MAX_ROW):
        number += 1
        if len(line) < MAX_ROW or line.endswith("\n"):
            yield number, line
            continue
        while line and not line.endswith("\n"):
            line = file.readline(MAX_ROW)
        counts.skip("long_rows", f"{name}:{number}", f"a row may have {MAX_ROW} characters")


def _no_column(column: str, found: Any) -> str:
    return f"no column {column!r}; name it with text_column=. Received: columns {list(found)[:10]}"
