"""From a record to its text, or to the reason why it has none."""

import csv
import json
import math
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

from .options import Layout
from .records import MALFORMED, TOO_LONG

REASONS = {
    TOO_LONG: "longer than --max_line_bytes",
    "invalid_utf8": "not UTF-8",
    "invalid_json": "not JSON",
    "not_an_object": "JSON, but not an object",
    "missing_field": "an object without the text field",
    "not_a_string": "the text field is no string",
    "invalid_unicode": "half of a surrogate pair, which no UTF-8 can hold",
    MALFORMED: "a quote that is not closed, or stands where none may",
    "wrong_columns": "another number of columns than the first row",
    "empty_text": "nothing but white space",
    "model_failed": "the model fails on this text, and not on others",
}
"""Why a line is not scored."""
BOM = b"\xef\xbb\xbf"
NOTHING = object()
"""In place of the id of a record that has none."""


class Parsed(NamedTuple):
    """A text, or why there is none.

    Args:
        text: str.
        identity: The id that came with it, a string, number, bool or None; `NOTHING` if none did.
        problem: str, one of `REASONS`; "" if there is a text.
        detail: str, what else is known of the problem.
    """

    text: str = ""
    identity: Any = NOTHING
    problem: str = ""
    detail: str = ""


def parser(layout: Layout) -> Callable[[bytes], Parsed]:
    """Returns the function from the bytes of a record to what they hold; it raises nothing.

    Args:
        layout: `Layout`, with the columns if it is a table.

    Example:
        ```python
        from keras_transformer.export.scoring.options import Layout
        from keras_transformer.export.scoring.parsing import parser

        parse = parser(Layout("jsonl", False, "text", "id"))
        assert parse(b'{"id": 7, "text": "Good."}')[:2] == ("Good.", 7)
        assert parse(b'{"id": 7}').problem == "missing_field"
        ```
    """
    parse = _row if layout.table else _object if layout.format == "jsonl" else _line

    def call(content: bytes) -> Parsed:
        try:
            text = content.decode("utf-8")
        except UnicodeDecodeError as error:
            return Parsed(problem="invalid_utf8", detail=f"byte {error.start}")
        if not text.strip():
            return Parsed(problem="empty_text")
        parsed = parse(text, layout)
        if parsed.problem:
            return parsed
        if not parsed.text.strip():
            return parsed._replace(problem="empty_text")
        try:
            parsed.text.encode("utf-8")
        except UnicodeEncodeError as error:
            return parsed._replace(problem="invalid_unicode", detail=f"character {error.start}")
        return parsed

    return call


def read_columns(content: bytes, layout: Layout, path: str) -> tuple[str, ...]:
    """Returns the columns that the first row of a table names.

    Args:
        content: bytes, the first record.
        layout: `Layout`.
        path: str, of the file, for messages.

    Raises:
        ValueError: If it cannot be read, a name stands twice, or the column of the texts is missing.
    """
    try:
        columns = _cells(content.removeprefix(BOM).decode("utf-8"), layout)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: the first row must name the columns. Received: {error}") from error
    if layout.text_field not in columns:
        raise ValueError(
            f"{path}: the first row names no column {layout.text_field!r}; choose one with --text_field. "
            f"Received: {', '.join(columns)[:500]}"
        )
    for name in {layout.text_field, layout.id_field}:
        if columns.count(name) > 1:
            raise ValueError(f"{path}: the column {name!r} must be there once. Received: {columns.count(name)} times")
    return tuple(columns)


def _line(text: str, layout: Layout) -> Parsed:
    return Parsed(text)


def _object(text: str, layout: Layout) -> Parsed:
    try:
        found = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError) as error:
        return Parsed(problem="invalid_json", detail=str(error)[:200])
    if not isinstance(found, dict):
        return Parsed(problem="not_an_object", detail=type(found).__name__)
    identity = found.get(layout.id_field, NOTHING)
    if isinstance(identity, dict | list):
        identity = NOTHING
    if layout.text_field not in found:
        return Parsed(identity=identity, problem="missing_field", detail=", ".join(found)[:200])
    if not isinstance(found[layout.text_field], str):
        return Parsed(identity=identity, problem="not_a_string", detail=type(found[layout.text_field]).__name__)
    return Parsed(found[layout.text_field], identity)


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"{digits[:20]} is too large a number")
    return number


def _row(text: str, layout: Layout) -> Parsed:
    try:
        cells = _cells(text, layout)
    except csv.Error as error:
        return Parsed(problem=MALFORMED, detail=str(error))
    if len(cells) != len(layout.columns):
        return Parsed(problem="wrong_columns", detail=f"{len(cells)} instead of {len(layout.columns)}")
    row = dict(zip(layout.columns, cells, strict=True))
    return Parsed(row[layout.text_field], row.get(layout.id_field, NOTHING))


def _cells(text: str, layout: Layout) -> list[str]:
    if not layout.quoted:
        return text.split(layout.delimiter)
    # The default of 131,072 characters refuses a text of 100,000 words; `max_line_bytes` is the limit here.
    limit = csv.field_size_limit(sys.maxsize)
    try:
        # One string, line ends and all: the reader would cut a file at a lone carriage return, too.
        return next(csv.reader([text], delimiter=layout.delimiter, strict=True))
    finally:
        csv.field_size_limit(limit)
