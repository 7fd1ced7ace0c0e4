"""The list of work: every file cut into blocks of whole records, the same each time, and fingerprints of the files."""

import dataclasses
import gzip
import hashlib
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO, NamedTuple

from . import storage
from .options import Layout, ScoringOptions
from .parsing import BOM, read_columns
from .records import records

_PIECE = 1 << 20


class Block(NamedTuple):
    """Neighbouring records of a file, which are scored and written together.

    Args:
        number: int, place in the list of work.
        start: int, its first byte in the (uncompressed) file.
        end: int, the byte behind its last one.
        line: int, its first line, from 1.
        records: int, how many records it has.
    """

    number: int
    start: int
    end: int
    line: int
    records: int


@dataclasses.dataclass(frozen=True)
class Source:
    """One input file.

    Args:
        path: str.
        layout: `Layout`, with its columns.
        size: int, bytes, uncompressed.
        sha256: str, of those.
        blocks: tuple of `Block`.
    """

    path: str
    layout: Layout
    size: int
    sha256: str
    blocks: tuple[Block, ...]


@dataclasses.dataclass(frozen=True)
class Task:
    """What one worker reads in one go: a block, or those of a file that can only be read from its beginning.

    Args:
        source: `Source`, without its blocks.
        blocks: tuple of `Block`, ascending.
    """

    source: Source
    blocks: tuple[Block, ...]


def find_inputs(patterns: Sequence[str]) -> list[str]:
    """Returns the files that the patterns match, each once.

    Args:
        patterns: sequence of str.

    Raises:
        FileNotFoundError: If a pattern matches none.
    """
    found: list[str] = []
    for pattern in patterns:
        files = storage.find(pattern)
        if not files:
            raise FileNotFoundError(f"No file matches --input={pattern}")
        found += files
    return list(dict.fromkeys(found))


def list_work(paths: Sequence[str], options: ScoringOptions) -> list[Source]:
    """Reads every file once and cuts it into blocks.

    The bytes of a line say nothing of the line's number, and those of a table not whether they stand in quotes: this is
    known only from the beginning. What is read is hashed as well, so that a run goes on with the same files only.

    Args:
        paths: sequence of str.
        options: `ScoringOptions`.

    Raises:
        ValueError: If a file is damaged as a whole: no gzip, or a table without the column of the texts.
        OSError: If it cannot be read.
    """
    layouts = [Layout.of(path, options) for path in paths]
    sources, number = [], 0
    for path, layout in zip(paths, layouts, strict=True):
        source = _scan(path, layout, options, number)
        number += len(source.blocks)
        sources.append(source)
    return sources


def tasks(sources: Sequence[Source], finished: set[int]) -> list[Task]:
    """Returns what is left to do.

    Args:
        sources: sequence of `Source`.
        finished: set of int, numbers of the blocks that are written.
    """
    found = []
    for source in sources:
        left = tuple(block for block in source.blocks if block.number not in finished)
        bare = dataclasses.replace(source, blocks=())
        if compressed(source.path):
            found += [Task(bare, left)] if left else []
        else:
            found += [Task(bare, (block,)) for block in left]
    return found


def compressed(path: str) -> bool:
    """Returns whether a file is compressed, and so can only be read from its beginning."""
    return path.endswith(".gz")


def open_content(path: str) -> BinaryIO:
    """Opens the uncompressed content of a file."""
    file = storage.open_file(path)
    return gzip.GzipFile(fileobj=file) if compressed(path) else file


def _scan(path: str, layout: Layout, options: ScoringOptions, number: int) -> Source:
    try:
        with open_content(path) as file:
            stream = _Hashed(file)
            if layout.table:
                rows = records(stream, layout, options.max_line_bytes)
                first = next(rows, None)
                if first is not None:
                    if first.problem:
                        raise ValueError(f"{path}: the first row must name the columns. Received: {first.problem}")
                    layout = dataclasses.replace(layout, columns=read_columns(first.content, layout, path))
                places = _blocks_of_rows(rows, options.block_bytes)
            else:
                places = _blocks_of_lines(stream, options.block_bytes)
            blocks = tuple(Block(number + i, *place) for i, place in enumerate(places))
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{path} is damaged, or no gzip file: {error}") from error
    return Source(path, layout, stream.size, stream.sha256, blocks)


def _blocks_of_rows(rows, block_bytes: int) -> Iterator[tuple[int, int, int, int]]:
    first, count, end = None, 0, 0
    for row in rows:
        first = first or row
        count += 1
        end = row.offset + row.size
        if end - first.offset >= block_bytes:
            yield first.offset, end, first.line, count
            first, count = None, 0
    if first is not None:
        yield first.offset, end, first.line, count


def _blocks_of_lines(stream: BinaryIO, block_bytes: int) -> Iterator[tuple[int, int, int, int]]:
    """Cuts behind the first line end at or after so many bytes, without looking at each line."""
    start, line, count, position, last = 0, 1, 0, 0, b"\n"
    while piece := stream.read(_PIECE):
        place = 0
        while (end := piece.find(b"\n", max(place, start + block_bytes - 1 - position))) >= 0:
            count += piece.count(b"\n", place, end + 1)
            place = end + 1
            yield start, position + place, line, count
            start, line, count = position + place, line + count, 0
        count += piece.count(b"\n", place)
        position += len(piece)
        last = piece[-1:]
    if position > start:
        yield start, position, line, count + (last != b"\n")


class _Hashed:
    """A stream that hashes what is read of it."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self._hash = hashlib.sha256()
        self.size = 0

    def read(self, size: int) -> bytes:
        return self._seen(self._file.read(size))

    def readline(self, size: int) -> bytes:
        return self._seen(self._file.readline(size))

    def _seen(self, content: bytes) -> bytes:
        self._hash.update(content)
        self.size += len(content)
        return content

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()


def without_bom(content: bytes, offset: int) -> bytes:
    """Returns a record without the mark that some programs put at the beginning of a file."""
    return content.removeprefix(BOM) if offset == 0 else content
