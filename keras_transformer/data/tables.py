"""Readers of CSV, TSV and JSON-lines files with named columns."""

import csv
import io
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from keras_transformer.data.part import Part, read_text

SUFFIXES = (".csv", ".tsv", ".jsonl")
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


def read_table(
    path: Path,
    text_column: str = "text",
    label_column: str | Sequence[str] = "label",
    delimiter: str | None = None,
    quoting: bool = True,
) -> Part:
    """Read a table.

    Args:
        path: a .csv, .tsv or .jsonl file, in UTF-8, with column names in its first line (.csv, .tsv).
        text_column: str, the column of the texts.
        label_column: str, or several names whose values become a row of numbers (one per class or value to predict).
        delimiter: str of one character between the columns; by default that of the suffix.
        quoting: bool, whether `"` quotes fields. Default True; False for tables whose quotes are plain characters.

    Returns:
        `Part`.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is empty, malformed, or lacks a column.
    """
    content, decoded = read_text(path)
    if not content.strip():
        raise ValueError(f"{path.name} is empty: it must have column names and at least one row. Received: no text.")
    columns = [text_column, *([label_column] if isinstance(label_column, str) else label_column)]
    if path.suffix == ".jsonl":
        rows = _json_rows(content, path.name, columns)
    else:
        rows = _delimited_rows(
            content, path.name, columns, delimiter or ("\t" if path.suffix == ".tsv" else ","), quoting
        )
    part = Part()
    for line, (text, *labels) in rows:
        if not isinstance(text, str):
            raise ValueError(f"{path.name}, line {line}: the text must be a string. Received: {text!r}.")
        label = labels[0] if isinstance(label_column, str) else [_as_number(label) for label in labels]
        part.add(text, label, f"{path.name}:{line}")
        part.undecodable += not decoded and _REPLACEMENT in text
    if not part.texts:
        raise ValueError(f"{path.name} has column names but no rows: add at least one. Received: 0 rows.")
    return part


def _delimited_rows(
    content: str, name: str, columns: Sequence[str], delimiter: str, quoting: bool
) -> Iterator[tuple[int, list[str]]]:
    limit = csv.field_size_limit(sys.maxsize)  # The default of 131,072 characters refuses a text of 100,000 words.
    try:
        reader = csv.reader(
            io.StringIO(content, newline=""),
            delimiter=delimiter,
            quoting=csv.QUOTE_MINIMAL if quoting else csv.QUOTE_NONE,
            strict=True,
        )
        header = next(reader)
        _check_columns(columns, header, name)
        places = [header.index(column) for column in columns]
        line = reader.line_num + 1
        for row in reader:
            if row and len(row) != len(header):
                raise ValueError(
                    f"{name}, line {line}: a row must have {len(header)} columns; texts that contain the delimiter "
                    f"must be quoted. Received: {len(row)} columns."
                )
            if row:
                yield line, [row[place] for place in places]
            line = reader.line_num + 1
    except csv.Error as error:
        raise ValueError(
            f"{name}, line {reader.line_num}: malformed quotes; pass quoting=False if quotes are plain characters "
            f"there. Received: {error}."
        ) from error
    finally:
        csv.field_size_limit(limit)


def _json_rows(content: str, name: str, columns: Sequence[str]) -> Iterator[tuple[int, list[Any]]]:
    # Not splitlines(): a JSON string may hold U+2028, which that would break.
    for line, text in enumerate(content.split("\n"), start=1):
        if not text.strip():
            continue
        try:
            row = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{name}, line {line}: each line must be one JSON object. Received: {error}.") from error
        if not isinstance(row, dict):
            raise ValueError(f"{name}, line {line}: each line must be an object. Received: {type(row).__name__}.")
        _check_columns(columns, list(row), f"{name}, line {line}")
        yield line, [row[column] for column in columns]


def _check_columns(columns: Sequence[str], header: Sequence[str], where: str) -> None:
    missing = [column for column in columns if column not in header]
    if missing:
        raise ValueError(
            f"{where}: no column {missing[0]!r}; name the columns with text_column= and label_column=. "
            f"Received: columns {list(header)}."
        )


def _as_number(value: Any) -> Any:
    """The number in a cell of a row of numbers; anything else is left for the label checks to refuse."""
    try:
        return float(value)
    except (TypeError, ValueError):
        return value
