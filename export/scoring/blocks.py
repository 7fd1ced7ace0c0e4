"""What workers do around the model: read a block, and write its scores and its bad lines."""

import dataclasses
import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from . import storage
from .options import ScoringOptions
from .parsing import NOTHING, Parsed, parser
from .records import Record, records
from .work import Block, Source, Task, open_content, without_bom

SCORES = "scores"
BAD = "bad_lines"
_BEGINNING = 200


class Row(NamedTuple):
    """A record that was read.

    Args:
        record: `Record`; its content is left out where there is a text.
        parsed: `Parsed`.
    """

    record: Record
    parsed: Parsed


@dataclasses.dataclass(frozen=True)
class ReadBlock:
    """A block, read.

    Args:
        source: `Source`.
        block: `Block`.
        rows: list of `Row`, in the order of the file.
    """

    source: Source
    block: Block
    rows: list[Row]

    @property
    def texts(self) -> list[str]:
        """The texts to score."""
        return [row.parsed.text for row in self.rows if not row.parsed.problem]


@dataclasses.dataclass(frozen=True)
class ScoredBlock:
    """A block and what the model says of its texts.

    Args:
        read: `ReadBlock`.
        answers: list, for each of its texts a dict of outputs, or a str: why there are none.
    """

    read: ReadBlock
    answers: list[dict[str, Any] | str]


def read_blocks(task: Task, max_line_bytes: int) -> Iterator[ReadBlock]:
    """Yields the blocks of a task, one after the other.

    Args:
        task: `Task`.
        max_line_bytes: int.

    Yields:
        `ReadBlock`.

    Raises:
        ValueError: If the file is no longer the one of which the list of work was made.
    """
    parse = parser(task.source.layout)
    with open_content(task.source.path) as file:
        for block in task.blocks:
            file.seek(block.start)
            rows, size = [], 0
            for record in records(file, task.source.layout, max_line_bytes, block.start, block.line, block.end):
                content = without_bom(record.content, record.offset)
                parsed = Parsed(problem=record.problem) if record.problem else parse(content)
                kept = content[:_BEGINNING] if parsed.problem else b""
                rows.append(Row(dataclasses.replace(record, content=kept), parsed))
                size += record.size
            if len(rows) != block.records or size != block.end - block.start:
                raise ValueError(
                    f"{task.source.path} changed while it was scored: there must be {block.records} records in "
                    f"{block.end - block.start} bytes from byte {block.start}. Received: {len(rows)} in {size}"
                )
            yield ReadBlock(task.source, block, rows)


def write_block(scored: ScoredBlock, output: str, options: ScoringOptions) -> int:
    """Writes the bad lines of a block, and then its scores: a block is finished when these have their name.

    Args:
        scored: `ScoredBlock`.
        output: str, folder of the run.
        options: `ScoringOptions`.

    Returns:
        Number of the block.
    """
    read = scored.read
    good, bad = [], []
    answers = iter(scored.answers)
    for row in read.rows:
        parsed = row.parsed
        answer = None if parsed.problem else next(answers)
        if isinstance(answer, str):
            parsed = parsed._replace(problem="model_failed", detail=answer)
            row = Row(dataclasses.replace(row.record, content=parsed.text.encode()[:_BEGINNING]), parsed)
        place = {"source": read.source.path, "line": row.record.line, "offset": row.record.offset}
        if parsed.identity is not NOTHING:
            place["id"] = parsed.identity
        if parsed.problem:
            bad.append(place | _about(row))
        else:
            good.append(place | answer | ({"text": parsed.text} if options.keep_text else {}))
    name = part_name(read.block.number)
    # Also where there are none: a file of an earlier attempt must not stay.
    storage.write(storage.join(output, BAD), name, _lines(bad), output)
    storage.write(storage.join(output, SCORES), name, _lines(good), output)
    return read.block.number


def part_name(number: int) -> str:
    """Returns the name of the files of a block."""
    return f"part-{number:07d}.jsonl"


def _about(row: Row) -> dict[str, Any]:
    about: dict[str, Any] = {"reason": row.parsed.problem}
    if row.parsed.detail:
        about["detail"] = row.parsed.detail
    beginning = row.record.content[:_BEGINNING].decode("utf-8", "backslashreplace")
    return about | {"bytes": row.record.size, "beginning": beginning}


def _lines(found: list[dict[str, Any]]) -> bytes:
    return b"".join(_line(entry) for entry in found)


def _line(entry: dict[str, Any]) -> bytes:
    try:
        return (json.dumps(entry, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # half of a surrogate pair in an id
        return (json.dumps(entry) + "\n").encode()
