"""Cuts a stream of bytes into records: lines, or rows of a table whose quoted fields may hold line ends."""

import collections
import dataclasses
import re
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from .options import Layout

TOO_LONG = "line_too_long"
MALFORMED = "malformed_quotes"
_SHOWN = 256
"""Bytes that are kept of a line that is not read."""
_PIECE = 1 << 16
# Possessive: a line of a million quotes costs no more than any other.
_TO_CLOSING_QUOTE = re.compile(rb'[^"]*+(?:""[^"]*+)*+"')


@dataclasses.dataclass(frozen=True, slots=True)
class Record:
    """One record of a file.

    Args:
        offset: int, its first byte in the (uncompressed) file.
        line: int, its first line, from 1.
        size: int, its bytes, the line end included.
        content: bytes, without the line end; only the beginning where there is a problem.
        problem: str, why it cannot be read; "" if it can.
        ending: bytes, the line end.
        lines: int, line ends in it, the last one included. Default 1.
    """

    offset: int
    line: int
    size: int
    content: bytes
    problem: str = ""
    ending: bytes = b"\n"
    lines: int = 1


def records(
    stream: BinaryIO, layout: Layout, limit: int, offset: int = 0, line: int = 1, end: int | None = None
) -> Iterator[Record]:
    """Yields the records of a stream; never holds more of it than the longest record that may be.

    Args:
        stream: Binary file that stands at `offset`.
        layout: `Layout`.
        limit: int, bytes of the longest record.
        offset: int, where the first record begins. Default 0.
        line: int, its line. Default 1.
        end: int or None, where the last record ends. Default None, the end of the file.

    Yields:
        `Record`.

    Example:
        ```python
        import io
        from keras_transformer.export.scoring.options import Layout
        from keras_transformer.export.scoring.records import records

        table = io.BytesIO(b'id,text\\n1,"two\\nlines"\\n2,one\\n')
        assert [(r.line, r.content) for r in records(table, Layout("csv", True, "text", "id"), 100)] == [
            (1, b"id,text"), (2, b'1,"two\\nlines"'), (4, b"2,one")
        ]
        ```
    """
    found = _lines(stream, limit, offset, line, end)
    return _rows(found, layout.delimiter.encode() + b'"', limit) if layout.quoted else found


def _lines(stream: BinaryIO, limit: int, offset: int, line: int, end: int | None) -> Iterator[Record]:
    while end is None or offset < end:
        content = stream.readline(limit + 2)
        if not content:
            return
        size = len(content)
        ended = content.endswith(b"\n")
        while not ended and (more := stream.readline(_PIECE)):
            size += len(more)
            ended = more.endswith(b"\n")
        ending = b""
        if content.endswith(b"\n"):
            ending = b"\r\n" if content.endswith(b"\r\n") else b"\n"
            content = content[: -len(ending)]
        if len(content) > limit:
            yield Record(offset, line, size, content[:_SHOWN], TOO_LONG)
        else:
            yield Record(offset, line, size, content, "", ending)
        offset += size
        line += 1


def _rows(lines: Iterable[Record], opening: bytes, limit: int) -> Iterator[Record]:
    """Joins lines between which a quoted field is open.

    If a field is not closed within the limit, only the line that opens it is given up, and reading goes on behind it:
    one wrong quote must not swallow the rest of the file.
    """
    lines = iter(lines)
    again: collections.deque[Record] = collections.deque()

    def following() -> Record | None:
        return again.popleft() if again else next(lines, None)

    while (first := following()) is not None:
        if first.problem:
            yield first
            continue
        gathered, size = [first], first.size
        is_open = _leaves_open(first.content, False, opening)
        while is_open:
            line = following()
            if line is None or line.problem or size + line.size > limit:
                break
            gathered.append(line)
            size += line.size
            is_open = _leaves_open(line.content, True, opening)
        if is_open:
            again.extendleft(reversed(gathered[1:] if line is None else [*gathered[1:], line]))
            yield dataclasses.replace(first, content=first.content[:_SHOWN], problem=MALFORMED)
        elif len(gathered) == 1:
            yield first
        else:
            content = b"".join(line.content + line.ending for line in gathered).removesuffix(gathered[-1].ending)
            yield Record(first.offset, first.line, size, content, "", gathered[-1].ending, len(gathered))


def _leaves_open(line: bytes, is_open: bool, opening: bytes) -> bool:
    """Whether a quoted field is open behind a line.

    A quote opens a field only where the field begins, so `5" screen` is no quoted field.
    """
    place = 0
    if not is_open:
        if not line.startswith(b'"'):
            place = line.find(opening)
            if place < 0:
                return False
            place += len(opening)
        else:
            place = 1
    while True:
        closing = _TO_CLOSING_QUOTE.match(line, place)
        if closing is None:
            return True
        place = line.find(opening, closing.end())
        if place < 0:
            return False
        place += len(opening)
